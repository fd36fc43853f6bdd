"""What limits what one client may cost the server, other clients, and people that have no part in it."""

from __future__ import annotations

from typing import Callable, Collection, Iterable

from ..core.address import Address, network_of, parse_address
from ..core.events import Event, EventsSuppressed, ReportReceived
from ..protocol.messages import MAX_SOURCES
from ..protocol.stun import NONCE_BYTES

# Lines about clients that come and go: as many at once as sessions begin and end, then as fast as somebody can read.
NOTICES, NOTICES_A_SECOND = 150, 5.0
# Reports: of every session one at once; then one a second, of which each may be 4 MiB of a stranger's text.
REPORTS, REPORTS_A_SECOND = 64, 1.0
# A client sends 20,000 probes a second at most, and what is answered after 3 s counts as lost anyway: an older probe
# that was held up so long needs no answer. So many numbers before the newest are kept, and up to twice as many: 16 KiB.
NUMBERS = 65_536
# Answers of a session that leave for addresses that are not proven yet to be its client's. The client proves them at
# once, and before that comes here it sends the first rounds of a sweep: 100, 400 and 1,600 probes.
UNPROVEN_ANSWERS = 2_048


class TokenBucket:
    """How often something may be done: `most` times at once, and `rate` times a second later on."""

    def __init__(self, most: float, rate: float) -> None:
        self._most, self._rate = most, rate
        self._left, self._counted = most, 0.0

    def consume(self, now: float) -> bool:
        """Return whether it may be done now, and if so, count it; `now` is in seconds and never goes back."""
        self._left = min(self._most, self._left + (now - self._counted) * self._rate)
        self._counted = now
        admitted = self._left >= 1
        self._left -= admitted
        return admitted


class Notices:
    """Bounds how many events about clients the operator is told, and tells with `emit` how many were too many."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit, self._withheld = emit, 0
        self._notices, self._reports = TokenBucket(NOTICES, NOTICES_A_SECOND), TokenBucket(REPORTS, REPORTS_A_SECOND)

    def admit(self, event: Event, now: float) -> bool:
        """Return whether there is room for one more of its kind."""
        admitted = (self._reports if isinstance(event, ReportReceived) else self._notices).consume(now)
        self._withheld += not admitted
        return admitted

    def emit_withheld(self, now: float) -> None:
        """Say how many were not told, as soon as there is room for that."""
        if self._withheld and self._notices.consume(now):
            self._emit(EventsSuppressed(self._withheld))
            self._withheld = 0


class UnauthenticatedConnections:
    """The TCP connections without a session, by the networks that they come from, the oldest first."""

    def __init__(self) -> None:
        self._by_network: dict[bytes, dict[int, Address]] = {}

    def add(self, connection: int, client: Address) -> int:
        """Add a connection; return how many there are of this client's network."""
        own = self._by_network.setdefault(network_of(client), {})
        own[connection] = client
        return len(own)

    def discard(self, connection: int, client: Address) -> None:
        """Remove a connection, if it is there."""
        own = self._by_network.get(network_of(client), {})
        own.pop(connection, None)
        if not own:
            self._by_network.pop(network_of(client), None)

    def oldest(self, client: Address | None = None) -> tuple[int, Address] | None:
        """Return the oldest of this client's network; for None, of the one that has most: a flood displaces itself."""
        largest = max(self._by_network.values(), key=len, default={})
        return next(iter((self._by_network[network_of(client)] if client else largest).items()), None)


class FlowQuota:
    """What the server tells its sessions of the free entries of its connection tracking.

    A session makes half as many flows as the most that it was told. All of them together make half as many as were
    free: the rest is for whoever else uses the server. Where these have no room for all, each gets the same.
    """

    def __init__(self) -> None:
        self._most_free = 0

    def at_start(self, free: int | None, sessions: int, promised: int) -> int | None:
        """Return what the newest of so many sessions is told; the others may still make the `promised` flows."""
        if free is None:
            return None
        if sessions == 1:
            self._most_free = 0
        # One flow is enough to go on and ask again; with none it would give up.
        return min(free, max(2, 2 * self._share(free - promised, sessions) + 1))

    def later(self, free: int | None, sessions: int, told: int | None) -> int | None:
        """Return what one of so many sessions is told when it asks again; it was `told` so many at most before."""
        if free is None or told is None:
            return None
        share = self._share(free, sessions)
        return max(0, share + max(share, told - told // 2))

    def _share(self, free: int, sessions: int) -> int:
        """Return how many flows one may make now; less than none where others took what is kept for them."""
        self._most_free = max(free, self._most_free)
        return (free - (self._most_free + 1) // 2) // sessions


class ReplayWindow:
    """Which of a session's numbered probes are fresh: a sliding window over the last numbers (as in RFC 6479)."""

    def __init__(self) -> None:
        self._newest, self._accepted = 0, {0: bytearray(NUMBERS // 8)}  # a bit for each number of two blocks
        self.accept(0)  # which is nobody's

    def accept(self, number: int) -> bool:
        """Return whether a number, from 0 on, comes for the first time and is not too old; then it counts as come."""
        block, place = divmod(number, NUMBERS)
        if block > self._newest:
            before = self._accepted.get(block - 1) or bytearray(NUMBERS // 8)
            self._newest, self._accepted = block, {block - 1: before, block: bytearray(NUMBERS // 8)}
        accepted, bit = self._accepted.get(block), 1 << place % 8
        if accepted is None or accepted[place // 8] & bit:
            return False
        accepted[place // 8] |= bit
        return True


class SourceValidator:
    """The other addresses that the UDP probes of one session come from, beside its client's own.

    Whoever knows a session's secret may write any source address into a probe. So the client is told of it, and
    confirms it over the control channel; from then on a few answers go there, with a nonce. To get more it has to hand
    that back, which only a receiver of an answer knows (as RFC 9000, section 8.2, validates paths).
    """

    def __init__(self) -> None:
        self._nonces: dict[Address, str] = {}
        self._confirmed: set[Address] = set()
        self._proven: set[Address] = set()
        self._unproven_left = UNPROVEN_ANSWERS

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Return those that the client is to confirm."""
        return tuple(str(address) for address in self._nonces if address not in self._confirmed)

    def observe(self, address: Address, random_bytes: Callable[[int], bytes]) -> None:
        """Take in that a probe came from there; more than MAX_SOURCES are not kept."""
        if address not in self._nonces and len(self._nonces) < MAX_SOURCES:
            self._nonces[address] = random_bytes(NONCE_BYTES).hex()

    def confirm(self, addresses: Iterable[str], nonces: Collection[str]) -> None:
        """Take in that these addresses are the client's, and that answers with these nonces came to it."""
        self._confirmed |= self._nonces.keys() & set(map(parse_address, addresses))
        self._proven |= {address for address in self._confirmed if self._nonces[address] in nonces}

    def nonce_for(self, address: Address) -> str | None:
        """Return the nonce that an answer to this address needs, "" for none; None where no answer may go there."""
        if address in self._proven:
            return ""
        if address not in self._confirmed:
            return None
        self._unproven_left -= 1
        return self._nonces[address] if self._unproven_left >= 0 else None
