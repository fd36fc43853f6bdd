"""Probes and packets: which are recognised, counted and answered."""

from __future__ import annotations

import ipaddress
import struct
from typing import Callable

import pytest

from agent.core.address import Family
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.packet.ip import PSH, SYN
from agent.packet.ip import TCP as TCP_NUMBER
from agent.packet.ip import decode as decode_packet
from agent.protocol import http_proof, messages, stun
from agent.protocol.http_proof import Token
from agent.protocol.messages import PortTable
from agent.server.packet_observer import Progress
from agent.server.sessions import ANSWERS_PER_PORT, Session
from tests.packet.test_ip import ipv4, tcp, udp
from tests.server.memory import (
    CLIENT,
    HERE,
    SOURCE,
    STRANGER,
    TCP,
    TRANSACTION,
    UDP,
    MemoryServer,
    make_session,
    probe,
    probe_numbers,
    seen_udp,
    told,
)

THERE_PORT = 40001


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
        transaction = stun.make_transaction(next(probe_numbers), bytes(8))
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


def watched() -> MemoryServer:
    """A server that watches its interfaces; nothing waits there."""
    return MemoryServer(capture=True)


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
