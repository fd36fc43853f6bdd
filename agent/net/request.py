"""Asks over UDP: sends each request from a socket of its own, waits for answers, and sends again what has none."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Any, Callable, Hashable, Mapping, TypeVar

from . import icmp_errors

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


@dataclass(frozen=True)
class Request:
    """A datagram to one address, as connect() takes it."""

    family: int
    remote: Any
    data: bytes
    local: Any = None  # where it is sent from, as bind() takes it; by default the system chooses
    want_senders: bool = False  # have the ICMP errors that answer it kept, see net.icmp_errors


def open_request(request: Request) -> socket.socket:
    """Return a connected socket, not blocking, that has sent the request; OSError where it cannot."""
    opened = socket.socket(request.family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        if request.want_senders:
            icmp_errors.want_senders(opened, True)
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
    read: Callable[[_K, socket.socket], _V | None],
    wait: float,
    tries: int = 1,
    spread: float = 0.0,
    enough: Callable[[Mapping[_K, _V]], bool] = lambda answers: False,
    first_decides: bool = False,
) -> dict[_K, _V]:
    """Send these requests; return what `read` makes of the answers, for those that it makes something of.

    Each is sent `tries` times, every `wait` seconds: the first time spread over `spread` seconds, and `wait` seconds
    after the last one nobody waits any more. `read` is called when a socket has something, and may raise OSError. Where
    it gives None the request goes on waiting, but not where the first thing that comes decides. `enough` says whether
    the rest need not be tried again.
    """
    began = time.monotonic()
    ends = began + spread + tries * wait
    sends = [(began + number * wait + spread * place / len(requests), number, key)
             for number in range(tries) for place, key in enumerate(requests)]  # fmt: skip
    waiting: dict[_K, socket.socket] = {}
    answers: dict[_K, _V] = {}
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        while waiting or (sends and sends[0][1] == 0):  # what could not be sent at first is not sent again
            left = (sends[0][0] if sends else ends) - time.monotonic()
            if left > 0 and not waiting:  # select() of no sockets is an error on Windows
                time.sleep(left)
            elif left > 0:
                for event, _ in selector.select(left):
                    key, value = event.data, None
                    with contextlib.suppress(OSError):  # an ICMP error: the request may be sent again all the same
                        value = read(key, waiting[key])
                    if value is not None:
                        answers[key] = value
                    if value is not None or first_decides:
                        selector.unregister(waiting.pop(key))
            elif not sends or (sends[0][1] and enough(answers)):
                break
            else:
                _, number, key = sends.pop(0)
                with contextlib.suppress(OSError):  # this machine's own network: the others may still be sent
                    if number == 0:
                        waiting[key] = stack.enter_context(open_request(requests[key]))
                        selector.register(waiting[key], selectors.EVENT_READ, key)
                    elif key in waiting:
                        waiting[key].send(requests[key].data)
    return answers
