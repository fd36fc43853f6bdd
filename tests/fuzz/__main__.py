"""`python3 -m tests.fuzz [TARGET...]`: try the decoders with very many inputs; exit status 1 if any of them broke.

With atheris (`pip install --group fuzz`), inputs that reach new code are built upon; without it hypothesis draws them.
"""

from __future__ import annotations

import argparse
import sys
from typing import Sequence

from tests.fuzz import drawn, guided
from tests.fuzz.outcome import HEAD, RESULT, document, row, whole
from tests.fuzz.targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do what it says; the exit status."""
    options = _parser().parse_args(arguments)
    names = list(dict.fromkeys(options.targets or TARGETS))
    by_atheris = guided.is_there()
    how = "looked for by atheris" if by_atheris else "drawn by hypothesis"
    print(f"{options.inputs:,} inputs, {how}\n{HEAD}", flush=True)
    outcomes, shares = [], sum(TARGETS[name].share for name in names)
    for name in names:
        fuzz = guided.fuzz if by_atheris else drawn.fuzz
        outcomes.append(fuzz(name, 1 + options.inputs * TARGETS[name].share // shares, options.seed))
        print(row(outcomes[-1]), flush=True)
    print(whole(outcomes))
    if options.write:
        RESULT.write_text(document(outcomes, how), encoding="utf-8")
    crashes = [crash for one in outcomes for crash in one.crashes]
    print(*crashes, sep="\n", end="")
    return 1 if crashes else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=10_200_000, metavar="N", help="in all, most to what is quick")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of chance, for atheris")
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULT.name} too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
