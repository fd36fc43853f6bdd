"""Recognises the sessions' packets among all others, counts them at the sockets and the interfaces, answers probes."""

from __future__ import annotations

from ..core.errors import DecodeError
from ..core.events import Arrival
from ..core.plan import Transport
from ..packet import ip
from ..protocol import http_proof, stun
from .sessions import Session, SessionRegistry
from .state import Endpoint

# Probes that were verified at the interface or at the socket, and not yet seen at the other: one packet's two sightings
# come within a turn or two of the server's loop.
MAX_RECENT = 4096


class ProbeResponder:
    """Answers probes and records sightings, those of the sockets and those of the interfaces."""

    def __init__(self, registry: SessionRegistry) -> None:
        self.registry = registry
        self._recent: dict[bytes, stun.Request] = {}

    def answer(self, data: bytes, source: Endpoint, transport: Transport, port: int) -> bytes | None:
        """Return the answer to a STUN probe that came in at `port`; None for anything that deserves silence."""
        probe = self._read(data)
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
            session.sources.observe(source[0], self.registry.random_bytes)
            nonce = session.sources.nonce_for(source[0])
        if nonce is not None and session.spend_answer():
            answer = stun.encode_answer(request.transaction, *source, session.key, request.padding, nonce)
            if len(answer) <= len(data):
                self.registry.remember_endpoint(source, session)
                return answer
        session.unanswered[port] += udp
        return None

    def answer_token(self, token: http_proof.Token, port: int, certificate: bytes) -> str | None:
        """Return the proof for an HTTP token that came in at `port`; None for a stranger's."""
        session = self.registry.sessions.get(token.session)
        if session is None or not http_proof.verify_token(token, session.key):
            return None
        if not self._sighted(session, Transport.TCP, token.port, port) or not session.spend_answer():
            return None
        return http_proof.make_proof(token, certificate, session.key)

    def on_packet(self, data: bytes, leaves: bool, interface: str) -> None:
        """Record a packet at an interface, before this host's own firewall: from its IP header on."""
        try:
            packet = ip.decode(data)
        except DecodeError:
            return
        if packet.transport is Transport.UDP and leaves:
            self._udp_out(packet)
        elif packet.transport is Transport.UDP:
            self._udp_in(packet, interface)
        elif leaves:
            for session in self.registry.of_address(packet.destination):
                session.observer.on_outbound(packet)
                if self.registry.ports.is_served(Transport.TCP, packet.source_port):
                    session.service_flows.on_outbound(packet)
        elif self.registry.settings.plan.has(Transport.TCP, packet.port):
            self._tcp_in(packet, interface)

    def _read(self, data: bytes) -> tuple[stun.Request, Session] | None:
        """Return a probe, verified once for its two sightings, and its running session; None for anything else."""
        request, sessions = self._recent.get(data), self.registry.sessions
        if request is None:
            try:
                request = stun.decode_probe(data, lambda name: sessions[name].key if name in sessions else None)
            except DecodeError:
                return None
            if self.registry.settings.capture:
                self._recent[data] = request
                if len(self._recent) > MAX_RECENT:
                    del self._recent[next(iter(self._recent))]
        session = sessions.get(request.username)
        return (request, session) if session else None

    def _sighted(self, session: Session, transport: Transport, meant: int, port: int) -> bool:
        """Record a probe meant for one port that came in at `port`; return whether these are the same."""
        if not self.registry.settings.plan.has(transport, meant):
            return False
        session.sightings[transport][meant] += 1
        if meant != port:
            session.redirected[transport][meant] = port
        return meant == port

    def _tcp_in(self, packet: ip.Packet, interface: str) -> None:
        own = self.registry.of_address(packet.source)
        for session in own:
            session.observer.on_inbound(packet)
            if self.registry.ports.is_served(Transport.TCP, packet.port):
                session.service_flows.on_inbound(packet)
            session.observer.arrival = Arrival(interface, packet.destination)
        if packet.flags & ip.SYN:
            for session in self.registry.sessions.values():
                if session not in own:
                    session.observer.foreign.add(packet.port)

    def _udp_out(self, packet: ip.Packet) -> None:
        if self.registry.ports.is_served(Transport.UDP, packet.source_port):
            for session in self.registry.sessions.values():
                session.service_flows.on_outbound(packet)
        answered = self.registry.of_endpoint(packet.destination, packet.port)
        if answered and self.registry.settings.plan.has(Transport.UDP, packet.source_port):
            answered.observer.answers_sent[packet.source_port] += 1

    def _udp_in(self, packet: ip.Packet, interface: str) -> None:
        probe = self._read(packet.payload)
        if probe is None:
            return
        request, session = probe
        # The last of several interfaces is the one that the firewall sees.
        session.observer.arrival = Arrival(interface, packet.destination)
        # A packet is seen again at a VLAN's or a bridge's interface; it is one probe all the same.
        number = stun.probe_number(request.transaction)
        # A service's port is tried apart from the others, by probes without a number.
        if number or not self.registry.settings.live:
            fresh = session.at_interface.accept(number)
        else:
            fresh = session.service_flows.on_inbound(packet)
        if fresh and self.registry.settings.plan.has(Transport.UDP, request.port):
            session.observer.at_interface[Transport.UDP][request.port] += 1
