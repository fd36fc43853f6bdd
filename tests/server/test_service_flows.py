"""Ports that services hold: which of them can be tried, and what the server saw pass there."""

from __future__ import annotations

import hashlib
import ipaddress

import pytest

from agent.client.service_records import corroborates
from agent.core.plan import Need, Plan, Requirement, Transport, build_plan
from agent.core.ports import PortRange
from agent.packet.ip import ACK, FIN, PSH, RST, SYN, Packet
from agent.protocol.messages import AskService, ServiceReply
from agent.server import packet_observer
from agent.server.packet_observer import ServiceFlows
from agent.server.state import served_ports

# Limits, by their numbers: who changes one changes it here too.
MAX_REPLY_BYTES = 512
MAX_INBOUND = 256
MAX_TURN = 16

TCP, UDP = Transport.TCP, Transport.UDP
HERE, THERE = (ipaddress.ip_address(text).packed for text in ("198.51.100.1", "203.0.113.2"))
FIRST, SERVICES = 2**32 - 1, 500  # numbers of the SYNs: the client's data begins with 0, the service's with 501
MARK = b"0123456789abcdef"


def came(flags: int, payload: bytes = b"", sequence: int = 0, client: int = 40000, port: int = 80) -> Packet:
    return Packet(TCP, THERE, client, HERE, port, flags, payload, sequence)


def went(flags: int, payload: bytes = b"", sequence: int = SERVICES + 1, client: int = 40000) -> Packet:
    return Packet(TCP, HERE, 80, THERE, client, flags, payload, sequence)


OPENS, GREETS = came(SYN, sequence=FIRST), went(SYN | ACK, sequence=SERVICES)
BRINGS, SAYS, ENDS = came(PSH | ACK, b"GET " + MARK), went(ACK, b"HTTP"), went(FIN | ACK)


def told(*packets: Packet, mark: bytes = MARK, port: int = 80, transport: Transport = TCP) -> ServiceReply:
    flows = ServiceFlows()
    for one in packets:
        if one.source == THERE:
            flows.on_inbound(one)
        else:
            flows.on_outbound(one)
    return flows.find(AskService(transport, port, mark.hex()))


def said(data: bytes, closed: bool = False) -> ServiceReply:
    return ServiceReply(True, len(data), hashlib.sha256(data).hexdigest(), closed)


@pytest.mark.parametrize(
    ("packets", "service"),
    [
        ((), ServiceReply(False)),
        ((OPENS, GREETS), ServiceReply(False)),
        ((GREETS, BRINGS, SAYS), ServiceReply(False)),  # it was opened before the check
        ((OPENS, GREETS, BRINGS), ServiceReply(True)),
        (
            (OPENS, GREETS, came(PSH | ACK, BRINGS.payload, 1400)),
            ServiceReply(False),
        ),  # not where the service begins to read
        ((OPENS, GREETS, BRINGS, went(ACK)), ServiceReply(True)),
        ((OPENS, GREETS, BRINGS, SAYS), said(b"HTTP")),
        ((OPENS, GREETS, BRINGS, SAYS, went(ACK, b"more", SERVICES + 5)), said(b"HTTP")),
        ((OPENS, GREETS, BRINGS, SAYS, went(ACK, b"HTTP and more")), said(b"HTTP")),  # sent again with what followed
        (
            (OPENS, GREETS, BRINGS, went(ACK, b"more", SERVICES + 5)),
            ServiceReply(True),
        ),  # the watch missed the beginning
        ((OPENS, BRINGS, SAYS), ServiceReply(True)),
        ((OPENS, GREETS, BRINGS, went(ACK, bytes(MAX_REPLY_BYTES + 1))), said(bytes(MAX_REPLY_BYTES))),
        ((OPENS, GREETS, BRINGS, ENDS), ServiceReply(True, closed=True)),
        ((OPENS, GREETS, BRINGS, went(FIN | PSH | ACK, b"HTTP")), said(b"HTTP", closed=True)),
        ((OPENS, GREETS, BRINGS, went(RST)), ServiceReply(True)),
        ((OPENS, GREETS, BRINGS, SAYS, OPENS), said(b"HTTP")),
        ((OPENS, GREETS, BRINGS, SAYS, came(SYN, sequence=7)), ServiceReply(False)),  # the port anew
        ((OPENS, GREETS, came(ACK, b"GET"), BRINGS), ServiceReply(True)),
    ],
)
def test_what_passed_in_a_connection(packets: tuple[Packet, ...], service: ServiceReply) -> None:
    assert told(*packets) == service


def test_a_mark_is_found_at_its_port_and_of_its_transport_alone() -> None:
    packets = OPENS, GREETS, BRINGS, SAYS
    assert told(*packets, mark=b"somebody else's") == ServiceReply(False)
    assert told(*packets, port=443) == told(*packets, transport=UDP) == ServiceReply(False)
    other = came(SYN, sequence=FIRST, client=40001), came(PSH | ACK, b"POST", client=40001)
    assert told(*other, *packets, *other) == said(b"HTTP")


def test_of_what_came_the_beginning_is_kept() -> None:
    for before, service in ((MAX_INBOUND - len(MARK), ServiceReply(True)), (MAX_INBOUND, ServiceReply(False))):
        assert told(OPENS, came(PSH | ACK, bytes(before) + MARK)) == service


TRANSACTION = bytes(range(12))


def datagram(leaves: bool, payload: bytes, port: int = 443, client: int = 40000) -> Packet:
    ends = (HERE, port, THERE, client) if leaves else (THERE, client, HERE, port)
    return Packet(UDP, *ends, 0, bytes(8) + payload)


def test_what_passed_in_datagrams() -> None:
    flows = ServiceFlows()
    asked = AskService(UDP, 443, TRANSACTION.hex())
    assert flows.find(asked) == ServiceReply(False)
    assert [flows.on_inbound(datagram(False, TRANSACTION)) for _ in range(2)] == [
        True,
        False,
    ]  # a VLAN's shows it again
    for other in (
        datagram(True, b"another one "),
        datagram(True, TRANSACTION, 3478),
        datagram(True, TRANSACTION, 443, 9),
    ):
        flows.on_outbound(other)
    assert flows.find(asked) == ServiceReply(True)
    flows.on_outbound(datagram(True, TRANSACTION + b"mapped"))
    flows.on_outbound(datagram(True, TRANSACTION + b"again"))
    assert flows.find(asked) == said(bytes(8) + TRANSACTION + b"mapped")


def test_of_a_datagram_the_beginning_is_told() -> None:
    flows = ServiceFlows()
    flows.on_inbound(datagram(False, TRANSACTION))
    flows.on_outbound(datagram(True, TRANSACTION + bytes(MAX_REPLY_BYTES)))
    assert flows.find(AskService(UDP, 443, TRANSACTION.hex())).size == MAX_REPLY_BYTES


def test_a_datagram_is_found_wherever_it_came_in() -> None:
    flows = ServiceFlows()
    flows.on_inbound(datagram(False, TRANSACTION, 3478))
    assert flows.find(AskService(UDP, 443, TRANSACTION.hex())) == ServiceReply(True)


def test_flows_without_end_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_observer, "MAX_SERVICE_FLOWS", 2)
    flows = ServiceFlows()
    for client in (1, 2, 1, 3):
        flows.on_inbound(came(SYN, sequence=client + len(flows._flows), client=client))
        flows.on_inbound(came(PSH | ACK, b"x" * 1500, client + len(flows._flows), client=client))
    assert [key[2] for key in flows._flows] == [1, 3]  # the newest
    assert all(len(flow.inbound) <= MAX_INBOUND for flow in flows._flows.values())


@pytest.mark.parametrize(
    ("service", "began", "closed", "corroborated"),
    [
        (said(b"HTTP"), b"HTTP/1.1 301", False, True),
        (said(b"HTTP", closed=True), b"HTTP", True, True),
        (said(b"HTTP"), b"HTT", True, False),
        (said(b"HTTP"), b"SSH-2", False, False),
        (said(b"HTTP"), b"", True, False),
        (ServiceReply(True), b"HTTP", True, False),
        (ServiceReply(True, closed=True), b"", True, True),
        (ServiceReply(True, closed=True), b"", False, False),
        (ServiceReply(True, closed=True), b"H", True, False),
        (ServiceReply(True), b"", True, False),
        (ServiceReply(False, 4, hashlib.sha256(b"HTTP").hexdigest(), True), b"HTTP", True, False),
    ],
)
def test_what_a_server_corroborates(service: ServiceReply, began: bytes, closed: bool, corroborated: bool) -> None:
    assert corroborates(service, began, closed) is corroborated


def test_which_ports_are_tried_through_services() -> None:
    plan = build_plan("plugnmeet", ["rtmp", "sip"])
    every = {transport: {*plan.ports(transport)} for transport in Transport}
    framed = dict.fromkeys((1935, 5060, 5061, 7881), "framed-stun")
    assert served_ports(plan, every) == {
        TCP: {80: "http", 443: "tls", **framed},
        UDP: dict.fromkeys((443, 5060, 5061), "turn"),
    }
    assert served_ports(plan, {TCP: {80, 8080}, UDP: {443, 50000}}) == {TCP: {80: "http"}, UDP: {443: "turn"}}
    assert served_ports(plan, {TCP: (), UDP: ()}) == {TCP: {}, UDP: {}}
    few, many = (Requirement(UDP, PortRange(1, last), "media", Need.REQUIRED) for last in (MAX_TURN, MAX_TURN + 1))
    assert [len(served_ports(Plan("mine", (one,)), {TCP: (), UDP: {1, 2}})[UDP]) for one in (few, many)] == [2, 0]
