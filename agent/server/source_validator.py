"""Where one session's UDP probes come from beside its client's own address, and whether they are answered there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterable

from ..core.address import Address, parse_address
from ..protocol.messages import MAX_SOURCES
from ..protocol.stun import NONCE_BYTES

# Answers of a session that leave for addresses of which nobody has shown yet that they are its client's. He does at
# once, and before that comes here he sends the first rounds of a sweep: 100, 400 and 1,600 probes.
UNPROVEN_ANSWERS = 2_048


@dataclass
class _Source:
    nonce: str
    confirmed: bool = False
    proven: bool = False


class SourceValidator:
    """Such addresses of one session.

    Who knows a session's secret may write anybody's address into a probe. So the client is told of it, and confirms it
    over the control channel; from then on a few answers go there, with a nonce. He has to hand that back to get more:
    only who got an answer knows it (as RFC 9000, section 8.2, validates paths).
    """

    def __init__(self) -> None:
        self._found: dict[Address, _Source] = {}
        self._unproven_left = UNPROVEN_ANSWERS

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Those that the client is to confirm."""
        return tuple(str(address) for address, one in self._found.items() if not one.confirmed)

    def observe(self, address: Address, draw: Callable[[int], bytes]) -> None:
        """A probe came from there; more than MAX_SOURCES are not taken in. `draw` gives random bytes."""
        if address not in self._found and len(self._found) < MAX_SOURCES:
            self._found[address] = _Source(draw(NONCE_BYTES).hex())

    def confirm(self, mine: Iterable[str], nonces: Iterable[str]) -> None:
        """The client says that these addresses are his, and that answers with these nonces came to him."""
        ours, received = set(map(parse_address, mine)), set(nonces)
        for address, one in self._found.items():
            one.confirmed |= address in ours
            one.proven |= one.confirmed and one.nonce in received

    def nonce_for(self, address: Address) -> str | None:
        """What an answer that goes there has to bear, "" for nothing; None where none may go."""
        one = self._found.get(address)
        if one is None or not one.confirmed:
            return None
        if one.proven:
            return ""
        self._unproven_left -= 1
        return one.nonce if self._unproven_left >= 0 else None
