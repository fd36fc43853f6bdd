"""Records what the network interface shows of one client's check: how far its packets come."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import Iterable

from ..core.events import Arrival
from ..core.observation import Where
from ..core.plan import Transport
from ..packet.ip import RST, SYN, Packet

# Connections of one check that are kept in mind: some hundreds for each TCP port of a usual plan. They take 200 bytes
# each, and every session of an address counts all of that address'.
MAX_FLOWS = 2_000
# Times that a segment comes while nothing accepts it: a client waits four seconds and sends it again after 0.2 s, then
# ever later (RFC 6298), on a path of 300 ms after one; twice is what a lost acknowledgement makes of it.
IN_VAIN = 3
SEQUENCES = 2**32  # numbers of TCP's bytes, then it counts from 0 again (RFC 9293, section 3.4)


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


# Of several connections to one port the one that came furthest tells.
_FURTHER = (Where.BEFORE_SERVER, Where.SERVER_HOST, Where.RETURN_PATH, Where.UNKNOWN)


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
