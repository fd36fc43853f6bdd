"""A rate limit that drops: a token bucket, as routers and `nft limit` have it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policing:
    """So many packets a second, and `burst` at once; `control`: those of the control channel count too."""

    rate: float
    burst: int
    control: bool = False


class Policer:
    """Such a limit at work."""

    def __init__(self, policing: Policing, now: float = 0.0) -> None:
        self._rate, self._burst = policing.rate, float(policing.burst)
        self._tokens, self._filled = self._burst, now

    def passes(self, now: float) -> bool:
        """Whether a packet that comes now is let through."""
        if now > self._filled:  # jitter may bring packets a little out of order
            tokens = self._tokens + (now - self._filled) * self._rate
            self._tokens = tokens if tokens < self._burst else self._burst
            self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
