"""The client's end of the control channel: pings between questions, over a pair of sockets of this machine."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import replace
from typing import Iterator

import pytest

from agent.client.control import ControlChannel, greet
from agent.client.control_client import ControlLost, Greeting
from agent.core.address import Family
from agent.core.counters import KernelStatus
from agent.core.errors import UserError
from agent.core.plan import Transport, build_plan
from agent.core.ports import PortRange
from agent.net.tls import client_context, server_tls
from agent.protocol import framing, pairing
from agent.protocol import messages as control
from agent.system.certificate import make_certificate

# Limits, by their numbers: who changes one changes it here too.
MAX_UNASKED = 8

WELCOME = control.Welcome(
    control.PROTOCOL,
    "0.1.0",
    "0" * 16,
    "0" * 64,
    build_plan("plugnmeet"),
    tls=False,
    wildcard_bind=True,
    client="192.0.2.1",
    capture=False,
    flows=None,
)
KERNEL = KernelStatus(1234)
PONG = control.encode(control.KernelReply(KERNEL))
QUESTION = control.AskRows(control.PortTable.SIGHTINGS, Transport.UDP, 1)
ANSWER = control.encode(control.Rows(((PortRange(7, 7), 3),), None))


class Server:
    """The other end, in the same thread: what it says is there before it is asked."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._lines = end, framing.Lines()
        end.setblocking(False)

    def say(self, *messages: bytes) -> None:
        self._end.sendall(b"".join(messages))

    def heard(self) -> int:
        """How many questions came."""
        return len(self.read())

    def read(self) -> list[control.Message]:
        """The questions that came."""
        return [control.decode(line) for line in self._lines.feed(self._end.recv(65536))]

    def go(self) -> None:
        self._end.close()


@pytest.fixture
def ends() -> Iterator[tuple[ControlChannel, Server]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = socket.create_connection(listening.getsockname())
        there, _ = listening.accept()
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with here, there:
        server = Server(there)
        server.say(control.encode(WELCOME))
        channel = greet(here, 443, Greeting("0.1.0", Family.IPV4))
        assert server.heard() == 1
        yield channel, server


def test_a_pong_is_told(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    channel.ping()
    assert server.heard() == 1
    assert channel.read_kernel() is None
    server.say(PONG)
    assert channel.read_kernel() == KERNEL
    assert channel.read_kernel() is None
    assert not channel.client.lost


def test_what_a_pong_names_is_confirmed_once_by_the_next_ping(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    one, other = "192.0.2.7", "2001:db8::7"
    for named, mine in (((one,), ()), ((one, other), (one,)), ((), (other,)), ((), ())):
        channel.ping(["0123456789ab"])
        assert server.read() == [control.AskKernel(mine, ("0123456789ab",))]
        server.say(control.encode(control.KernelReply(KERNEL, named)))
        assert channel.read_kernel() == KERNEL
    assert channel.client.confirmed == {one, other}


def test_a_server_that_goes_on_to_name_addresses_is_not_pinged_for_ever(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    named = [f"192.0.2.{number}" for number in range(2 * control.MAX_SOURCES)]
    for address in named:
        channel.ping()
        server.say(control.encode(control.KernelReply(KERNEL, (address,))))
        channel.read_kernel()
    assert channel.client.confirmed == set(named[: control.MAX_SOURCES])
    assert channel.client.to_confirm == ()


def test_a_pong_that_comes_in_pieces_is_one(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    channel.ping()
    server.say(PONG[:3])
    assert channel.read_kernel() is None
    server.say(PONG[3:])
    assert channel.read_kernel() == KERNEL


def test_what_nobody_asked_for_is_no_pong(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    server.say(PONG)
    assert channel.read_kernel() is None
    channel.ping()
    assert channel.read_kernel() is None
    assert not channel.client.lost


@pytest.mark.parametrize("pings", [0, 1, 3])
def test_a_question_waits_for_the_pongs_and_gets_its_own_answer(
    ends: tuple[ControlChannel, Server], pings: int
) -> None:
    channel, server = ends
    for _ in range(pings):
        channel.ping()
    server.say(*[PONG] * pings)
    answers = threading.Timer(0.05, server.say, [ANSWER])
    answers.start()
    assert channel.ask(QUESTION, control.Rows).rows == ((PortRange(7, 7), 3),)
    answers.join()
    assert server.heard() == pings + 1


def test_an_answer_to_another_question_in_place_of_a_pong_loses_the_channel(
    ends: tuple[ControlChannel, Server],
) -> None:
    channel, server = ends
    channel.ping()
    server.say(ANSWER)
    assert channel.read_kernel() is None
    assert channel.client.lost


def test_answers_that_nobody_asked_for_are_not_kept_without_end(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    server.say(*[PONG] * MAX_UNASKED)
    channel.read_kernel()
    assert not channel.client.lost
    server.say(PONG)
    channel.read_kernel()
    assert channel.client.lost


def test_a_pong_that_nobody_can_read_loses_the_channel(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    channel.ping()
    server.say(b"HTTP/1.1 200 OK\n")
    assert channel.read_kernel() is None
    assert channel.client.lost


def test_pings_are_no_round_trips_of_the_channel(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    channel.ping()
    server.say(PONG)
    channel.read_kernel()
    assert len(channel.client.rtts) == 1  # the hello's


def test_a_channel_whose_address_is_gone_is_lost(
    ends: tuple[ControlChannel, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, _ = ends
    channel.check_own_address()
    assert (channel.client.lost, channel.client.moved) == (False, False)
    monkeypatch.setattr(socket.socket, "getsockname", lambda _: ("192.0.2.1", 40000))  # nobody's
    channel.check_own_address()
    assert (channel.client.lost, channel.client.moved) == (True, True)


def test_a_server_that_goes_is_noticed(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    server.go()
    assert channel.read_kernel() is None
    assert channel.client.lost
    with pytest.raises(ControlLost):
        channel.ask(QUESTION, control.Rows)


def test_a_ping_to_a_server_that_has_gone_loses_the_channel(ends: tuple[ControlChannel, Server]) -> None:
    channel, server = ends
    server.go()
    channel.ping()
    channel.ping()
    assert channel.client.lost


def test_a_server_that_goes_without_the_goodbye_of_tls_is_lost() -> None:
    pem = make_certificate()
    tls = server_tls(pem) if pem else None
    assert tls, "needs the openssl program"

    def serve(context: ssl.SSLContext) -> None:
        with context.wrap_socket(listening.accept()[0], server_side=True) as there:
            there.sendall(control.encode(WELCOME))
            for _ in ("the hello", "the question"):
                there.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(tls.context,))
        server.start()
        with client_context().wrap_socket(socket.create_connection(listening.getsockname())) as here:
            channel = greet(here, 443, Greeting("0.1.0", Family.IPV4))
            with pytest.raises(ControlLost):
                channel.ask(QUESTION, control.Rows)
            assert channel.client.lost
        server.join()


@pytest.mark.parametrize("by_ping", [True, False])
def test_a_refusal_in_the_middle_is_kept_for_the_report(ends: tuple[ControlChannel, Server], by_ping: bool) -> None:
    channel, server = ends
    refusal = control.Refusal("order", "no more of that", "use another client")
    server.say(control.encode(refusal))
    if by_ping:
        channel.ping()
        assert channel.read_kernel() is None
    else:
        with pytest.raises(ControlLost):
            channel.ask(control.AskKernel(), control.KernelReply)
    assert (channel.client.refused, channel.client.lost) == (refusal, True)
    with pytest.raises(ControlLost):
        channel.ask(QUESTION, control.Rows)


@pytest.mark.parametrize(("certificate", "error"), [("", None), ("0" * 64, control.INTERCEPTED)])
def test_a_paired_welcome_names_the_certificate_that_was_seen(certificate: str, error: str | None) -> None:
    key = "of twenty characters or more"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = socket.create_connection(listening.getsockname())
        there, _ = listening.accept()

    def serve() -> None:
        with there.makefile("rb") as lines:
            hello, challenge = control.decode(lines.readline()[:-1]), control.Challenge("2" * 32)
            assert isinstance(hello, control.Hello)
            there.sendall(control.encode(challenge))
            keys = control.session_keys(key, hello, challenge)
            seals = pairing.RecordAuthenticator(keys.server, keys.client)
            assert control.decode(seals.verify(lines.readline()[:-1])) == control.Proof("")
        welcome = replace(WELCOME, secret=None, certificate=certificate)
        there.sendall(seals.sign(control.encode(welcome)))

    with here, there:
        thread = threading.Thread(target=serve)
        thread.start()
        if error:
            with pytest.raises(UserError) as raised:
                greet(here, 443, Greeting("0.1.0", Family.IPV4, key))
            assert raised.value.code == error
        else:
            assert greet(here, 443, Greeting("0.1.0", Family.IPV4, key)).client.paired
        thread.join()
