"""The client's UDP sockets: however many source ports a sweep asks for, few are open at a time."""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import sys
from dataclasses import replace
from typing import Any, Iterable

import pytest

from agent.client.udp import MAX_SENDS, MAX_SOCKETS, Prober
from agent.core.address import parse_address
from agent.core.observation import Refusal
from agent.net import icmp_errors
from agent.net.connect import Target
from agent.protocol import stun
from agent.sweep.large import RATE, TRIES
from agent.sweep.probes import Probe
from agent.sweep.sweep import Sweep

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who sent an ICMP error")


def make_prober(sweep: Sweep, target: Target) -> Prober:
    prober = Prober(target, "0" * 16, b"key")
    prober.begin(sweep)
    return prober


def test_old_source_ports_are_given_back() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        target = Target(socket.AF_INET, ("127.0.0.1", 0))
        prober = make_prober(Sweep([port], random.Random(1), 0.02, 0.0), target)
        for number in range(3 * MAX_SOCKETS):
            prober._send(Probe(number, port, number), number.to_bytes(12, "big"))
            assert len(prober._sockets) <= MAX_SOCKETS
        assert min(prober._sockets) == 2 * MAX_SOCKETS
        prober._send(Probe(3 * MAX_SOCKETS, port, 0), bytes(11) + b"\xff")  # one that was given back is opened anew
        assert 0 in prober._sockets
        prober.close()


def test_large_probes_follow_in_the_flow_that_proved_while_it_is_there() -> None:
    target = Target(socket.AF_INET, ("127.0.0.1", 0))
    with bound() as server:
        port = server.getsockname()[1]
        prober = make_prober(Sweep([port], random.Random(1), 0.02, 0.0), target)
        sources = []
        for first in (5, 6):
            prober._flows.clear()
            prober._padding, prober._answer = 0, lambda *_: None
            prober._send(Probe(0, port, first), bytes(12))
            data, source = server.recvfrom(2000)
            assert len(data) < 100
            server.sendto(stun.encode_answer(bytes(12), parse_address("127.0.0.1"), source[1], b"key"), source)
            select.select([prober._sockets[first]], [], [], 5)
            prober._drain(prober._sockets[first])
            if first == 6:
                prober._close_oldest()
                prober._close_oldest()
            assert prober.follow_up([port], 0.01, RATE)
            large = [server.recvfrom(2000) for _ in range(TRIES)]
            assert {len(one) for one, _ in large} == {stun.MAX_BYTES}
            sources.append({source, *(one for _, one in large)})
        prober.close()
    assert [len(one) for one in sources] == [1, 2]


def test_every_probe_of_a_session_has_a_number_of_its_own_and_a_nonce_is_handed_back_once() -> None:
    target = Target(socket.AF_INET, ("127.0.0.1", 0))
    with bound() as server:
        port = server.getsockname()[1]
        prober = make_prober(Sweep([port], random.Random(1), 0.02, 0.0), target)
        numbers = []
        assert prober.follow_up([port], 0.01, RATE)
        assert prober.follow_up([port], 0.01, RATE, large=False)
        for _ in range(2 * TRIES):
            numbers.append(stun.probe_number(server.recvfrom(2000)[0][8:20]))
        assert numbers == list(range(1, 2 * TRIES + 1))
        for nonce, taken in (("", []), ("0123456789ab", ["0123456789ab"]), ("0123456789ab", []), ("", [])):
            (transaction,) = prober._transactions(1)
            prober._send(Probe(0, port, 0), transaction)
            _, source = server.recvfrom(2000)
            answer = stun.encode_answer(transaction, parse_address("127.0.0.1"), source[1], b"key", nonce=nonce)
            server.sendto(answer, source)
            select.select([prober._sockets[0]], [], [], 5)
            prober._drain(prober._sockets[0])
            assert prober._take_nonces() == taken
        prober.close()


def bound() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    opened.settimeout(5)
    return opened


def prober_of(ports: Iterable[int]) -> Prober:
    """A prober whose sweep takes it that these ports have been tried."""
    sweep = Sweep(ports, random.Random(1), 0.02, 0.0)
    sweep.sent.update(dict.fromkeys(ports, 1))
    return make_prober(sweep, Target(socket.AF_INET, ("127.0.0.1", 0)))


@needs_linux
def test_an_earlier_probes_error_does_not_keep_the_next_from_being_sent() -> None:
    with bound() as closed, bound() as silent:
        ports = shut, port = closed.getsockname()[1], silent.getsockname()[1]
        closed.close()
        prober = prober_of(ports)
        for number in range(50):  # an error of each is pending when the next is sent
            prober._send(Probe(2 * number, shut, 0), os.urandom(12))
            prober._send(Probe(2 * number + 1, port, 0), os.urandom(12))
            assert silent.recv(2000)
        prober._drain(prober._sockets[0])
        assert prober.refusals == {shut: Refusal(50, "127.0.0.1", "port unreachable (type 3, code 3)")}
        assert prober.unsendable == {}
        assert not select.select([prober._sockets[0]], [], [], 0)[0]
        prober.close()


@needs_linux
def test_errors_alone_make_a_socket_readable_and_are_read_to_the_last() -> None:
    with bound() as closed:
        shut = closed.getsockname()[1]
        closed.close()
        prober = prober_of([shut])
        prober._send(Probe(0, shut, 0), os.urandom(12))
        opened = prober._sockets[0]
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED  # it tells of it once
        assert select.select([opened], [], [], 5)[0]
        prober._drain(opened)
        assert not select.select([opened], [], [], 0)[0]
        assert prober.refusals[shut].errors == 1
        prober.close()


class Refusing:
    """A socket that fails to send with these errors, one after the other, and then sends."""

    def __init__(self, *errors: int) -> None:
        self.errors, self.sent = list(errors), 0

    def sendto(self, data: bytes, to: Any) -> None:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        self.sent += 1

    def recvmsg(self, *_: int) -> None:
        raise BlockingIOError

    def setblocking(self, _: bool) -> None: ...

    def settimeout(self, _: float) -> None: ...


@pytest.mark.parametrize(
    ("errors", "sent", "unsendable"),
    [
        ([], 1, False),
        ([errno.EPERM], 0, True),
        ([errno.ENETUNREACH], 1, False),  # an ICMP error for which the queue had no room
        ([errno.ENETUNREACH] * 2, 0, True),
        ([errno.EHOSTUNREACH, errno.EPERM], 0, True),
        ([errno.EAGAIN], 1, False),
        ([errno.EHOSTUNREACH, errno.ENOBUFS], 1, False),
        ([errno.ECONNRESET], 1, False),  # Windows
    ],
)
def test_only_what_this_computers_own_network_refuses_is_unsendable(
    errors: list[int], sent: int, unsendable: bool
) -> None:
    prober, opened = prober_of([9]), Refusing(*errors)
    prober._sockets[0] = opened  # type: ignore[assignment]
    prober._send(Probe(0, 9, 0), bytes(12))
    assert (opened.sent, 9 in prober.unsendable) == (sent, unsendable)


def test_a_flood_of_errors_does_not_keep_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    prober, opened = prober_of([9]), Refusing(*[errno.EHOSTUNREACH] * 1000)
    monkeypatch.setattr(icmp_errors, "errors", lambda _: iter([None]))
    prober._sockets[0] = opened  # type: ignore[assignment]
    prober._send(Probe(0, 9, 0), bytes(12))
    assert (len(opened.errors), opened.sent, prober.unsendable) == (1000 - 1 - MAX_SENDS, 0, {})


def test_where_the_system_names_no_senders_connected_sockets_tell_that_something_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(icmp_errors, "HAS_SENDERS", False)
    monkeypatch.setattr(icmp_errors, "want_senders", lambda *_: None)
    with bound() as closed, bound() as silent:
        ports = shut, _ = closed.getsockname()[1], silent.getsockname()[1]
        closed.close()
        prober = prober_of(ports)
        prober.ask_who_refuses()
        assert prober.refusals == {shut: Refusal(1)}
        assert silent.recv(2000)
        prober.close()


@needs_linux
def test_the_silent_neighbours_of_a_port_that_told_are_asked_again() -> None:
    for _ in range(100):  # a neighbour that nobody has
        with bound() as closed, bound() as alone:
            shut, port = closed.getsockname()[1], alone.getsockname()[1]
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as beside:
                    beside.bind(("127.0.0.1", shut + 1))
            except OSError:
                continue
            closed.close()
            prober = prober_of([shut, shut + 1, port])
            prober.refusals[shut] = first = Refusal(3, "127.0.0.1", "port unreachable (type 3, code 3)")
            prober.ask_who_refuses()
            assert prober.refusals == {shut: first, shut + 1: replace(first, errors=1)}
            alone.setblocking(False)
            with pytest.raises(BlockingIOError):
                alone.recv(1)
            return


def test_of_strangers_one_answer_a_port_is_kept_and_none_of_ports_that_were_not_tried() -> None:
    prober = prober_of([9, 10])
    with bound() as opened:
        for port in (9, 9, 11):
            for text in (b"first", b"second"):
                prober._take(text, ("127.0.0.1", port), opened)
        prober._take(b"third", ("127.0.0.2", 10), opened)
    assert prober.strangers == {9: "first"}
