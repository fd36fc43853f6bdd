"""Tells a session's probes from all else."""

from __future__ import annotations

from ..core.errors import DecodeError
from ..protocol import stun
from ..protocol.stun import Request
from .session import Session
from .sessions import SessionRegistry

# Probes that were verified at the interface or at the socket, and not yet seen at the other: one packet's two sightings
# come within a turn or two of the server's loop.
MAX_RECENT = 4096


class ProbeReader:
    """Reads and verifies probes, each once for its two sightings where there is a capture."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry
        self._recent: dict[bytes, Request] = {}

    def read(self, data: bytes) -> tuple[Request, Session] | None:
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
