"""Rounds of probes sent at one rate, what share of them is answered, and when that is less than chance explains."""

from __future__ import annotations

import math
from dataclasses import dataclass

CATCH_UP = 0.02  # seconds: a Windows computer looks at its clock 64 times in one
SIGMAS = 3.0  # how far a share may lie below what is expected
SHUT = 0.1  # of the answers that were to be expected: with fewer it is no matter of pace
MIN_EXPECTED = 10.0  # answers: with fewer, chance makes a round look shut


@dataclass
class AnswerCount:
    """Probes of one kind, sent one after the other at one rate, and how many were answered."""

    rate: float
    started: float
    sent: int = 0
    answered: int = 0

    @property
    def share(self) -> float:
        """Return the answered share of those sent, 0.0 to 1.0."""
        return self.answered / self.sent


@dataclass
class ExpectedShare:
    """The share of such probes that is answered, as `weight` of them showed."""

    share: float = 0.0
    weight: float = 0.0

    def misses(self, count: AnswerCount) -> bool:
        """Return whether less was answered than chance explains."""
        if not (count.sent and self.weight):
            return False
        return count.share < self.share - _tolerance(self.share, count.sent, self.weight)

    def is_shut(self, count: AnswerCount) -> bool:
        """Return whether hardly anything was answered."""
        expected = self.share * count.sent
        return self.misses(count) and expected >= MIN_EXPECTED and count.answered < SHUT * expected

    def learn(self, count: AnswerCount) -> None:
        """Add probes that were not too fast; at first, one answered and one lost are added to them."""
        answered = self.share * self.weight if self.weight else 1.0
        self.weight = (self.weight or 2.0) + count.sent
        self.share = (answered + count.answered) / self.weight


def _tolerance(share: float, *samples: float) -> float:
    """Return how much the shares of two samples may differ by chance."""
    return SIGMAS * math.sqrt(share * (1 - share) * sum(1 / sample for sample in samples))


def is_no_better(count: AnswerCount, faster: AnswerCount, expected: ExpectedShare) -> bool:
    """Return whether rather the same share was lost as of the faster ones than what a limit would have lost."""
    limited = min(expected.share, faster.share * faster.rate / count.rate)
    return count.share < (faster.share + limited) / 2


@dataclass
class Round:
    """A number of probes at one rate; `ports` stand for all ports, `canaries` go to ports known to be open."""

    number: int
    rate: float
    started: float
    size: int
    ports: AnswerCount
    canaries: AnswerCount
    sent: int = 0
    answered: int = 0
    ended: float = math.inf

    @property
    def is_full(self) -> bool:
        """Return whether all of it has been sent."""
        return self.sent >= self.size

    def allowance(self, now: float, server_share: float) -> int:
        """Return how many probes may be sent now."""
        # What a busy computer held up is not sent in one burst.
        self.started += max(0.0, now - self.next_send_time(server_share) - CATCH_UP)
        due = math.floor((now - self.started) * min(self.rate, server_share)) + 1
        return max(0, min(due, self.size) - self.sent)

    def next_send_time(self, server_share: float) -> float:
        """Return when the next probe may be sent."""
        return self.started + self.sent / min(self.rate, server_share)

    def on_sent(self, now: float, canary: bool, port: bool) -> None:
        """Count a probe: to a canary, to a port that stands for all, or to another."""
        self.sent += 1
        self.canaries.sent += canary
        self.ports.sent += port
        if self.is_full:
            self.ended = now

    def on_answer(self, canary: bool, port: bool) -> None:
        """Count an answer to such a probe."""
        self.answered += 1
        self.canaries.answered += canary
        self.ports.answered += port
