"""Run a command; the most memory that it took, in KiB, is the last word on stderr."""

from __future__ import annotations

import resource
import subprocess
import sys

status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
