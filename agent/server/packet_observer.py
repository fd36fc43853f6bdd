"""What the server's network interface showed of one client's check: how far its packets came."""

from __future__ import annotations

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
# Times that a segment comes while nobody takes it: a client waits four seconds and sends it again after 0.2 s, then
# ever later (RFC 6298), on a path of 300 ms after one; twice is what a lost acknowledgement makes of it.
IN_VAIN = 3
SEQUENCES = 2**32  # numbers of TCP's bytes, then it counts from 0 again (RFC 9293, section 3.4)


@dataclass
class _Flow:
    """One TCP connection of the client's, whose SYN was seen."""

    begins: int  # the sequence number of its first byte of data
    greeted: bool = False  # a SYN of ours left, which accepts it
    followed: bool = False  # another segment of the client's came, so that ours had reached it
    accepted: bool = False  # the kernel gave it to the server's program
    brought: int = 0  # how often the first of its data came: without that the program gets nothing of what comes later
    heard: bool = False  # the program read some
    said: bool = False  # the program wrote an answer
    answered: bool = False  # a segment with data left

    @property
    def place(self) -> Where:
        """How far its packets came; what the program did not understand may have been cut short on the way."""
        if not self.accepted:
            if self.greeted and self.followed:
                # What nobody takes is sent again; else somebody on this host took it in the program's place.
                return Where.SERVER_HOST if self.brought >= IN_VAIN else Where.UNKNOWN
            return Where.RETURN_PATH if self.greeted else Where.SERVER_HOST
        if self.said:
            return Where.RETURN_PATH if self.answered else Where.SERVER_HOST
        if self.heard:
            return Where.UNKNOWN
        return Where.SERVER_HOST if self.brought else Where.BEFORE_SERVER


# Of several connections to one port the one that came furthest tells.
_FURTHER = (Where.BEFORE_SERVER, Where.SERVER_HOST, Where.RETURN_PATH, Where.UNKNOWN)


@dataclass
class PacketObserver:
    """Packets at the interface, for one session."""

    at_interface: dict[Transport, Counter[int]] = field(default_factory=lambda: {t: Counter() for t in Transport})
    arrival: Arrival | None = None
    answers_sent: Counter[int] = field(default_factory=Counter)  # UDP answers, by the port that they came from
    _foreign: set[int] = field(default_factory=set)  # ports to which connections came that are nobody's here
    _flows: dict[tuple[int, int], _Flow] = field(default_factory=dict)  # by the server's port and the client's

    def on_inbound(self, packet: Packet) -> None:
        """A TCP segment of the client's came in."""
        key = packet.port, packet.source_port
        if packet.flags & SYN:
            self.at_interface[Transport.TCP][packet.port] += 1
            if len(self._flows) < MAX_FLOWS:
                self._flows.setdefault(key, _Flow((packet.sequence + 1) % SEQUENCES))
            else:
                self._foreign.add(packet.port)  # how far it comes is not known
        elif key in self._flows and packet.payload and not packet.flags & RST:
            flow = self._flows[key]
            flow.followed = True
            flow.brought += packet.sequence == flow.begins

    def on_outbound(self, packet: Packet) -> None:
        """A TCP segment to the client left."""
        flow = self._flows.get((packet.source_port, packet.port))
        if flow:
            flow.greeted |= bool(packet.flags & SYN)
            flow.answered |= bool(packet.payload)

    def on_foreign_syn(self, port: int) -> None:
        """Somebody else's SYN came: perhaps the client's own, by another address of a large network's."""
        self._foreign.add(port)

    def on_accept(self, port: int, client_port: int) -> None:
        """The server's program got a connection."""
        self._note(port, client_port, "accepted")

    def on_read(self, port: int, client_port: int) -> None:
        """The server's program read something from a connection."""
        self._note(port, client_port, "heard")

    def on_write(self, port: int, client_port: int) -> None:
        """The server's program wrote something to a connection."""
        self._note(port, client_port, "said")

    def _note(self, port: int, client_port: int, what: str) -> None:
        flow = self._flows.get((port, client_port))
        if flow:
            setattr(flow, what, True)

    def places(self, ports: Iterable[int]) -> dict[int, str]:
        """How far the client's packets to each of these TCP ports came, in the words of Where."""
        found = {port: Where.UNKNOWN if port in self._foreign else Where.BEFORE_SERVER for port in ports}
        seen: dict[int, list[Where]] = {}
        for (port, _), flow in self._flows.items():
            seen.setdefault(port, []).append(flow.place)
        found.update((port, max(places, key=_FURTHER.index)) for port, places in seen.items())
        return {port: place.value for port, place in found.items()}
