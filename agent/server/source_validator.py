"""Validates the addresses that a session's UDP probes come from, beside its client's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterable

from ..core.address import Address, parse_address
from ..protocol.messages import MAX_SOURCES
from ..protocol.stun import NONCE_BYTES

# Answers of a session that leave for addresses that are not proven yet to be its client's. The client proves them at
# once, and before that comes here it sends the first rounds of a sweep: 100, 400 and 1,600 probes.
UNPROVEN_ANSWERS = 2_048


@dataclass
class _Source:
    nonce: str
    confirmed: bool = False
    proven: bool = False


class SourceValidator:
    """The other addresses that the probes of one session come from.

    Whoever knows a session's secret may write any source address into a probe. So the client is told of it, and
    confirms it over the control channel; from then on a few answers go there, with a nonce. To get more it has to hand
    that back, which only a receiver of an answer knows (as RFC 9000, section 8.2, validates paths).
    """

    def __init__(self) -> None:
        self._sources: dict[Address, _Source] = {}
        self._unproven_left = UNPROVEN_ANSWERS

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Return those that the client is to confirm."""
        return tuple(str(address) for address, source in self._sources.items() if not source.confirmed)

    def observe(self, address: Address, random_bytes: Callable[[int], bytes]) -> None:
        """Take in that a probe came from there; more than MAX_SOURCES are not kept."""
        if address not in self._sources and len(self._sources) < MAX_SOURCES:
            self._sources[address] = _Source(random_bytes(NONCE_BYTES).hex())

    def confirm(self, addresses: Iterable[str], nonces: Iterable[str]) -> None:
        """Take in that these addresses are the client's, and that answers with these nonces came to it."""
        own, received = set(map(parse_address, addresses)), set(nonces)
        for address, source in self._sources.items():
            source.confirmed |= address in own
            source.proven |= source.confirmed and source.nonce in received

    def nonce_for(self, address: Address) -> str | None:
        """Return the nonce that an answer to this address needs, "" for none; None where no answer may go there."""
        source = self._sources.get(address)
        if source is None or not source.confirmed:
            return None
        if source.proven:
            return ""
        self._unproven_left -= 1
        return source.nonce if self._unproven_left >= 0 else None
