"""UDP sockets connected to one port each: every system tells these of an ICMP error, though not who sent it."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from typing import Mapping

from .connect import Target

# For an answer: the sweep is over, and nobody waits long for what only makes a verdict more precise.
SECONDS = 1.0
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EACCES, errno.ENOPROTOOPT)


def refused(target: Target, probes: Mapping[int, bytes]) -> set[int]:
    """Send a probe to each of these ports, a socket each; those for which an ICMP error came back in time."""
    found: set[int] = set()
    ends = time.monotonic() + SECONDS
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())
        for port, probe in probes.items():
            opened = stack.enter_context(socket.socket(target.family, socket.SOCK_DGRAM))
            opened.setblocking(False)
            try:
                opened.connect(target.at(port))
                opened.send(probe)
            except OSError:  # this computer's own network; no news, the sweep has met it too
                continue
            waiting.register(opened, selectors.EVENT_READ, port)
        while waiting.get_map() and time.monotonic() < ends:
            for key, _ in waiting.select(max(0.0, ends - time.monotonic())):
                waiting.unregister(key.fileobj)
                assert isinstance(key.fileobj, socket.socket)
                try:
                    key.fileobj.recv(1)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    found.add(key.data)
                except OSError as error:
                    if error.errno in _UNREACHABLE:
                        found.add(key.data)
    return found
