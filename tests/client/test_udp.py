"""The client's UDP sockets: however many source ports a sweep asks for, few are open at a time."""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import sys
import threading
from dataclasses import replace
from typing import Any, Iterable

import pytest

from agent.client.probe_exchange import ProbeExchange
from agent.client.steps import ProbePorts, RunSweep
from agent.client.tcp import ProbeContext
from agent.client.udp import Prober, UdpSockets
from agent.core.address import parse_address
from agent.core.observation import Refusal
from agent.core.plan import Plan
from agent.net import icmp_errors
from agent.net.connect import Target
from agent.protocol import stun
from agent.sweep.probes import Probe
from agent.sweep.sweep import Sweep

# The limits, by their numbers.
RATE = 6400.0
TRIES = 8

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who sent an ICMP error")


def make_prober(sweep: Sweep, target: Target) -> Prober:
    prober = Prober(ProbeContext(target, "0" * 16, b"key", "meet.example", False, Plan("", ())), lambda _: None)
    prober._step, prober._exchange.tried = RunSweep(sweep), sweep.sent
    return prober


def send(prober: Prober, *probes: Probe) -> None:
    prober._send(probes, lambda *_: None, large=False)


def read(prober: Prober, source: int) -> None:
    """Read what comes to that source port."""
    opened = prober._sockets.of(source)
    assert select.select([opened], [], [], 5)[0]
    prober._read_socket(opened)


def answer(server: socket.socket, nonce: str = "") -> tuple[bytes, tuple[str, int]]:
    """Prove that the next probe came, and return it, with its source."""
    data, source = server.recvfrom(2000)
    server.sendto(stun.encode_answer(data[8:20], parse_address("127.0.0.1"), source[1], b"key", nonce=nonce), source)
    return data, source


def test_old_source_ports_are_given_back() -> None:
    with bound() as silent:
        port = silent.getsockname()[1]
        sockets = UdpSockets(Target(socket.AF_INET, ("127.0.0.1", 0)), lambda _: None)
        for number in range(300):
            sockets.send(b"probe", port, number)
            assert len(sockets.selector.get_map()) <= 100
        first = sockets.of(250)
        assert sockets.of(250) is first
        sockets.send(b"probe", port, 0)  # one that was given back is opened anew
        assert sockets.of(0).fileno() >= 0
        sockets.close()


def test_large_probes_follow_in_the_flow_that_proved_while_it_is_there() -> None:
    target = Target(socket.AF_INET, ("127.0.0.1", 0))
    sources = []
    for flow_is_there in (True, False):
        with bound() as server:
            port = server.getsockname()[1]
            prober = make_prober(Sweep([port], random.Random(1), 0.02, 0.0), target)
            send(prober, Probe(0, port, 5))
            data, source = answer(server)
            assert len(data) < 100
            read(prober, 5)
            if not flow_is_there:
                for number in range(100, 200):
                    prober._sockets.of(number)
            assert prober.follow_up(ProbePorts([port], 0.01, RATE)) == {port}
            large = [server.recvfrom(2000) for _ in range(TRIES)]
            assert {len(data) for data, _ in large} == {1232}
            sources.append({source, *(source for _, source in large)})
            prober.close()
    assert [len(ports) for ports in sources] == [1, 2]


def test_a_port_that_answers_is_followed_up_no_more() -> None:
    with bound() as silent, bound() as server:
        ports = [silent.getsockname()[1], server.getsockname()[1]]
        prober = prober_of(ports)
        answering = threading.Thread(target=answer, args=(server,))
        answering.start()
        assert prober.follow_up(ProbePorts(ports, 0.3, RATE, tries=2)) == {ports[0]}
        answering.join()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(1)
        prober.close()


def test_every_probe_of_a_session_has_a_number_of_its_own_and_a_nonce_is_handed_back_once() -> None:
    target = Target(socket.AF_INET, ("127.0.0.1", 0))
    with bound() as server:
        port = server.getsockname()[1]
        prober = make_prober(Sweep([port], random.Random(1), 0.02, 0.0), target)
        numbers = []
        assert prober.follow_up(ProbePorts([port], 0.01, RATE))
        assert prober.follow_up(ProbePorts([port], 0.01, RATE, large=False))
        for _ in range(2 * TRIES):
            numbers.append(stun.probe_number(server.recvfrom(2000)[0][8:20]))
        assert numbers == list(range(1, 2 * TRIES + 1))
        for nonce, taken in (("", []), ("0123456789ab", ["0123456789ab"]), ("0123456789ab", []), ("", [])):
            send(prober, Probe(0, port, 0))
            answer(server, nonce)
            read(prober, 0)
            assert prober._exchange.new_nonces == taken
            prober._exchange.new_nonces = []
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
            send(prober, Probe(2 * number, shut, 0))
            send(prober, Probe(2 * number + 1, port, 0))
            assert silent.recv(2000)
        prober._read_socket(prober._sockets.of(0))
        assert prober.refusals == {shut: Refusal(50, "127.0.0.1", "port unreachable (type 3, code 3)")}
        assert prober.unsendable == {}
        assert not select.select([prober._sockets.of(0)], [], [], 0)[0]
        prober.close()


@needs_linux
def test_errors_alone_make_a_socket_readable_and_are_read_to_the_last() -> None:
    with bound() as closed:
        shut = closed.getsockname()[1]
        closed.close()
        prober = prober_of([shut])
        send(prober, Probe(0, shut, 0))
        opened = prober._sockets.of(0)
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED  # it tells of it once
        assert select.select([opened], [], [], 5)[0]
        prober._read_socket(opened)
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
    prober._sockets._sockets[0] = opened  # type: ignore[assignment]
    send(prober, Probe(0, 9, 0))
    assert (opened.sent, 9 in prober.unsendable) == (sent, unsendable)


def test_a_flood_of_errors_does_not_keep_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    prober, opened = prober_of([9]), Refusing(*[errno.EHOSTUNREACH] * 1000)
    monkeypatch.setattr(icmp_errors, "errors", lambda _: iter([None]))
    prober._sockets._sockets[0] = opened  # type: ignore[assignment]
    send(prober, Probe(0, 9, 0))
    assert (len(opened.errors), opened.sent, prober.unsendable) == (1000 - 1 - 4, 0, {})


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
    exchange = ProbeExchange("127.0.0.1", "0" * 16, b"key", bytes)
    exchange.tried = {9: 1, 10: 1}
    for port in (9, 9, 11):
        for text in (b"first", b"second"):
            assert exchange.on_datagram(text, ("127.0.0.1", port)) is None
    assert exchange.on_datagram(b"third", ("127.0.0.2", 10)) is None
    assert exchange.strangers == {9: "first"}


def test_only_an_answer_from_the_port_that_was_asked_is_proof() -> None:
    exchange = ProbeExchange("127.0.0.1", "0" * 16, b"key", bytes)
    probe = exchange.new_probe(9)
    transaction = probe[8:20]
    exchange.add(probe, Probe(3, 9, 0), lambda *_: None)
    data = stun.encode_answer(transaction, parse_address("127.0.0.1"), 5, b"key")
    other = stun.encode_answer(transaction, parse_address("127.0.0.1"), 5, b"other key")
    cases = [(data, "127.0.0.1", 9), (data, "127.0.0.1", 10), (data, "127.0.0.2", 9), (other, "127.0.0.1", 9)]
    proofs = [exchange.on_datagram(answer, (address, port)) for answer, address, port in cases]
    assert [proof and proof[0].number for proof in proofs] == [3, None, None, None]
