"""What share of probes is answered, what is expected, and when less is no chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

SIGMAS = 3.0  # how far a share may lie below what is expected
SHUT = 0.1  # of the answers that were to be expected: with fewer it is no matter of pace
MIN_EXPECTED = 10.0  # answers: with fewer, chance makes a round look shut


@dataclass
class Count:
    """Probes of one kind, sent one after the other at one rate."""

    rate: float
    started: float
    sent: int = 0
    answered: int = 0

    @property
    def share(self) -> float:
        """Of those sent, 0.0 to 1.0."""
        return self.answered / self.sent


@dataclass
class Expected:
    """What share of such probes is answered, as `weight` of them showed."""

    share: float = 0.0
    weight: float = 0.0

    def tells(self, one: Count) -> bool:
        """Whether so many probes show anything."""
        return bool(one.sent and self.weight)

    def misses(self, one: Count) -> bool:
        """Whether less was answered than chance explains."""
        return self.tells(one) and one.share < self.share - _tolerance(self.share, one.sent, self.weight)

    def is_shut(self, one: Count) -> bool:
        """Whether hardly anything was answered."""
        expected = self.share * one.sent
        return self.misses(one) and expected >= MIN_EXPECTED and one.answered < SHUT * expected

    def learn(self, one: Count) -> None:
        """Add probes that were not too fast; two that were not heard of are counted in."""
        answered = self.share * self.weight if self.weight else 1.0
        self.weight = (self.weight or 2.0) + one.sent
        self.share = (answered + one.answered) / self.weight


def _tolerance(share: float, *samples: float) -> float:
    """How much the shares of two samples may differ by chance."""
    return SIGMAS * math.sqrt(share * (1 - share) * sum(1 / one for one in samples))


def is_no_better(one: Count, faster: Count, expected: Expected) -> bool:
    """Whether rather the same share was lost as of the faster ones than what a limit would have lost."""
    limited = min(expected.share, faster.share * faster.rate / one.rate)
    return one.share < (faster.share + limited) / 2
