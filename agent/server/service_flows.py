"""Says which ports are checked through the service that holds them, and records what passes there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Container, Mapping, Tuple

from ..core.plan import Plan, Transport, protocol_of
from ..packet.ip import FIN, SYN, Packet
from ..protocol.messages import MAX_REPLY_BYTES, AskService, ServiceProtocol, ServiceReply
from ..protocol.stun import HEADER, TRANSACTION_BYTES
from .packet_observer import SEQUENCES

# A range of more UDP ports is media's, of which no service answers a stranger.
MAX_TURN = 16
# Flows of one client's address that are kept in mind, the newest: a check makes a few for each port, and others behind
# the same address may poll. They take about 1 KB each, of one session at a time.
MAX_FLOWS = 5_000
# Of what the client sent: a mark of its own stands within it, whatever it speaks.
MAX_INBOUND = 256


def served_ports(plan: Plan, busy: Mapping[Transport, Container[int]]) -> dict[Transport, dict[int, str]]:
    """Return the busy ports that can be tried through the service that holds them, as PortTable.SERVED has it.

    Whatever listens there: its answer is compared, not understood.
    """
    return {
        Transport.TCP: {port: ServiceProtocol[protocol_of(Transport.TCP, port, row.purpose).name].value
                        for row in plan.of(Transport.TCP) for port in row.ports if port in busy[Transport.TCP]},
        Transport.UDP: {port: ServiceProtocol.TURN.value
                        for row in plan.of(Transport.UDP) if len(row.ports) <= MAX_TURN
                        for port in row.ports if port in busy[Transport.UDP]},
    }  # fmt: skip


@dataclass
class _Flow:
    """One connection, or one datagram and its answer."""

    begins: int = 0  # the sequence numbers of the first byte of data, the client's and the service's
    answer_begins: int | None = None
    inbound: bytes = b""
    outbound: bytes = b""
    closed: bool = False


# The server's port; the client's address and port; over UDP the transaction.
_Key = Tuple[int, bytes, int, bytes]


class ServiceFlows:
    """What passed the interface at served ports, of one session's client."""

    def __init__(self) -> None:
        self._flows: dict[_Key, _Flow] = {}

    def on_inbound(self, packet: Packet) -> bool:
        """Record a TCP segment of the client's, or a UDP probe that proved to be; return whether the flow is new."""
        key = packet.port, packet.source, packet.source_port, _transaction(packet)
        flow = self._flows.get(key)
        if packet.transport is Transport.UDP:
            return flow is None and self._begin(key, _Flow(inbound=packet.payload[:MAX_INBOUND]))
        if packet.flags & SYN:
            begins = (packet.sequence + 1) % SEQUENCES
            # One that is sent again is the same; a client, or a NAT, may come by the same port once more.
            return (flow is None or flow.begins != begins) and self._begin(key, _Flow(begins))
        # What comes first is what the service reads first; what is sent again is the same.
        if flow and packet.sequence == flow.begins and len(packet.payload) > len(flow.inbound):
            flow.inbound = packet.payload[:MAX_INBOUND]
        return False

    def on_outbound(self, packet: Packet) -> None:
        """Record a TCP segment to the client that left, or a UDP datagram."""
        flow = self._flows.get((packet.source_port, packet.destination, packet.port, _transaction(packet)))
        if not flow:
            return
        if packet.transport is Transport.UDP:
            flow.outbound = flow.outbound or packet.payload[:MAX_REPLY_BYTES]
        elif packet.flags & SYN:
            flow.answer_begins = (packet.sequence + 1) % SEQUENCES
        else:
            # Not what comes later, where the capture missed the first of it.
            if packet.sequence == flow.answer_begins and not flow.outbound:
                flow.outbound = packet.payload[:MAX_REPLY_BYTES]
            flow.closed |= bool(packet.flags & FIN)

    def find(self, asked: AskService) -> ServiceReply:
        """Return what passed in the flow with this mark."""
        mark = bytes.fromhex(asked.mark)
        udp = asked.transport is Transport.UDP
        for (port, _, _, transaction), flow in self._flows.items():
            # A datagram may have come in at another port than it was sent to.
            if transaction == mark if udp else port == asked.port and not transaction and mark in flow.inbound:
                digest = hashlib.sha256(flow.outbound).hexdigest() if flow.outbound else ""
                return ServiceReply(True, len(flow.outbound), digest, flow.closed)
        return ServiceReply(False)

    def _begin(self, key: _Key, flow: _Flow) -> bool:
        self._flows.pop(key, None)
        self._flows[key] = flow
        if len(self._flows) > MAX_FLOWS:
            del self._flows[next(iter(self._flows))]
        return True


def _transaction(packet: Packet) -> bytes:
    """Return the transaction of the probe that a datagram is, or answers."""
    udp = packet.transport is Transport.UDP
    return packet.payload[HEADER.size - TRANSACTION_BYTES : HEADER.size] if udp else b""
