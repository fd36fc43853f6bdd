"""Loss that comes in bursts: the model of Gilbert and Elliott, in continuous time."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Bursts:
    """A path that is good and bad in turn; each stay is exponential with a mean of so many seconds."""

    good: float
    bad: float
    loss_good: float = 0.0
    loss_bad: float = 1.0

    @property
    def loss(self) -> float:
        """The share of packets that it loses in the long run."""
        return (self.good * self.loss_good + self.bad * self.loss_bad) / (self.good + self.bad)


class GilbertElliott:
    """Such a path at work. It is asked in the order of time; an earlier time meets the state of the latest."""

    def __init__(self, bursts: Bursts, chance: random.Random, now: float = 0.0) -> None:
        self._bursts, self._chance = bursts, chance
        self._bad = chance.random() < bursts.bad / (bursts.good + bursts.bad)
        self._until = now
        self._stay()

    def loses(self, now: float) -> bool:
        """Whether a packet that passes now is lost."""
        while now >= self._until:
            self._bad = not self._bad
            self._stay()
        return self._chance.random() < self._share

    def _stay(self) -> None:
        bursts = self._bursts
        self._share = bursts.loss_bad if self._bad else bursts.loss_good
        self._until += self._chance.expovariate(1 / (bursts.bad if self._bad else bursts.good))
