"""Requests over UDP, on this machine's own loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Callable, Iterator

from agent.net.request import Request, exchange

SOON = 10.0  # seconds that a busy machine may take for what takes none
Reply = Callable[[bytes, int], "bytes | None"]


@contextlib.contextmanager
def service(reply: Reply) -> Iterator[int]:
    """A UDP port of 127.0.0.1 that replies to the nth datagram with what `reply` gives for it and n."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(0.05)
        over = threading.Event()

        def run() -> None:
            number = 0
            while not over.is_set():
                with contextlib.suppress(OSError):
                    data, source = opened.recvfrom(100)
                    answer = reply(data, number)
                    number += 1
                    if answer is not None:
                        opened.sendto(answer, source)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield opened.getsockname()[1]
        finally:
            over.set()
            thread.join()


def request(port: int, data: bytes = b"asked") -> Request:
    return Request(socket.AF_INET, ("127.0.0.1", port), data)


def read(key: object, opened: socket.socket) -> bytes | None:
    """What came, but for junk."""
    data = opened.recv(100)
    return None if data == b"junk" else data


def test_each_request_has_its_own_answer_and_nobody_waits_longer() -> None:
    began = time.monotonic()
    with service(lambda data, number: data.upper()) as port:
        requests = {key: request(port, key.encode()) for key in ("one", "two", "three")}
        assert exchange(requests, read, SOON) == {"one": b"ONE", "two": b"TWO", "three": b"THREE"}
    assert time.monotonic() - began < SOON


def test_what_has_no_answer_is_sent_again_as_often_as_was_said() -> None:
    with service(lambda data, number: b"late" if number == 2 else None) as port:
        assert exchange({1: request(port)}, read, 0.2, tries=2) == {}
    with service(lambda data, number: b"late" if number == 2 else None) as port:
        assert exchange({1: request(port)}, read, SOON / 10, tries=3) == {1: b"late"}


def test_junk_is_waited_past_but_where_the_first_decides() -> None:
    with service(lambda data, number: b"junk" if number == 0 else b"sound") as port:
        assert exchange({1: request(port)}, read, 0.5, tries=3) == {1: b"sound"}
    with service(lambda data, number: b"junk") as port:
        began = time.monotonic()
        assert exchange({1: request(port)}, read, SOON, first_decides=True) == {}
        assert time.monotonic() - began < SOON


def test_with_enough_answers_the_others_are_not_tried_again() -> None:
    asked: list[int] = []
    with service(lambda data, number: b"yes") as port, service(lambda data, number: asked.append(number)) as silent:
        requests = {"answers": request(port), "silent": request(silent)}
        answers = exchange(requests, read, 0.5, tries=3, enough=lambda answers: "answers" in answers)
    assert (answers, asked) == ({"answers": b"yes"}, [0])


def test_what_cannot_be_sent_and_what_is_refused_keep_nothing_from_the_others() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        refused = closed.getsockname()[1]
    elsewhere = Request(socket.AF_INET, ("127.0.0.1", 9), b"asked", local=("192.0.2.1", 0))  # nobody's address here
    with service(lambda data, number: b"yes") as port:
        requests = {"elsewhere": elsewhere, "refused": request(refused), "sound": request(port)}
        assert exchange(requests, read, 0.3) == {"sound": b"yes"}


def test_requests_may_be_spread() -> None:
    times: list[float] = []

    def reply(data: bytes, number: int) -> bytes:
        times.append(time.monotonic())
        return data

    with service(reply) as port:
        requests = {number: request(port, bytes([number])) for number in range(4)}
        assert len(exchange(requests, read, SOON, spread=0.4)) == 4
    assert times[-1] - times[0] >= 0.2


def test_nothing_asked_is_nothing_answered() -> None:
    assert exchange({}, read, SOON) == {}
