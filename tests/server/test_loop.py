"""The server's loop on loopback: what strangers get of it, and for how long."""

from __future__ import annotations

import ipaddress
import random
import select
import socket
import sys
import threading
from typing import Iterator

import pytest

from agent.core.address import Family
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.protocol import framing, stun
from agent.server import connection, listen, loop, udp_ports
from agent.server.core import ServerCore
from agent.server.kernel_counters import KernelCounters
from agent.server.listen import Opener
from agent.server.outside import HairpinProbe
from agent.server.sessions import Session
from agent.server.state import Measurement, PortState, Settings

HERE = ipaddress.ip_address("127.0.0.1")
SOON = 10.0  # seconds that a busy machine may take for what takes none


class Serving:
    """A loop that serves one TCP port and one UDP port of this machine's."""

    def __init__(self, most: int = 512, most_of_network: int = 256) -> None:
        opener = Opener(None, 10)
        held = [opener.open(transport, 0, [Family.IPV4])[0][0] for transport in Transport]
        self.tcp, self.udp = (one.socket.getsockname()[1] for one in held)
        rows = [Requirement(transport, PortRange(port, port), "it", Need.REQUIRED)
                for transport, port in zip(Transport, (self.tcp, self.udp))]  # fmt: skip
        settings = Settings(Plan("mine", tuple(rows)), "0", max_connections=most, max_of_network=most_of_network)
        self.core = ServerCore(settings, PortState(), random.Random(1).randbytes)
        self.loop = loop.Loop(self.core, None, None, KernelCounters(None), HairpinProbe(self.core.tag))
        for one in held:
            self.loop.add(listen.Listener(one.transport, one.socket.getsockname()[1], one.socket, one.families))
        self.connected: list[socket.socket] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.loop.run, args=[lambda: not self.over.is_set()])

    def open_session(self) -> Session:
        return self.core.registry.open(HERE, Family.IPV4, frozenset(), None, Measurement())

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        self.connected.append(socket.create_connection((str(HERE), self.tcp), SOON, (source, 0)))
        return self.connected[-1]


@pytest.fixture
def serving(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """A server that runs; a test may say how many connections it takes at most."""
    made = Serving(*getattr(request, "param", ()))
    made.thread.start()
    yield made
    made.over.set()
    made.thread.join()
    made.loop.close()
    for one in made.connected:
        one.close()


def is_closed(opened: socket.socket, seconds: float = SOON) -> bool:
    """Whether the other side closes, having said nothing."""
    if not select.select([opened], [], [], seconds)[0]:
        return False
    try:
        return opened.recv(1) == b""
    except ConnectionError:
        return True


HALVES = [b"", b"{", b'{"type":"hello"', b"G", b"GET / HTTP/1.1\r\n", b"\0", b"\0\x14", b"\0\x14" + bytes(9)]


def test_half_a_request_is_shut_however_it_drips(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HELLO_SECONDS", 0.3)
    opened = [serving.connect() for _ in HALVES]
    for one, half in zip(opened, HALVES):
        one.sendall(half[:1])
    for one, half in zip(opened, HALVES):
        one.sendall(half[1:])
    assert all(map(is_closed, opened))


@pytest.mark.parametrize(
    "said", [b"\xff", b"{\n", b'{"type":"hello","protocol":NaN}\n', b"{" * (connection.MAX_HELLO + 1), b"\7\xff"]
)
def test_nonsense_is_shut_at_once_and_gets_nothing(serving: Serving, said: bytes) -> None:
    with serving.connect() as opened:
        opened.sendall(said)
        assert is_closed(opened, connection.HELLO_SECONDS / 2)


def test_a_stranger_sends_only_so_much(serving: Serving) -> None:
    junk = framing.frame(bytes(1000))
    with serving.connect() as opened:
        opened.sendall((junk * 100)[: loop.MAX_STRANGE_BYTES])
        assert not is_closed(opened, 0.3)
        opened.sendall(b"x")
        assert is_closed(opened, connection.HELLO_SECONDS / 2)


@pytest.mark.skipif(sys.platform == "darwin", reason="it has no other address of loopback")
@pytest.mark.parametrize("serving", [(6,)], indirect=True)
def test_of_the_network_with_most_connections_the_oldest_are_closed(serving: Serving) -> None:
    other = serving.connect("127.0.0.2")
    flood = [serving.connect() for _ in range(9)]
    assert [is_closed(one, SOON if number < 4 else 0) for number, one in enumerate(flood)] == [True] * 4 + [False] * 5
    assert not is_closed(other, 0)


@pytest.mark.parametrize("serving", [(512, 3)], indirect=True)
def test_one_address_has_only_so_many_connections(serving: Serving) -> None:
    opened = [serving.connect() for _ in range(4)]
    assert [is_closed(one, SOON if one is opened[0] else 0) for one in opened] == [True, False, False, False]


def test_a_port_that_was_given_back_is_free_at_once_and_what_it_had_no_room_for_stays_known() -> None:
    serving = Serving()
    held = next(one for one in serving.loop._listeners if one.transport is Transport.UDP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SOON)
        client.connect((str(HERE), serving.udp))
        for _ in range(2 * udp_ports.MAX_JUNK):
            client.send(bytes(100))
        for _ in range(2):
            serving.loop.catch_up()
            serving.loop._caught_up = False
        client.send(bytes(100))
        before = serving.loop.receive_drops()
        serving.loop._udp.on_readable(held)
        serving.loop.remove([held])
        serving.loop._udp.on_readable(held)  # this turn had it among what can be read
        serving.loop._answer_udp(1.0)
        assert serving.loop.receive_drops() == before
        assert bool(before) is (sys.platform == "linux")
        assert (serving.loop._udp.readable, serving.loop._udp._junk) == (0, {})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", serving.udp))
    serving.loop.remove([])
    serving.loop.close()


def test_a_port_with_junk_goes_on_answering_probes(serving: Serving) -> None:
    session = serving.open_session()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SOON)
        client.connect((str(HERE), serving.udp))
        for number in (1, 2):
            for _ in range(10 * udp_ports.MAX_JUNK):
                client.send(bytes(100))
            transaction = stun.make_transaction(number, b"8 random")
            client.send(stun.encode_request(stun.Request(session.id, transaction, serving.udp), session.key))
            assert stun.is_answer(client.recv(2000), transaction, session.key)
    dropped = serving.loop.receive_drops().get(serving.udp, 0)
    assert (dropped >= 10 * udp_ports.MAX_JUNK) is (sys.platform == "linux")  # all of the second time
