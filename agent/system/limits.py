"""Raise the number of files that this process may hold open; a socket is one."""

from __future__ import annotations

import os
import sys

# Where select() is all there is, it takes so many sockets (FD_SETSIZE as CPython for Windows is built).
SELECT_SOCKETS = 512
# TCP connections of the server: fifty clients have six each at most, and some room for strangers; where select() is all
# there is, as much as leaves half of its sockets for ports.
CONNECTIONS = 200 if sys.platform == "win32" else 512
# What is kept free: for those, log files and the interpreter itself.
RESERVED = CONNECTIONS + 56

if sys.platform != "win32":
    import resource

    def raise_descriptor_limit(wanted: int) -> int:
        """Raise the soft limit, to the hard one at most, so that `wanted` sockets fit; return how many do."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = resource.RLIM_INFINITY
        needed = wanted + RESERVED + _open_now()
        if soft != unlimited and soft < needed:
            target = needed if hard == unlimited else min(needed, hard)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
                soft = target
            except (OSError, ValueError):  # macOS has a limit of its own beneath the hard one
                pass
        return wanted if soft == unlimited else max(0, min(wanted, soft - RESERVED - _open_now()))

    def _open_now() -> int:
        try:
            return len(os.listdir("/dev/fd"))
        except OSError:
            return 16
else:

    def raise_descriptor_limit(wanted: int) -> int:
        """Return how many of `wanted` sockets fit."""
        return min(wanted, SELECT_SOCKETS - RESERVED)
