"""Answers what proves to come from a session's client: STUN probes over UDP and TCP, and tokens of HTTP requests."""

from __future__ import annotations

from ..core.address import Address
from ..core.plan import Transport
from ..protocol import http_proof, stun
from .probe_reader import ProbeReader
from .session import Session
from .sessions import SessionRegistry


class ProbeResponder:
    """Answers probes, and counts them as sightings at the socket."""

    def __init__(self, registry: SessionRegistry, reader: ProbeReader) -> None:
        self._registry, self._reader = registry, reader

    def answer(self, data: bytes, source: tuple[Address, int], transport: Transport, port: int) -> bytes | None:
        """Return the answer to a STUN probe that came in at `port`; None for anything that deserves silence."""
        probe = self._reader.read(data)
        if probe is None:
            return None
        request, session = probe
        udp = transport is Transport.UDP
        if udp and not session.at_socket.accept(stun.probe_number(request.transaction)):
            return None  # one that came before: the network doubled it, or somebody sends what was overheard
        if not self._sighted(session, transport, request.port, port):
            return None
        # A connection proves whose address it is; of a datagram anybody may have written the source.
        nonce = self._nonce_for(session, source[0]) if udp else ""
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
        if not self._sighted(session, Transport.TCP, token.port, port):
            return None
        return http_proof.make_proof(token, certificate, session.key) if session.spend_answer() else None

    def _sighted(self, session: Session, transport: Transport, meant: int, port: int) -> bool:
        """Record a probe meant for one port that came in at `port`; return whether these are the same."""
        if not self._registry.settings.plan.has(transport, meant):
            return False
        session.sightings[transport][meant] += 1
        if meant != port:
            session.redirected[transport][meant] = port
            return False
        return True

    def _nonce_for(self, session: Session, source: Address) -> str | None:
        if source == session.client:
            return ""
        session.sources.observe(source, self._registry.random_bytes)
        return session.sources.nonce_for(source)
