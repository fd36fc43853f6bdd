from __future__ import annotations

import ipaddress
import itertools
import struct
from typing import Callable

import pytest

from agent.core.address import Address, Family
from agent.core.counters import Counters, KernelStatus
from agent.core.events import ClientLost, SessionStarted
from agent.core.observation import Reason
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.packet.ip import PSH, SYN
from agent.packet.ip import TCP as TCP_NUMBER
from agent.packet.ip import decode as decode_packet
from agent.protocol import http_proof, messages, stun
from agent.protocol.http_proof import Token
from agent.protocol.messages import AskRows, PortTable
from agent.server.packet_observer import Progress
from agent.server.sessions import ANSWERS_PER_PORT, Session
from tests.packet.test_ip import ipv4, tcp, udp
from tests.server.memory import CLIENT, HELLO, HERE, SOURCE, STRANGER, TCP, TRANSACTION, UDP, MemoryServer, lines, say

# Limits, by their numbers: who changes one changes it here too.
MAX_ROWS = 1500
KEPT_SECONDS = 60.0
FEW_SESSIONS = 4
MAX_SESSIONS = 64
MAX_UNPAIRED = 16
PROBES_A_SECOND = 10_000

THERE_PORT = 40001


def make_session(server: MemoryServer, secret: str | None = None, client: Address = CLIENT) -> Session:
    session = server.open(client, Family.IPV4, secret=secret)
    assert session
    return session


_numbers = itertools.count(2)


def probe(session: Session, port: int = 50000, key: bytes | None = None, number: int | None = None) -> bytes:
    """A probe of that number, or of one that no other has."""
    transaction = stun.make_transaction(next(_numbers) if number is None else number, bytes(range(8)))
    return stun.encode_request(stun.Request(session.id, transaction, port), key or session.key)


@pytest.mark.parametrize(("transport", "port"), [(UDP, 50000), (UDP, 60000), (TCP, 80)])
def test_a_probe_is_answered_with_a_proof_and_seen(transport: Transport, port: int) -> None:
    server = MemoryServer()
    session = make_session(server)
    for count in (1, 2):
        request = probe(session, port)
        answer = server.probe(request, SOURCE, transport, port)
        assert answer
        assert proves(answer, request, session)
        assert stun.mapped_address(stun.decode(answer)) == SOURCE
        assert len(answer) <= len(request)
        assert session.sightings[transport] == {port: count}
        assert told(server, session, PortTable.UNANSWERED, transport) == {}


def proves(answer: bytes, request: bytes, session: Session) -> bool:
    return stun.is_answer(answer, stun.decode(request).transaction, session.key)


def test_a_probe_is_answered_once_and_seen_once_whoever_sends_it_again() -> None:
    server = watched()
    session, request = make_session(server), b""
    for number in (9, 8):  # they may overtake each other
        request = probe(session, number=number)
        assert server.probe(request, SOURCE, UDP, 50000)
    without_fingerprint = request[:2] + (len(request) - 28).to_bytes(2, "big") + request[4:-8]
    for data in (request, without_fingerprint, probe(session, number=9), probe(session, number=0)):
        for source in (SOURCE, (STRANGER, 40000)):
            for port in (50000, 50001):
                assert server.probe(data, source, UDP, port) is None
                server.core.packet(seen_udp(data, port), leaves=False, interface="eth0")
    assert told(server, session, PortTable.SIGHTINGS) == {"50000": 2}
    assert told(server, session, PortTable.AT_INTERFACE) == {"50000": 2}
    assert told(server, session, PortTable.REDIRECTED) == told(server, session, PortTable.UNANSWERED) == {}
    assert session.sources.unconfirmed == ()
    assert server.probe(probe(session, number=10), SOURCE, UDP, 50000)


def test_another_source_is_answered_once_it_is_confirmed_and_at_length_once_it_got_an_answer() -> None:
    server = MemoryServer()
    session = make_session(server)
    source = (STRANGER, 40000)  # of the other family, even
    assert server.probe(probe(session), source, UDP, 50000) is None
    assert told(server, session, PortTable.SIGHTINGS) == told(server, session, PortTable.UNANSWERED) == {"50000": 1}
    assert told(server, session, PortTable.ANSWERS_SENT) == {}
    assert told(server, session, PortTable.UNANSWERED, TCP) == {}
    session.sources.confirm(session.sources.unconfirmed, [])
    nonces = set()
    for padding in (0, stun.PADDING):
        transaction = stun.make_transaction(next(_numbers), bytes(8))
        request = stun.encode_request(stun.Request(session.id, transaction, 50000, padding), session.key)
        answer = server.probe(request, source, UDP, 50000)
        assert answer
        assert proves(answer, request, session)
        assert stun.mapped_address(stun.decode(answer)) == source
        assert len(answer) <= len(request)
        nonces.add(stun.nonce_of(answer))
    assert len(nonces - {""}) == 1
    session.sources.confirm([], nonces)
    answer = server.probe(probe(session), source, UDP, 50000)
    assert answer
    assert stun.nonce_of(answer) == ""
    assert told(server, session, PortTable.UNANSWERED) == {"50000": 1}
    assert told(server, session, PortTable.ANSWERS_SENT) == {"50000": 3}


def test_a_large_probe_has_a_large_answer() -> None:
    server = MemoryServer()
    session = make_session(server)
    request = stun.encode_request(stun.Request(session.id, TRANSACTION, 50000, stun.PADDING), session.key)
    answer = server.probe(request, SOURCE, UDP, 50000)
    assert answer
    assert stun.is_answer(answer, TRANSACTION, session.key)
    assert stun.PADDING < len(answer) <= len(request)


def shortest(session: Session, number: int) -> bytes:
    """A probe with nothing in it but what it has to have."""
    attributes = stun.encode_attribute(stun.Attribute.USERNAME, session.id.encode())
    attributes += stun.encode_attribute(stun.Attribute.PRIORITY, (50000).to_bytes(4, "big"))
    transaction = stun.make_transaction(number, bytes(8))
    data = stun.encode(stun.Kind.REQUEST, transaction, attributes, session.key)[:-8]  # the fingerprint
    return data[:2] + (len(data) - stun.HEADER.size).to_bytes(2, "big") + data[4:]


UNPROVEN: dict[str, Callable[[Session], bytes]] = {
    "nothing": lambda session: b"",
    "noise": lambda session: bytes(92),
    "a plain STUN request": lambda session: stun.HEADER.pack(1, 0, stun.MAGIC_COOKIE, TRANSACTION),
    "an answer": lambda session: stun.encode_answer(TRANSACTION, CLIENT, 1, session.key),
    "another's key": lambda session: probe(session, key=b"guess"),
    "a flipped byte": lambda session: probe(session)[:-9] + bytes([probe(session)[-9] ^ 1]) + probe(session)[-8:],
    "an unknown session": lambda session: probe(Session("f" * 16, session.key, CLIENT, Family.IPV4, 9)),
    "no integrity": lambda session: stun.HEADER.pack(1, 20, stun.MAGIC_COOKIE, TRANSACTION) + probe(session)[20:40],
    "a port outside the plan": lambda session: probe(session, 61000),
    "a port of the other transport": lambda session: probe(session, 80),
    "a port that no plan can have": lambda session: probe(session, 2**32 - 1),
}


@pytest.mark.parametrize("fault", UNPROVEN)
def test_silence_for_strangers(fault: str) -> None:
    server = MemoryServer()
    session = make_session(server)
    assert server.probe(UNPROVEN[fault](session), SOURCE, UDP, 50000) is None
    assert not session.sightings[UDP]
    assert server.probe(probe(session), SOURCE, UDP, 50000)


def test_an_answer_longer_than_its_probe_is_not_sent() -> None:
    server = MemoryServer()
    session, other = make_session(server), server.open(STRANGER, Family.IPV6)
    assert other
    assert server.probe(shortest(other, 1), (STRANGER, 1), UDP, 50000) is None  # IPv6 addresses are longer
    assert told(server, other, PortTable.UNANSWERED) == {"50000": 1}
    assert server.probe(shortest(session, 1), SOURCE, UDP, 50000)


def test_a_port_forwarded_to_another_is_seen_and_not_answered() -> None:
    server = MemoryServer()
    session = make_session(server)
    assert server.probe(probe(session, 50001), SOURCE, UDP, 50002) is None
    token = http_proof.make_token(session.id, 80, "0" * 16, session.key)
    assert server.core._probes.answer_token(token, 81, b"") is None
    assert session.sightings == {UDP: {50001: 1}, TCP: {80: 1}}
    assert session.redirected == {UDP: {50001: 50002}, TCP: {80: 81}}


def test_a_session_has_a_budget_of_answers() -> None:
    ranges = ((UDP, PortRange(7, 7)), (TCP, PortRange(80, 80)))
    plan = Plan("small", tuple(Requirement(*one, "media", Need.REQUIRED) for one in ranges))
    server = MemoryServer(plan)
    session, other = make_session(server), make_session(server)
    answers = [server.probe(probe(session, 7), SOURCE, UDP, 7) for _ in range(2 * ANSWERS_PER_PORT + 5)]
    assert sum(map(bool, answers)) == 2 * ANSWERS_PER_PORT
    assert not any(answers[-5:])
    assert session.sightings[UDP][7] == len(answers)
    assert told(server, session, PortTable.UNANSWERED) == {"7": 5}
    token = http_proof.make_token(session.id, 80, "0" * 16, session.key)
    assert server.core._probes.answer_token(token, 80, b"DER") is None
    assert server.probe(probe(other, 7), SOURCE, UDP, 7)


def test_a_token_is_answered_with_a_proof_of_its_certificate() -> None:
    server = MemoryServer()
    session = make_session(server)
    token = http_proof.make_token(session.id, 80, "0" * 16, session.key)
    assert server.core._probes.answer_token(token, 80, b"DER") == http_proof.make_proof(token, b"DER", session.key)
    assert session.sightings[TCP] == {80: 1}
    for stranger in (Token("f" * 16, 80, token.nonce, token.mac), Token(session.id, 81, token.nonce, token.mac)):
        assert server.core._probes.answer_token(stranger, stranger.port, b"DER") is None
    outside = http_proof.make_token(session.id, 82, "0" * 16, session.key)
    assert server.core._probes.answer_token(outside, 82, b"DER") is None
    assert session.sightings[TCP] == {80: 1}


def test_connections_count_for_the_sessions_from_that_address() -> None:
    server = MemoryServer()
    mine, other = make_session(server), server.open(STRANGER, Family.IPV6)
    server.connect()
    server.connect()
    assert other
    assert (mine.connections, other.connections) == ({80: 2}, {})


def test_ports_that_a_client_used_are_kept_while_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.server.core.MAX_CLIENTS", 2)
    server = MemoryServer()
    there = ipaddress.ip_address("192.0.2.10")

    def connect(port: int, now: float, client: Address = CLIENT, here: Address = HERE[0]) -> list[int]:
        number = next(server.numbers)
        server.perform(server.core.connected(number, (client, 40000), (here, port), now))
        server.perform(server.core.received(number, lines(HELLO), now))
        (session,) = server.sessions.values()
        server.perform(server.core.closed(number))
        return sorted(session.accepted_before)

    assert connect(80, 0) == [80]
    assert connect(443, KEPT_SECONDS) == [80, 443]
    assert connect(443, 2 * KEPT_SECONDS) == [80, 443]
    assert connect(443, 2 * KEPT_SECONDS, here=there) == [443]  # another address has firewalls of its own
    assert connect(7881, 3.1 * KEPT_SECONDS) == [7881]
    assert connect(80, 3.1 * KEPT_SECONDS, client=STRANGER) == [80]
    assert connect(443, 3.1 * KEPT_SECONDS, client=STRANGER, here=there) == [443]
    assert connect(443, 3.1 * KEPT_SECONDS) == [443]  # more than it remembers


def test_a_client_learns_which_ports_accepted_it_before() -> None:
    server = MemoryServer()
    say(server.connect(), HELLO)
    server.connect(port=81, now=1.0)
    (session,) = server.sessions.values()
    assert told(server, session, PortTable.ACCEPTED_BEFORE, TCP) == {"80": 1}
    assert told(server, session, PortTable.ACCEPTED_BEFORE) == {}


def test_sessions_are_few_and_of_their_own() -> None:
    server = MemoryServer()
    opened = [make_session(server, secret=f"{number:064x}") for number in range(MAX_SESSIONS)]
    assert len({session.id for session in opened} | {session.key.decode() for session in opened}) == 2 * MAX_SESSIONS
    assert server.open(CLIENT, Family.IPV4, secret="f" * 64) is None
    assert server.registry.refusal_reason(CLIENT, paired=True) == f"{MAX_SESSIONS} checks are running already"
    server.close(opened[0])
    assert server.probe(probe(opened[0]), SOURCE, UDP, 50000) is None
    assert server.open(CLIENT, Family.IPV4)


def test_where_services_go_on_running_there_is_one_session_at_a_time() -> None:
    server = MemoryServer(live=True)
    only = make_session(server)
    assert server.open(STRANGER, Family.IPV6, secret="0" * 64) is None
    assert "one at a time" in server.registry.refusal_reason(STRANGER, paired=True)
    server.close(only)
    assert server.open(STRANGER, Family.IPV6)


NETWORKS = [
    ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
    ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"),
]


@pytest.mark.parametrize(("stranger", "same_network", "other_network"), NETWORKS)
def test_an_address_without_a_key_has_few_sessions_and_others_have_room(
    stranger: str, same_network: str, other_network: str
) -> None:
    server = MemoryServer()
    first, same, another = map(ipaddress.ip_address, (stranger, same_network, other_network))
    opened = [server.open(first, Family.IPV4) for _ in range(MAX_UNPAIRED)]
    assert all(opened)
    assert server.open(same, Family.IPV4) is None
    assert "without a pairing key" in server.registry.refusal_reason(same, paired=False)
    assert server.open(same, Family.IPV4, secret="0" * 64)
    assert server.open(another, Family.IPV4)
    assert opened[0]
    server.close(opened[0])
    assert server.open(same, Family.IPV4)


def test_only_a_paired_client_is_told_who_holds_ports() -> None:
    server = MemoryServer()
    names = dict.fromkeys(range(50000, 50000 + 2 * messages.MAX_OWNERS, 2), "n" * (messages.MAX_TEXT + 1))
    server.set_ports(owners={TCP: {80: "haproxy (pid 812)"}, UDP: names})
    stranger, friend = make_session(server), make_session(server, secret="0" * 64)
    assert told(server, stranger, PortTable.OWNERS, TCP) == told(server, stranger, PortTable.OWNERS, UDP) == {}
    assert told(server, friend, PortTable.OWNERS, TCP) == {"80": "haproxy (pid 812)"}
    owners = told(server, friend, PortTable.OWNERS, UDP)
    assert set(owners.values()) == {"n" * messages.MAX_TEXT}
    assert len(owners) == messages.MAX_OWNERS


def test_what_happened_is_told_once() -> None:
    server = MemoryServer()
    lost, finished = make_session(server), make_session(server)
    finished.finished = True
    for session in (lost, finished):
        server.close(session)
    assert server.take_events() == [SessionStarted(CLIENT), SessionStarted(CLIENT), ClientLost(CLIENT)]
    assert server.take_events() == []


def test_each_session_has_the_kernel_of_its_own_beginning() -> None:
    begun = KernelStatus(7600, Counters(5, None)), KernelStatus(3, Counters(5, 2))
    server = MemoryServer(kernel=[*begun, KernelStatus(None, Counters(7, 2)), KernelStatus(9, Counters(1, 4))])
    first, second = make_session(server), make_session(server)
    assert (first.at_start.kernel.free_flows, second.at_start.kernel.free_flows) == (7600, 3)
    assert server.kernel(first) == KernelStatus(None, Counters(2, None))
    assert server.kernel(second).counters == Counters(None, 2)  # one of them began anew


def test_each_session_is_told_of_its_share_of_the_flows() -> None:
    plan = Plan("small", (Requirement(UDP, PortRange(50000, 50099), "media", Need.REQUIRED),))
    server = MemoryServer(plan, kernel=[KernelStatus(1000)] * 8)
    first = make_session(server)
    second = make_session(server)
    assert (first.flow_quota, second.flow_quota) == (1000, (1000 - 500 - 100) // 2 * 2 + 1)
    # Each may make half of the most that it was told, less what it has made: a half of 500 now.
    assert server.kernel(first).free_flows == 750
    assert server.kernel(second).free_flows == second.flow_quota == 500
    for port in range(50000, 50100):
        server.probe(probe(first, port), SOURCE, UDP, port)
    third = make_session(server)
    assert third.flow_quota == (1000 - 500 - 100) // 3 * 2 + 1  # the second one's flows are still to come
    server.close(second)
    server.close(third)
    assert (server.kernel(first).free_flows, first.flow_quota) == (1000, 1000)


def test_a_server_that_knows_no_kernel_tells_nothing() -> None:
    server = MemoryServer()
    session = make_session(server)
    assert (session.at_start.kernel.free_flows, server.kernel(session)) == (None, KernelStatus())


def test_a_servers_sessions_have_a_tag_in_common_and_no_two_an_id() -> None:
    drawn = iter([b"\1\2\3\4", bytes(4), bytes(32), bytes(4), b"\0\0\0\1", bytes(32)])
    server = MemoryServer(random_bytes=lambda _: next(drawn))
    assert [make_session(server).id, make_session(server).id] == ["0102030400000000", "0102030400000001"]
    assert stun.has_tag(probe(server.sessions["0102030400000001"]), server.core.tag)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        (5, []),  # no buffer was full: filters dropped all of it
        (6, [("50001", 3), ("50003", 1)]),
        (None, [("50001", 3), ("50003", 1)]),
    ],
)
def test_what_sockets_did_not_take_is_told_of_the_session_alone(
    errors: int | None, told: list[tuple[str, int]]
) -> None:
    kernels = [KernelStatus(counters=Counters(receive_errors=count)) for count in (5, errors)]
    server = MemoryServer(kernel=kernels, receive_drops=[{50001: 2, 50002: 9}, {50001: 5, 50002: 9, 50003: 1}])
    rows = server.rows(make_session(server), AskRows(PortTable.RECEIVE_DROPS, UDP, 1)).rows
    assert [(str(ports), count) for ports, count in rows] == told


def test_a_displaced_connection_is_told_to_the_sessions_of_its_address() -> None:
    server = MemoryServer(kernel=[KernelStatus(counters=Counters(listen_drops=2))] * 3)
    session = make_session(server)
    server.core._displace((0, STRANGER))
    assert server.kernel(session).counters.listen_drops == 0
    server.core._displace((0, CLIENT))
    assert server.kernel(session).counters.listen_drops == 1
    assert server.kernel(session).counters.listen_drops == 1  # of no kernel


def asked(about: PortTable, transport: Transport = UDP, start: int = 1) -> list[tuple[str, int | str]]:
    """What a client is told after a redirected probe, two that came in, and a connect."""
    server = MemoryServer()
    busy = {50005: Reason.BUSY, 50006: Reason.BUSY, 50007: Reason.LIMIT}
    server.set_ports(untested={Family.IPV6: {UDP: {60000: Reason.DENIED}}, Family.IPV4: {UDP: busy}})
    session = make_session(server)
    for port in (50003, 50001, 50002, 50002):
        server.probe(probe(session, port), SOURCE, UDP, 50003)
    server.connect()
    page = server.rows(session, AskRows(about, transport, start))
    assert page.next is None
    return [(str(ports), value) for ports, value in page.rows]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (asked(PortTable.SIGHTINGS), [("50001", 1), ("50002", 2), ("50003", 1)]),
        (asked(PortTable.SIGHTINGS, start=50002), [("50002", 2), ("50003", 1)]),
        (asked(PortTable.SIGHTINGS, TCP), []),
        (asked(PortTable.REDIRECTED), [("50001-50002", 50003)]),
        (asked(PortTable.CONNECTIONS, TCP), [("80", 1)]),
        (asked(PortTable.CONNECTIONS), []),
        (asked(PortTable.UNTESTED), [("50005-50006", "busy"), ("50007", "limit")]),
        (asked(PortTable.UNTESTED, TCP), []),
    ],
)
def test_a_client_learns_of_its_own_probes_in_runs(
    rows: list[tuple[str, int | str]], expected: list[tuple[str, int | str]]
) -> None:
    assert rows == expected


@pytest.mark.parametrize("count", [MAX_ROWS, MAX_ROWS + 1, 2 * MAX_ROWS, 2 * MAX_ROWS + 1])
def test_more_runs_than_a_page_holds_are_read_in_pages(count: int) -> None:
    server = MemoryServer()
    session = make_session(server)
    ports = range(50000, 50000 + 2 * count, 2)
    session.sightings[UDP].update(dict.fromkeys(ports, 1))
    read: list[int] = []
    start: int | None = 1
    pages = 0
    while start:
        page = server.rows(session, AskRows(PortTable.SIGHTINGS, UDP, start))
        assert len(page.rows) <= MAX_ROWS
        read += [port for run, _ in page.rows for port in run]
        start, pages = page.next, pages + 1
    assert read == list(ports)
    assert pages == -(-count // MAX_ROWS)


def test_a_run_is_not_cut_by_a_page() -> None:
    server = MemoryServer()
    session = make_session(server)
    session.sightings[UDP].update({**dict.fromkeys(range(50000, 60001), 1), 55000: 2})
    page = server.rows(session, AskRows(PortTable.SIGHTINGS, UDP, 1))
    assert [(str(run), value) for run, value in page.rows] == [("50000-54999", 1), ("55000", 2), ("55001-60000", 1)]


def watched() -> MemoryServer:
    """A server that watches its interfaces; nothing waits there."""
    return MemoryServer(capture=True)


def seen_udp(data: bytes, port: int = 50000) -> bytes:
    return ipv4(udp(data, port))


def told(server: MemoryServer, session: Session, about: PortTable, transport: Transport = UDP) -> dict[str, int | str]:
    return {str(ports): value for ports, value in server.rows(session, AskRows(about, transport, 1)).rows}


def test_a_probe_at_the_interface_counts_once_and_apart_from_the_sockets() -> None:
    server = watched()
    session = make_session(server)
    first = probe(session)
    for data in (seen_udp(first), seen_udp(first), seen_udp(probe(session, 50007), 50007)):
        server.core.packet(
            data, leaves=False, interface="eth0"
        )  # the second is the same packet, at another of the host's interfaces
    assert told(server, session, PortTable.AT_INTERFACE) == {"50000": 1, "50007": 1}
    assert told(server, session, PortTable.SIGHTINGS) == {}
    assert server.probe(first, SOURCE, UDP, 50000)
    assert told(server, session, PortTable.SIGHTINGS) == {"50000": 1}


MARK = b"0123456789abcdef"


def passes(server: MemoryServer, port: int, source: bytes, client: int = 40000) -> None:
    """A connection in which a service answers: from here, to there."""
    for flags, data, sequence in ((SYN, b"", 9), (PSH, MARK, 10)):
        server.core.packet(framed(flags, data, sequence, client, port, source), leaves=False, interface="eth0")
        server.core.packet(framed(flags, b"HTTP" if data else b"", sequence, port, client, to=source), True, "eth0")


def framed(flags: int, data: bytes, sequence: int, source: int, port: int, whose: bytes = HERE[0].packed,
           to: bytes = HERE[0].packed) -> bytes:  # fmt: skip
    segment = bytearray(tcp(flags, data, port, source))
    segment[4:8] = sequence.to_bytes(4, "big")
    packet = bytearray(ipv4(bytes(segment), TCP_NUMBER))
    packet[12:20] = whose + to
    return bytes(packet)


def test_a_client_is_told_of_services_in_its_own_flows_alone() -> None:
    server = watched()
    session = make_session(server)
    other = ipaddress.ip_address("192.0.2.77")
    asked = [messages.AskService(TCP, port, MARK.hex()) for port in (80, 81)]
    passes(server, 80, CLIENT.packed)
    assert not server.service(session, asked[0]).arrived  # no service holds it
    server.set_ports(served={TCP: {80: "http"}})
    passes(server, 80, other.packed)
    passes(server, 81, CLIENT.packed)
    assert [server.service(session, one).arrived for one in asked] == [False, False]
    passes(server, 80, CLIENT.packed)
    told = server.service(session, asked[0])
    assert (told.arrived, told.size, told.on_disk) == (True, 4, None)
    assert not server.service(make_session(server, client=other), asked[0]).arrived  # it began after that


@pytest.mark.parametrize(
    ("disk", "shown", "on_disk"), [((), "a" * 64, None), (("a" * 64,), "", None), (("a" * 64,), "a" * 64, True),
                                   (("a" * 64,), "b" * 64, False)]
)  # fmt: skip
def test_whether_a_certificate_is_on_the_disk(disk: tuple[str, ...], shown: str, on_disk: bool | None) -> None:
    server = watched()
    server.set_ports(certificates={443: disk})
    told = server.service(make_session(server), messages.AskService(TCP, 443, MARK.hex(), shown))
    assert (told.arrived, told.on_disk) == (False, on_disk)
    elsewhere = server.service(make_session(server, client=STRANGER), messages.AskService(TCP, 80, MARK.hex(), shown))
    assert elsewhere.on_disk is None


@pytest.mark.parametrize("live", [False, True])
def test_a_services_port_is_tried_by_probes_without_a_number(live: bool) -> None:
    server = MemoryServer(capture=True, live=live)
    server.set_ports(served={UDP: {50000: "turn"}})
    session = make_session(server)
    unnumbered = [stun.make_transaction(0, bytes([n] * 8)) for n in (1, 2)]
    for transaction in unnumbered:
        data = seen_udp(stun.encode_request(stun.Request(session.id, transaction, 50000), session.key))
        for _ in range(2):
            server.core.packet(data, leaves=False, interface="eth0")
    assert told(server, session, PortTable.AT_INTERFACE) == ({"50000": 2} if live else {})
    ends = stun.encode(stun.Kind.SUCCESS, unnumbered[0], b"", b"")
    came = decode_packet(data)
    answer = bytearray(ipv4(udp(ends, came.source_port, 50000)))
    answer[12:20] = came.destination + came.source
    server.core.packet(bytes(answer), leaves=True, interface="eth0")
    services = [server.service(session, messages.AskService(UDP, 50000, one.hex())) for one in unnumbered]
    assert [(one.arrived, one.size > 0) for one in services] == [(live, live), (live, False)]


def test_whether_a_silent_service_answers_here_is_looked_after_once() -> None:
    server = MemoryServer(capture=True, live=True)
    session, asked = make_session(server), []
    answers = {50000: True, 50001: False, 50002: True}

    def ask_here(address: bytes, port: int) -> bool:
        asked.append((address, port))
        return answers[port]

    server.local_stun = ask_here
    server.set_ports(served={UDP: dict.fromkeys(answers, "turn")})
    marks = {port: stun.make_transaction(0, port.to_bytes(8, "big")) for port in answers}
    for port in (50000, 50001):
        data = stun.encode_request(stun.Request(session.id, marks[port], port), session.key)
        server.core.packet(seen_udp(data, port), leaves=False, interface="eth0")
    for _ in range(2):
        told = [server.service(session, messages.AskService(UDP, port, marks[port].hex())).alive for port in answers]
        assert told == [True, False, False]  # to the last nothing came
    here = decode_packet(seen_udp(data)).destination
    assert asked == [(here, 50000), (here, 50001)]
    server.set_ports()
    assert not server.service(session, messages.AskService(UDP, 50000, marks[50000].hex())).alive


def test_what_is_no_probe_of_a_live_session_is_not_seen() -> None:
    server = watched()
    session, gone = make_session(server), make_session(server)
    server.core.packet(seen_udp(probe(gone)), leaves=False, interface="eth0")
    server.close(gone)
    for data in (
        seen_udp(probe(session, key=b"x" * 64)), seen_udp(b"junk"), b"", ipv4(tcp(SYN, port=8080), TCP_NUMBER),
        seen_udp(probe(session, 49999), 49999), seen_udp(probe(gone)),
    ):  # fmt: skip
        server.core.packet(data, leaves=False, interface="eth0")
    assert told(server, session, PortTable.AT_INTERFACE) == told(server, session, PortTable.AT_INTERFACE, TCP) == {}


def test_answers_are_seen_to_leave() -> None:
    server = watched()
    session = make_session(server)
    answer = ipv4(udp(b"answer", THERE_PORT, 50000))
    source = (ipaddress.ip_address("198.51.100.1"), THERE_PORT)
    session.sources.observe(source[0], bytes)
    session.sources.confirm([str(source[0])], [])
    server.core.packet(answer, leaves=True, interface="eth0")  # nobody of ours
    assert server.probe(probe(session), source, UDP, 50000)
    server.core.packet(answer, leaves=True, interface="eth0")
    server.core.packet(ipv4(udp(b"answer", THERE_PORT, 8080)), leaves=True, interface="eth0")
    assert told(server, session, PortTable.ANSWERS_SENT) == {"50000": 1}
    assert told(server, session, PortTable.ANSWERS_SENT, TCP) == {}


def test_without_a_watch_what_the_kernel_would_not_send_did_not_leave() -> None:
    server = MemoryServer()
    session = make_session(server)
    for port in (50000, 50001):
        server.probe(probe(session, port), SOURCE, UDP, port)
    server.core.answer_not_sent(SOURCE, 50000)
    server.core.answer_not_sent((STRANGER, 9), 50001)
    assert told(server, session, PortTable.ANSWERS_SENT) == {"50001": 1}


def test_a_clients_syn_is_its_sessions_and_a_strangers_a_doubt_of_all() -> None:
    server = watched()
    client = (ipaddress.ip_address("203.0.113.2"), 40000)
    mine, other = server.open(client[0], Family.IPV4), make_session(server)
    assert mine
    server.core.packet(ipv4(tcp(SYN, port=80), TCP_NUMBER), leaves=False, interface="eth0")
    server.core.packet(ipv4(tcp(PSH, b"x", port=80), TCP_NUMBER), leaves=False, interface="eth0")
    assert told(server, mine, PortTable.AT_INTERFACE, TCP) == {"80": 1}
    assert told(server, mine, PortTable.PLACES, TCP) == {"80": "server-host", "81": "before-server"}
    assert told(server, other, PortTable.AT_INTERFACE, TCP) == {}
    assert told(server, other, PortTable.PLACES, TCP) == {"80": "unknown", "81": "before-server"}
    connection = server.connect(client)
    server.core.on_progress(connection.number, Progress.READ)
    server.core.on_progress(connection.number, Progress.WRITTEN)
    assert told(server, mine, PortTable.PLACES, TCP)["80"] == "server-host"
    answer = struct.pack("!HHIIBBHHH", 80, 40000, 1, 2, 5 << 4, PSH, 0, 0, 0) + b"x"
    head = ipv4(answer, TCP_NUMBER)
    server.core.packet(head[:12] + head[16:20] + head[12:16] + head[20:], leaves=True, interface="eth0")
    assert told(server, mine, PortTable.PLACES, TCP)["80"] == "return-path"
    assert told(server, mine, PortTable.PLACES) == {}


def test_what_is_kept_of_packets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.server.probes.MAX_RECENT", 3)
    monkeypatch.setattr("agent.server.sessions.MAX_ENDPOINTS", 3)
    server = watched()
    session = make_session(server)
    for number in range(5):
        server.probe(probe(session, 50000 + number), (CLIENT, 40000 + number), UDP, 50000 + number)
    assert (len(server.core._probes._recent), len(server.registry._endpoints)) == (3, 3)
    assert len(told(server, session, PortTable.SIGHTINGS)) == 1


def test_a_client_is_told_of_all_that_waits_at_the_interface() -> None:
    waiting: list[bytes] = []

    def catch_up() -> None:
        while waiting:
            server.core.packet(waiting.pop(), leaves=False, interface="eth0")

    server = MemoryServer(capture=True)
    server.catch_up = catch_up
    session = make_session(server)
    waiting.append(seen_udp(probe(session)))
    assert told(server, session, PortTable.AT_INTERFACE) == {"50000": 1}


def test_of_many_sessions_each_is_told_its_share_of_the_servers_time() -> None:
    server = MemoryServer()
    sessions = [make_session(server) for _ in range(FEW_SESSIONS)]
    assert server.kernel(sessions[0]).rate is None
    another = make_session(server)
    assert {server.kernel(one).rate for one in (*sessions, another)} == {PROBES_A_SECOND // (FEW_SESSIONS + 1)}
    server.close(another)
    assert server.kernel(sessions[0]).rate is None


def test_who_holds_many_sessions_leaves_the_others_no_less() -> None:
    server = MemoryServer(kernel=[KernelStatus(64_000)] * 30)
    mine = make_session(server)
    theirs = [make_session(server, client=STRANGER) for _ in range(7)]
    assert server.kernel(mine).rate == PROBES_A_SECOND // 2
    assert {server.kernel(one).rate for one in theirs} == {PROBES_A_SECOND // 14}
    assert server.kernel(mine).free_flows == 16_000 + 32_000  # half of what all may make, and what it was told of alone
