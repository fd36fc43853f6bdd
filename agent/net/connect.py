"""Connect to TCP ports without one connect waiting for another."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Any, Iterator, Sequence

from ..core.observation import Reply
from . import icmp_errors

_PENDING = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)  # the second is what Windows says
_REFUSED = (errno.ECONNREFUSED, errno.ECONNRESET)


@dataclass(frozen=True)
class Target:
    """An address to check: as a socket address without its port, and as text."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    @property
    def text(self) -> str:
        """Return the address as people write it."""
        return str(self.sockaddr[0])

    def at(self, port: int) -> tuple[Any, ...]:
        """Return the socket address of one port."""
        return (self.sockaddr[0], port, *self.sockaddr[2:])


@dataclass(frozen=True)
class Attempt:
    """How one connect ended: with a socket, or with what came back instead."""

    port: int
    socket: socket.socket | None
    reply: Reply
    by: str | None = None  # who refused, where the system says
    icmp: str | None = None  # the ICMP error that it sent, in words
    reset: bool = False  # refused by a RST after the connection stood
    local: str | None = None  # what this machine's own network said, where the attempt did not leave it


def race(target: Target, ports: Sequence[int], gap: float, patience: float, hurry: bool) -> Iterator[Attempt]:
    """Connect to these ports in their order, `gap` seconds apart, and yield each outcome as it comes.

    With `hurry` the next one starts at once when those before it have failed. What is still open after `patience`
    seconds counts as silent. The caller owns the sockets that it is given, and may stop at any time.
    """
    waiting = list(ports)
    starts = time.monotonic()
    ends = starts + patience
    with selectors.DefaultSelector() as selector:
        pending = selector.get_map()
        try:
            while (waiting or pending) and (now := time.monotonic()) < ends:
                if waiting and (now >= starts or (hurry and not pending)):
                    port, starts = waiting.pop(0), now + gap
                    started = _start(target, port)
                    if isinstance(started, Attempt):
                        yield started
                    else:
                        selector.register(started, selectors.EVENT_WRITE, (started, port))
                    continue
                seconds = (min(ends, starts) if waiting else ends) - now
                if not pending:  # select() of no sockets is an error on Windows
                    time.sleep(seconds)
                    continue
                for key, _ in selector.select(min(seconds, 0.5)):
                    opened, port = key.data
                    selector.unregister(opened)
                    paused = time.monotonic()
                    yield _outcome(opened, port, target)
                    ends += time.monotonic() - paused  # what the caller does with a socket is not the others' time
            for port in [*(key.data[1] for key in pending.values()), *waiting]:
                yield Attempt(port, None, Reply.NOTHING)
        finally:
            for key in pending.values():
                key.data[0].close()


def _start(target: Target, port: int) -> socket.socket | Attempt:
    opened = socket.socket(target.family, socket.SOCK_STREAM)
    opened.setblocking(False)
    icmp_errors.want_senders(opened, True)
    code = opened.connect_ex(target.at(port))
    if code in _PENDING:
        return opened
    opened.close()
    if code in _REFUSED:
        return Attempt(port, None, Reply.REFUSED)
    return Attempt(port, None, Reply.UNREACHABLE, local=os.strerror(code))


def _outcome(opened: socket.socket, port: int, target: Target) -> Attempt:
    code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    own = opened.getsockname()[0]
    error = next((error for error in icmp_errors.errors(opened) if error and error.refusal), None)
    # An ICMP error stands in the queue a moment before the socket has it: no error yet is not yet a connection.
    with contextlib.suppress(OSError):
        if not code and opened.getpeername():
            icmp_errors.want_senders(opened, False)
            return Attempt(port, opened, Reply.MUTE)
    opened.close()
    if code == errno.ETIMEDOUT:
        return Attempt(port, None, Reply.NOTHING)
    if code in _REFUSED and not error:
        # A RST: who sent it does not show in the address that it claims, which is the one that was dialled.
        by = target.text if icmp_errors.HAS_SENDERS else None
        return Attempt(port, None, Reply.REFUSED, by, reset=code == errno.ECONNRESET)
    if error and error.by == own != target.text:  # this computer's own rules refuse
        return Attempt(port, None, Reply.UNREACHABLE, local=error.refusal)
    return Attempt(port, None, Reply.UNREACHABLE, error and error.by, error and error.refusal)
