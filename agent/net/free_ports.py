"""Find ports that no program uses."""

from __future__ import annotations

import random
import socket

from ..core.plan import Transport
from ..core.ports import PortRange

KINDS = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}
# Above the ports of common services, and below those that Linux lends to outgoing connections.
_FIRST, _LAST = 10_000, 32_000
_HIGHEST = 65_535  # where too few of those are free


def find_free_run(transport: Transport, host: str, count: int) -> PortRange | None:
    """Return up to `count` neighbouring ports that are free now at an IPv4 address; None where none is free.

    The search begins at a random port, so that two programs that search at once seldom find the same ones.
    """
    longest = range(0)
    for ports in (range(random.randrange(_FIRST, _LAST - count), _LAST + 1), range(_FIRST, _HIGHEST + 1)):
        first = ports.start
        for port in ports:
            if not _is_free(transport, host, port):
                first = port + 1
            elif port + 1 - first > len(longest):
                longest = range(first, port + 1)
            if len(longest) == count:
                return PortRange(longest[0], longest[-1])
    return PortRange(longest[0], longest[-1]) if longest else None


def _is_free(transport: Transport, host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, KINDS[transport]) as opened:
        try:
            opened.bind((host, port))
        except OSError:
            return False
        return True
