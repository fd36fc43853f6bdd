"""A guard against port scans and floods: who opens too many flows is locked out for a while."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# A flow without a packet for so long is a new one again.
FLOW_SECONDS = 60.0


@dataclass(frozen=True)
class Guarding:
    """More than `flows` new flows in `window` seconds lock the client out for `penalty` seconds.

    `established`: flows from before still pass. `answers`: what comes back is dropped too. `control`: and the control
    channel. `extends`: whoever goes on opening flows stays locked out.
    """

    flows: int
    window: float = 1.0
    penalty: float = 60.0
    established: bool = False
    answers: bool = False
    control: bool = False
    extends: bool = False


class ScanGuard:
    """Such a guard at work."""

    def __init__(self, guarding: Guarding) -> None:
        self._guarding = guarding
        self._new: deque[float] = deque()
        self._seen: dict[int, float] = {}
        self._locked_until = -1.0
        self.lockouts = 0

    def locked(self, now: float) -> bool:
        """Whether the client is locked out."""
        return now < self._locked_until

    def passes(self, flow: int, now: float) -> bool:
        """Whether a packet to the server is let through."""
        guarding, seen = self._guarding, self._seen
        known = now - seen.get(flow, -FLOW_SECONDS) < FLOW_SECONDS
        if now < self._locked_until:
            if known and guarding.established:
                seen[flow] = now
                return True
            if guarding.extends and not known:
                self._locked_until = now + guarding.penalty
            return False
        if not known and self._is_scan(now):
            return False
        seen[flow] = now
        return True

    def _is_scan(self, now: float) -> bool:
        new, oldest = self._new, now - self._guarding.window
        new.append(now)
        while new[0] <= oldest:
            new.popleft()
        if len(new) <= self._guarding.flows:
            return False
        new.clear()
        self._locked_until = now + self._guarding.penalty
        self.lockouts += 1
        return True
