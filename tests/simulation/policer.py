"""Limits on the rate: a token bucket that drops, as `nft limit` does, one for new flows alone, and a queue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policing:
    """So many packets a second, and `burst` at once; `control`: those of the control channel count too."""

    rate: float
    burst: int
    control: bool = False


@dataclass(frozen=True)
class Shaping:
    """A line of so many packets a second, and a queue of `queue` packets before it; what finds it full is dropped."""

    rate: float
    queue: int


class Policer:
    """A policing at work."""

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


class FlowPolicer:
    """A policing of new flows alone: what a NAT that makes so many bindings a second does to the others."""

    def __init__(self, policing: Policing) -> None:
        self._policer = Policer(policing)
        self._known: set[int] = set()

    def passes(self, flow: int, now: float) -> bool:
        """Whether a packet of a flow is let through."""
        if flow in self._known:
            return True
        if not self._policer.passes(now):
            return False
        self._known.add(flow)
        return True


class Shaper:
    """A shaping at work."""

    def __init__(self, shaping: Shaping) -> None:
        self._seconds = 1 / shaping.rate
        self._longest = (shaping.queue + 0.5) * self._seconds  # of a wait; the half is for what floats round away
        self._free = 0.0  # when the line is

    def leaves(self, now: float) -> float | None:
        """When a packet that comes now is through the line; None where the queue is full."""
        if self._free < now:
            self._free = now
        elif self._free - now > self._longest:
            return None
        self._free += self._seconds
        return self._free
