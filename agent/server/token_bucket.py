"""How often something may be done at most: so much at once, and then as often as a rate lets it (a token bucket)."""

from __future__ import annotations


class TokenBucket:
    """`most` at once, and `rate` a second later on."""

    def __init__(self, most: float, rate: float) -> None:
        self._most, self._rate = most, rate
        self._left, self._counted = most, 0.0

    def consume(self, now: float) -> bool:
        """Return whether it may be done now, and if so, count it; `now` is in seconds and never goes back."""
        self._left = min(self._most, self._left + (now - self._counted) * self._rate)
        self._counted = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
