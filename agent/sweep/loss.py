"""How sure a silence is: the path's loss as the canaries measured it, and what that makes of several tries."""

from __future__ import annotations

import math
from typing import Iterable

# `filtered` needs this: over the whole check, the expected number of open ports that loss alone kept silent.
MAX_CHANCE = 1e-3
# Standard deviations of the Wilson bound: the loss is higher than the bound in one pass of forty.
WILSON_Z = 1.96
# Of canaries sent one after the other. Where a whole block shares its fate, it says no more than one canary.
BLOCK = 10


def upper_bound(lost: float, sent: float) -> float:
    """Return the upper end of Wilson's score interval for `lost` of `sent`, 0 < result <= 1; 1.0 for nothing sent."""
    if not sent:
        return 1.0
    share, square = lost / sent, WILSON_Z**2
    middle = share + square / (2 * sent)
    margin = WILSON_Z * math.sqrt(share * (1 - share) / sent + square / (4 * sent**2))
    return min(1.0, (middle + margin) / (1 + square / sent))


def lower_bound(answered: float, sent: float) -> float:
    """Return the lower end of that interval for the share that was answered."""
    return 1.0 - upper_bound(sent - answered, sent)


class LossTally:
    """Canaries, or pings, in the order of their sending, and which of them were answered."""

    def __init__(self) -> None:
        self._answered: list[bool] = []
        self.lost = 0

    @property
    def sent(self) -> int:
        """Return how many were sent."""
        return len(self._answered)

    def on_sent(self) -> int:
        """Count one more; return its number."""
        self._answered.append(False)
        self.lost += 1
        return len(self._answered) - 1

    def on_answer(self, number: int) -> None:
        """Count the answer to that one; it comes once."""
        self._answered[number] = True
        self.lost -= 1

    @property
    def bound(self) -> float:
        """Return the loss at most, 0 < result <= 1.

        Bursts count: the more alike the fates of neighbours, the fewer independent samples there are.
        """
        alike = self._dispersion()
        return upper_bound(self.lost / alike, self.sent / alike)

    def _dispersion(self) -> float:
        """Return how much more the blocks' losses vary than by chance, 1 to BLOCK (a quasi-binomial estimate)."""
        share = self.lost / self.sent if self.sent else 0.0
        blocks = [self._answered[start : start + BLOCK] for start in range(0, self.sent, BLOCK)]
        if len(blocks) < 2 or share in (0.0, 1.0):
            return 1.0
        squares = sum((block.count(False) - len(block) * share) ** 2 / len(block) for block in blocks)
        return min(max(squares / (share * (1 - share)) / (len(blocks) - 1), 1.0), float(BLOCK))


def pooled(tallies: Iterable[LossTally]) -> float:
    """Return the loss at most over several passes; 1.0 where nothing was sent."""
    lost, sent = 0, 0
    for tally in tallies:
        lost, sent = lost + tally.lost, sent + tally.sent
    return upper_bound(lost, sent)
