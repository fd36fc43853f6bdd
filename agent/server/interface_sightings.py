"""Records what the network interfaces show of the sessions' packets, before this host's own firewall."""

from __future__ import annotations

from ..core.errors import DecodeError
from ..core.events import Arrival
from ..core.plan import Transport
from ..packet import ip
from ..packet.ip import SYN
from ..protocol import stun
from .probe_reader import ProbeReader
from .sessions import SessionRegistry


class InterfaceSightings:
    """Packets at the interfaces, each told to the sessions that it belongs to."""

    def __init__(self, registry: SessionRegistry, reader: ProbeReader) -> None:
        self._registry, self._reader = registry, reader

    def on_packet(self, data: bytes, leaves: bool, interface: str) -> None:
        """Record a packet, from its IP header on, that came in or leaves."""
        try:
            packet = ip.decode(data)
        except DecodeError:
            return
        if packet.transport is Transport.UDP:
            (self._udp_out if leaves else self._udp_in)(packet, interface)
        elif leaves:
            self._tcp_out(packet)
        elif self._registry.settings.plan.has(Transport.TCP, packet.port):
            self._tcp_in(packet, interface)

    def _tcp_out(self, packet: ip.Packet) -> None:
        for session in self._registry.of_address(packet.destination):
            session.observer.on_outbound(packet)
            if self._registry.ports.is_served(Transport.TCP, packet.source_port):
                session.service_flows.on_outbound(packet)

    def _tcp_in(self, packet: ip.Packet, interface: str) -> None:
        own = self._registry.of_address(packet.source)
        for session in own:
            session.observer.on_inbound(packet)
            if self._registry.ports.is_served(Transport.TCP, packet.port):
                session.service_flows.on_inbound(packet)
            session.observer.arrival = Arrival(interface, packet.destination)
        if packet.flags & SYN:
            for session in self._registry:
                if session not in own:
                    session.observer.on_foreign_syn(packet.port)

    def _udp_out(self, packet: ip.Packet, interface: str) -> None:
        if self._registry.ports.is_served(Transport.UDP, packet.source_port):
            for session in self._registry:
                session.service_flows.on_outbound(packet)
        answered = self._registry.of_endpoint(packet.destination, packet.port)
        if answered and self._registry.settings.plan.has(Transport.UDP, packet.source_port):
            answered.observer.answers_sent[packet.source_port] += 1

    def _udp_in(self, packet: ip.Packet, interface: str) -> None:
        probe = self._reader.read(packet.payload)
        if probe is None:
            return
        request, session = probe
        # The last of several interfaces is the one that the firewall sees.
        session.observer.arrival = Arrival(interface, packet.destination)
        # A packet is seen again at a VLAN's or a bridge's interface; it is one probe all the same.
        number = stun.probe_number(request.transaction)
        # A service's port is tried apart from the others, by probes without a number.
        if number or not self._registry.settings.live:
            fresh = session.at_interface.accept(number)
        else:
            fresh = session.service_flows.on_inbound(packet)
        if fresh and self._registry.settings.plan.has(Transport.UDP, request.port):
            session.observer.at_interface[Transport.UDP][request.port] += 1
