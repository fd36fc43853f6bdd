"""Limits that are no rules about ports: how many packets, or flows, a path lets pass."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.observation import Reason

SURE_FALLS = 4  # of the pace: a busy computer makes it fall now and then; a limit, whenever it rises


@dataclass(frozen=True)
class Limit:
    """A limit that was met: its kind, and what was measured of it; None is 'not measured'."""

    reason: Reason
    rate: float | None = None  # packets a second that passed
    flows: int | None = None  # new flows that passed before others were refused
    seconds: float | None = None  # how long new flows were refused


class RateLimitSamples:
    """The times and answers from which the rate of a limit on packets is measured."""

    def __init__(self, now: float) -> None:
        self._fell_at: float | None = None
        self._answers_before = self._answers = 0
        self._answered_at = now

    def on_answer(self, now: float) -> None:
        """Count an answer."""
        self._answers += 1
        self._answered_at = now

    def on_fall(self, now: float) -> None:
        """Note that the pace came down; the first time counts."""
        if self._fell_at is None:
            self._fell_at, self._answers_before = now, self._answers

    def limit(self, falls: int, conclusive: bool) -> Limit | None:
        """Return the limit where the pace came down so often that it is sure, or the sweep came to no end."""
        if self._fell_at is None or falls < (SURE_FALLS if conclusive else 1):
            return None
        seconds = max(self._answered_at - self._fell_at, 1.0)
        return Limit(Reason.RATE_LIMIT, rate=(self._answers - self._answers_before) / seconds)
