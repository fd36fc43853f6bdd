"""Records what the network interface shows of one client's check: how far its packets come, what services answer."""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Iterable

from ..core.events import Arrival
from ..core.observation import Where
from ..core.plan import Transport
from ..packet.ip import FIN, RST, SYN, Packet
from ..protocol.messages import MAX_REPLY_BYTES, AskService, ServiceReply
from ..protocol.stun import HEADER, TRANSACTION_BYTES

# Connections of one address that each of its checks keeps: some hundreds for each TCP port, of 200 bytes each.
MAX_FLOWS = 2_000
# Times that a segment comes while nothing accepts it: a client waits four seconds and sends it again after 0.2 s, then
# ever later (RFC 6298), on a path of 300 ms after one; twice is what a lost acknowledgement makes of it.
IN_VAIN = 3
SEQUENCES = 2**32  # numbers of TCP's bytes, then it counts from 0 again (RFC 9293, section 3.4)
# Flows of one client's address that are kept in mind, the newest: a check makes a few for each port, and others behind
# the same address may poll. They take about 1 KB each, of one session at a time.
MAX_SERVICE_FLOWS = 5_000
# Of what the client sent: a mark of its own stands within it, whatever it speaks.
MAX_INBOUND = 256
# Of several connections to one port the one that came furthest tells.
_FURTHER = (Where.BEFORE_SERVER, Where.SERVER_HOST, Where.RETURN_PATH, Where.UNKNOWN)


class Progress(enum.Flag):
    """What the server's program did with a TCP connection."""

    NONE = 0
    ACCEPTED = 1  # the kernel gave it to the program
    READ = 2  # it read some; what it did not understand may have been cut short on the way
    WRITTEN = 4  # it wrote an answer


@dataclass
class _Flow:
    """One TCP connection of the client's, whose SYN was captured."""

    begins: int  # the sequence number of its first byte of data
    syn_answered: bool = False  # a SYN of ours left, which accepts it
    continued: bool = False  # another segment of the client's came, so that ours had reached it
    first_data: int = 0  # how often the first of its data came: without it the program gets nothing that comes later
    progress: Progress = Progress.NONE
    answered: bool = False  # a segment with data left

    @property
    def place(self) -> Where:
        """Return how far its packets came."""
        if Progress.ACCEPTED not in self.progress:
            if self.syn_answered and self.continued:
                # What nothing accepts is sent again; else another program of this host accepted it.
                return Where.SERVER_HOST if self.first_data >= IN_VAIN else Where.UNKNOWN
            return Where.RETURN_PATH if self.syn_answered else Where.SERVER_HOST
        if Progress.WRITTEN in self.progress:
            return Where.RETURN_PATH if self.answered else Where.SERVER_HOST
        if Progress.READ in self.progress:
            return Where.UNKNOWN
        return Where.SERVER_HOST if self.first_data else Where.BEFORE_SERVER


@dataclass
class PacketObserver:
    """The packets of one session at the interface."""

    at_interface: dict[Transport, Counter[int]] = field(default_factory=lambda: {t: Counter() for t in Transport})
    arrival: Arrival | None = None
    answers_sent: Counter[int] = field(default_factory=Counter)  # UDP answers, by the port that they came from
    # Ports to which connections of other addresses came: perhaps the client's own, by another of a large network.
    foreign: set[int] = field(default_factory=set)
    _flows: dict[tuple[int, int], _Flow] = field(default_factory=dict)  # by the server's port and the client's

    def on_inbound(self, packet: Packet) -> None:
        """Record a TCP segment of the client's that came in."""
        key = packet.port, packet.source_port
        if packet.flags & SYN:
            self.at_interface[Transport.TCP][packet.port] += 1
            if len(self._flows) < MAX_FLOWS:
                self._flows.setdefault(key, _Flow((packet.sequence + 1) % SEQUENCES))
            else:
                self.foreign.add(packet.port)  # how far it comes is not known
        elif key in self._flows and packet.payload and not packet.flags & RST:
            flow = self._flows[key]
            flow.continued = True
            flow.first_data += packet.sequence == flow.begins

    def on_outbound(self, packet: Packet) -> None:
        """Record a TCP segment to the client that left."""
        flow = self._flows.get((packet.source_port, packet.port))
        if flow:
            flow.syn_answered |= bool(packet.flags & SYN)
            flow.answered |= bool(packet.payload)

    def on_progress(self, port: int, client_port: int, progress: Progress) -> None:
        """Record what the server's program did with a connection."""
        if (port, client_port) in self._flows:
            self._flows[port, client_port].progress |= progress

    def places(self, ports: Iterable[int]) -> dict[int, str]:
        """Return how far the client's packets to each of these TCP ports came, in the words of Where."""
        furthest: dict[int, Where] = {}
        for (port, _), flow in self._flows.items():
            furthest[port] = max(furthest.get(port, flow.place), flow.place, key=_FURTHER.index)
        places = {port: Where.UNKNOWN if port in self.foreign else Where.BEFORE_SERVER for port in ports}
        return {port: place.value for port, place in {**places, **furthest}.items()}


@dataclass
class _ServiceFlow:
    """One connection, or one datagram and its answer."""

    begins: int  # the sequence numbers of the first byte of data, the client's and the service's
    answer_begins: int | None = None
    inbound: bytes = b""
    outbound: bytes = b""
    closed: bool = False


class ServiceFlows:
    """What passed the interface at served ports, of one session's client."""

    def __init__(self) -> None:
        # By the server's port, the client's address and port, and over UDP the transaction.
        self._flows: dict[tuple[int, bytes, int, bytes], _ServiceFlow] = {}

    def on_inbound(self, packet: Packet) -> bool:
        """Record a TCP segment of the client's, or a UDP probe that proved to be; return whether the flow is new."""
        key = packet.port, packet.source, packet.source_port, _transaction(packet)
        flow, udp, begins = self._flows.get(key), packet.transport is Transport.UDP, (packet.sequence + 1) % SEQUENCES
        if udp or packet.flags & SYN:
            # One that is sent again is the same; a client, or a NAT, may come by the same port once more.
            if flow and flow.begins == begins:
                return False
            self._flows.pop(key, None)
            self._flows[key] = _ServiceFlow(begins, inbound=packet.payload[:MAX_INBOUND] if udp else b"")
            if len(self._flows) > MAX_SERVICE_FLOWS:
                del self._flows[next(iter(self._flows))]
            return True
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


def _transaction(packet: Packet) -> bytes:
    udp = packet.transport is Transport.UDP
    return packet.payload[HEADER.size - TRANSACTION_BYTES : HEADER.size] if udp else b""
