"""Recognises what the sessions' clients send, counts it at the sockets and at the interfaces, and answers it."""

from __future__ import annotations

from ..core.address import Address
from ..core.errors import DecodeError
from ..core.events import Arrival
from ..core.plan import Transport
from ..packet import ip
from ..protocol import http_proof, stun
from .sessions import Session, SessionRegistry

# Probes that were verified at the interface or at the socket, and not yet seen at the other: one packet's two sightings
# come within a turn or two of the server's loop.
MAX_RECENT = 4096


class ProbeResponder:
    """Verifies probes, each once for its two sightings, and answers those that come in at the sockets."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry
        self._recent: dict[bytes, stun.Request] = {}

    def read(self, data: bytes) -> tuple[stun.Request, Session] | None:
        """Return a probe of a running session, and the session; None for anything else."""
        request = self._recent.get(data)
        if request is None:
            try:
                request = stun.decode_probe(data, self._registry.key_of)
            except DecodeError:
                return None
            if self._registry.settings.capture:
                self._recent[data] = request
                if len(self._recent) > MAX_RECENT:
                    del self._recent[next(iter(self._recent))]
        session = self._registry.sessions.get(request.username)
        return (request, session) if session else None

    def answer(self, data: bytes, source: tuple[Address, int], transport: Transport, port: int) -> bytes | None:
        """Return the answer to a STUN probe that came in at `port`; None for anything that deserves silence."""
        probe = self.read(data)
        if probe is None:
            return None
        request, session = probe
        udp = transport is Transport.UDP
        if udp and not session.at_socket.accept(stun.probe_number(request.transaction)):
            return None  # one that came before: the network doubled it, or somebody sends what was overheard
        if not self._sighted(session, transport, request.port, port):
            return None
        nonce: str | None = ""
        # A connection proves whose address it is; of a datagram anybody may have written the source.
        if udp and source[0] != session.client:
            session.sources.observe(source[0], self._registry.random_bytes)
            nonce = session.sources.nonce_for(source[0])
        if nonce is not None and session.spend_answer():
            answer = stun.encode_answer(request.transaction, *source, session.key, request.padding, nonce)
            if len(answer) <= len(data):
                self._registry.remember_endpoint(source, session)
                return answer
        session.unanswered[port] += udp
        return None

    def answer_token(self, token: http_proof.Token, port: int, certificate: bytes) -> str | None:
        """Return the proof for an HTTP token that came in at `port`; None for a stranger's."""
        session = self._registry.sessions.get(token.session)
        if session is None or not http_proof.verify_token(token, session.key):
            return None
        if not self._sighted(session, Transport.TCP, token.port, port) or not session.spend_answer():
            return None
        return http_proof.make_proof(token, certificate, session.key)

    def _sighted(self, session: Session, transport: Transport, meant: int, port: int) -> bool:
        """Record a probe meant for one port that came in at `port`; return whether these are the same."""
        if not self._registry.settings.plan.has(transport, meant):
            return False
        session.sightings[transport][meant] += 1
        if meant != port:
            session.redirected[transport][meant] = port
        return meant == port


class InterfaceSightings:
    """Records what the network interfaces show of the sessions' packets, before this host's own firewall."""

    def __init__(self, registry: SessionRegistry, responder: ProbeResponder) -> None:
        self._registry, self._responder = registry, responder

    def on_packet(self, data: bytes, leaves: bool, interface: str) -> None:
        """Record a packet, from its IP header on, that came in or leaves."""
        try:
            packet = ip.decode(data)
        except DecodeError:
            return
        if packet.transport is Transport.UDP and leaves:
            self._udp_out(packet)
        elif packet.transport is Transport.UDP:
            self._udp_in(packet, interface)
        elif leaves:
            self._tcp_out(packet)
        elif self._registry.settings.plan.has(Transport.TCP, packet.port):
            self._tcp_in(packet, interface)

    def _tcp_out(self, packet: ip.Packet) -> None:
        served = self._registry.ports.is_served(Transport.TCP, packet.source_port)
        for session in self._registry.of_address(packet.destination):
            session.observer.on_outbound(packet)
            if served:
                session.service_flows.on_outbound(packet)

    def _tcp_in(self, packet: ip.Packet, interface: str) -> None:
        own = self._registry.of_address(packet.source)
        for session in own:
            session.observer.on_inbound(packet)
            if self._registry.ports.is_served(Transport.TCP, packet.port):
                session.service_flows.on_inbound(packet)
            session.observer.arrival = Arrival(interface, packet.destination)
        if packet.flags & ip.SYN:
            for session in self._registry.sessions.values():
                if session not in own:
                    session.observer.on_foreign_syn(packet.port)

    def _udp_out(self, packet: ip.Packet) -> None:
        if self._registry.ports.is_served(Transport.UDP, packet.source_port):
            for session in self._registry.sessions.values():
                session.service_flows.on_outbound(packet)
        answered = self._registry.of_endpoint(packet.destination, packet.port)
        if answered and self._registry.settings.plan.has(Transport.UDP, packet.source_port):
            answered.observer.answers_sent[packet.source_port] += 1

    def _udp_in(self, packet: ip.Packet, interface: str) -> None:
        probe = self._responder.read(packet.payload)
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
