"""Asks over UDP: sends each request from a socket of its own, waits for answers, and sends again what has none."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Any, Callable, Hashable, Mapping, TypeVar

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
    answers: dict[_K, _V] = {}
    waiting: dict[_K, socket.socket] = {}
    times = [(number * schedule.wait + schedule.spread * place / len(requests), number, key)
             for number in range(schedule.tries) for place, key in enumerate(requests)]  # fmt: skip
    began, ends = time.monotonic(), schedule.spread + schedule.tries * schedule.wait
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:

        def wait_until(at: float, unsent: bool) -> None:
            while (waiting or unsent) and time.monotonic() < began + at:
                left = max(0.0, began + at - time.monotonic())
                if not waiting:  # select() of no sockets is an error on Windows
                    time.sleep(left)
                    return
                for event, _ in selector.select(left):
                    take(event.data, waiting[event.data])

        def take(key: _K, opened: socket.socket) -> None:
            value = None
            with contextlib.suppress(OSError):  # an ICMP error: it may be sent again all the same
                value = read(key, opened)
            if value is not None:
                answers[key] = value
            if value is not None or first_decides:
                selector.unregister(opened)
                del waiting[key]

        for at, number, key in times:
            wait_until(at, unsent=number == 0)
            with contextlib.suppress(OSError):  # this machine's own network: the others may still be sent
                if number == 0:
                    opened = stack.enter_context(open_request(requests[key], prepare))
                    selector.register(opened, selectors.EVENT_READ, key)
                    waiting[key] = opened
                elif enough(answers):
                    return answers
                elif key in waiting:
                    waiting[key].send(requests[key].data)
        wait_until(ends, unsent=False)
    return answers
