"""The benchmark: pnmcheck and general port scanners side by side. `python3 -m tests.bench` runs it."""
