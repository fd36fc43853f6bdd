"""Asks over UDP: sends each request from a socket of its own, waits for answers, and sends again what has none."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Any, Callable, Generic, Hashable, Mapping, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


@dataclass(frozen=True)
class Request:
    """A datagram to one address, as connect() takes it; from `local`, as bind() takes it, if that is not None."""

    family: int
    remote: Any
    data: bytes
    local: Any = None


@dataclass(frozen=True)
class Schedule:
    """When requests are sent: the first time spread over `spread` seconds, then again every `wait` seconds.

    Each is sent `tries` times, and `wait` seconds after the last one nobody waits any more.
    """

    wait: float
    tries: int = 1
    spread: float = 0.0


def open_request(request: Request, prepare: Callable[[socket.socket], None] = lambda opened: None) -> socket.socket:
    """Return a connected socket, prepared and not blocking, that has sent the request; OSError where it cannot."""
    opened = socket.socket(request.family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        prepare(opened)
        if request.local is not None:
            opened.bind(request.local)
        opened.connect(request.remote)
        opened.send(request.data)
    except OSError:
        opened.close()
        raise
    return opened


def exchange(
    requests: Mapping[_K, Request],
    schedule: Schedule,
    read: Callable[[_K, socket.socket], _V | None],
    prepare: Callable[[socket.socket], None] = lambda opened: None,
    enough: Callable[[Mapping[_K, _V]], bool] = lambda answers: False,
    first_decides: bool = False,
) -> dict[_K, _V]:
    """Send these requests; return what `read` makes of the answers, for those that it makes something of.

    `read` is called when a socket has something, and may raise OSError. Where it gives None the request goes on
    waiting, but not where the first thing that comes decides. `enough` says whether the rest need not be tried again.
    """
    times = [(number * schedule.wait + schedule.spread * place / len(requests), number, key)
             for number in range(schedule.tries) for place, key in enumerate(requests)]  # fmt: skip
    began = time.monotonic()
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        sent = _Exchange(selector, read, first_decides)
        for at, number, key in times:
            sent.wait_until(began + at, unsent=number == 0)
            if number and enough(sent.answers):
                return sent.answers
            with contextlib.suppress(OSError):  # this machine's own network: the others may still be sent
                if number == 0:
                    sent.add(key, stack.enter_context(open_request(requests[key], prepare)))
                elif key in sent.waiting:
                    sent.waiting[key].send(requests[key].data)
        sent.wait_until(began + schedule.spread + schedule.tries * schedule.wait, unsent=False)
    return sent.answers


class _Exchange(Generic[_K, _V]):
    """The requests that were sent: those that wait for their answers, and the answers of the others."""

    def __init__(
        self, selector: selectors.BaseSelector, read: Callable[[_K, socket.socket], _V | None], first_decides: bool
    ) -> None:
        self._selector, self._read, self._first_decides = selector, read, first_decides
        self.waiting: dict[_K, socket.socket] = {}
        self.answers: dict[_K, _V] = {}

    def add(self, key: _K, opened: socket.socket) -> None:
        self._selector.register(opened, selectors.EVENT_READ, key)
        self.waiting[key] = opened

    def wait_until(self, at: float, unsent: bool) -> None:
        """Read answers until then, or until all have one and none is `unsent`."""
        while (self.waiting or unsent) and time.monotonic() < at:
            left = max(0.0, at - time.monotonic())
            if not self.waiting:  # select() of no sockets is an error on Windows
                time.sleep(left)
                return
            for event, _ in self._selector.select(left):
                self._take_answer(event.data)

    def _take_answer(self, key: _K) -> None:
        opened, value = self.waiting[key], None
        with contextlib.suppress(OSError):  # an ICMP error: the request may be sent again all the same
            value = self._read(key, opened)
        if value is not None:
            self.answers[key] = value
        if value is not None or self._first_decides:
            self._selector.unregister(opened)
            del self.waiting[key]
