"""Congestion control in the sense of RFC 8085: the rate of sending, by the share of probes that is answered.

Two shares tell. In the first pass every probe counts: whatever share of the ports is open, it is the same in every
round, until a round is too fast. And canaries, which ought to be answered all, count at any time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .loss import lower_bound

START_RATE = 1_000.0  # probes a second: a first round of 100 fits into every queue and most policers' bursts
TOP_RATE = 20_000.0  # then ten thousand probes take half a second, and a small server keeps up
SILENT_RATE = 4_000.0  # as fast as it gets while nothing at all comes back
FLOOR_RATE = 50.0  # the strictest routers' guards let this many pass
FASTER, CAREFUL, STEADY = 4.0, 1.1, 1.0  # growth a round: until a limit shows; beneath it; where the next is dear
SLOWER = 0.85  # of what came through, so that the limit's queue drains
MIN_CANARIES = 50  # that are judged at a time: 20 % of loss each way hardly ever looks like a limit then
ALL_ANSWER = 0.95  # of the ports: less is a rule about ports, a limit or loss
IN_VAIN = 2  # a burst that a limit let pass makes one slower round look no better
FEW_MORE = 2  # answers that a round may have had by another chance
SIGMAS = 3.0  # how far a share may lie below what is expected
SHUT = 0.1  # of the answers that were to be expected: with fewer it is no matter of pace
MIN_EXPECTED = 10.0  # answers: with fewer, chance makes a round look shut
COMMON_SHARE, COMMON_WEIGHT = 0.65, 100  # of canaries, until a path has shown its own; it counts as so many of them


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
        variance = self.share * (1 - self.share) * (1 / count.sent + 1 / self.weight)
        return count.share < self.share - SIGMAS * math.sqrt(variance)

    def is_shut(self, count: AnswerCount) -> bool:
        """Return whether hardly anything was answered."""
        expected = self.share * count.sent
        return self.misses(count) and expected >= MIN_EXPECTED and count.answered < SHUT * expected

    def learn(self, count: AnswerCount) -> None:
        """Add probes that were not too fast; at first, one answered and one lost are added to them."""
        answered = self.share * self.weight if self.weight else 1.0
        self.weight = (self.weight or 2.0) + count.sent
        self.share = (answered + count.answered) / self.weight


def _is_no_better(count: AnswerCount, faster: AnswerCount, expected: ExpectedShare) -> bool:
    """Return whether rather the same share was lost as of the faster ones than what a limit would have lost."""
    limited = min(expected.share, faster.share * faster.rate / count.rate)
    return count.share < (faster.share + limited) / 2


@dataclass
class _Fall:
    """The rate before it came down, the probes for which it did, and what came of it."""

    rate: float
    by: AnswerCount
    in_vain: int = 0  # times that slower was no better
    again: bool = False  # slower was better, and now it is as fast again
    sure: bool = False  # that was too fast again


class RateControl:
    """The rate, in probes a second; `max_rate` is what the user allows."""

    def __init__(self, now: float, max_rate: float | None = None) -> None:
        self._max_rate = max_rate or TOP_RATE
        self.server_share = math.inf  # probes a second that the server has for this client, beside others
        self._growth, self._beneath = FASTER, CAREFUL
        self._ports, self._canaries = ExpectedShare(), ExpectedShare(COMMON_SHARE, COMMON_WEIGHT)
        self._by_ports = True
        self.path_answers = False
        self.rate, self.since = min(START_RATE, self._max_rate), now
        self.delivered: float | None = None  # probes a second that came through when the rate came down
        self.falls = 0  # times that it came down
        self._fall: _Fall | None = None
        self.shut: AnswerCount | None = None  # what was sent and not answered when the path looked shut
        self._assured = 0.0  # the fastest rate at which canaries were answered as expected
        self._watched = AnswerCount(self.rate, now)  # canaries that are not judged yet

    @property
    def is_climbing(self) -> bool:
        """Return whether it still looks for the path's limit: then each round's answers are waited for."""
        return self._growth == FASTER and self.rate < self._top

    @property
    def wants_canaries(self) -> bool:
        """Return whether canaries are worth while: not every port answers, and at this rate none have told why."""
        return bool(self._ports.weight) and self._ports.share < ALL_ANSWER and self.rate > self._assured

    @property
    def floor(self) -> float:
        """Return the slowest rate."""
        return min(FLOOR_RATE, self._max_rate)

    @property
    def _top(self) -> float:
        return min(TOP_RATE if self.path_answers else SILENT_RATE, self._max_rate, self.server_share)

    def is_fallen(self, ports: AnswerCount, canaries: AnswerCount) -> bool:
        """Return whether fewer of either kind were answered than chance explains."""
        return self._ports.misses(ports) or self._canaries.misses(canaries)

    def only_canaries(self) -> None:
        """Learn from canaries alone from now on: the ports that are left are silent. Stay beneath any limit met."""
        if self._by_ports:
            # The first pass's canaries went the ways that had been open; now they find ways of their own.
            self._by_ports, self._beneath = False, STEADY
            self._ports, self._canaries = ExpectedShare(), ExpectedShare(COMMON_SHARE, COMMON_WEIGHT)
        if self.delivered is not None:
            self.rate, self._growth = max(self.floor, min(self.rate, SLOWER * self.delivered)), STEADY

    def trust_path(self) -> None:
        """Go as fast as if there had been answers: the control channel tells that the path is alive."""
        self.path_answers = True
        self.rate = min(self.rate * self._growth, self._top)

    def forget_canaries(self, now: float) -> None:
        """Judge no canary of before: it met something that is no matter of pace."""
        self._watched = AnswerCount(self.rate, now)

    def give_way(self, now: float) -> None:
        """Go as fast as the answers came of what looked shut: something lets only so many pass."""
        assert self.shut, "something looked so"
        self._keep_beneath(self.shut, self._canaries, now)

    def fix(self, rate: float, now: float) -> None:
        """Go at this rate, in probes a second, and never faster."""
        self.rate, self._growth, self.since, self._fall = max(1.0, rate), STEADY, now, None

    def judge_ports(self, count: AnswerCount, now: float) -> bool:
        """Learn from a round's ports; return whether they were shut out."""
        if not count.sent:
            return False
        if self._ports.is_shut(count):
            self.shut = count
            return True
        if self._ports.misses(count):
            self._fall_back(count, self._ports, now)
        else:
            self._ports.learn(count)
            self._rise(now)
        return False

    def judge_canaries(self, count: AnswerCount, now: float) -> bool:
        """Learn from canaries, as soon as there are enough; return whether they were shut out."""
        watched = self._watched
        watched.rate, watched.sent = count.rate, watched.sent + count.sent
        watched.answered += count.answered
        if watched.sent < MIN_CANARIES and not self._canaries.is_shut(watched):
            return False
        self._watched = AnswerCount(count.rate, now)
        if self._canaries.is_shut(watched):
            self.shut = watched
            return True
        if self._canaries.misses(watched):
            self._fall_back(watched, self._canaries, now)
            self._ports = ExpectedShare()  # of what was learnt of them, too much was the limit's
            return False
        self._assured = watched.rate
        # What is surely better than was expected is expected from now on; what is worse may be a limit's beginning.
        if lower_bound(watched.answered, watched.sent) > self._canaries.share:
            self._canaries.learn(watched)
        if not self._by_ports:
            self._rise(now)
        return False

    def _rise(self, now: float) -> None:
        """Go faster, since as many were answered as expected."""
        fall = self._fall
        if fall and not fall.again and not fall.sure:
            # A burst of loss, or a limit? As fast as before it shows.
            fall.again, self.rate, self.since = True, fall.rate, now
            return
        if fall and fall.sure:
            fall.in_vain = 0
        else:
            self._fall = None
        self.rate = max(self.floor, min(self.rate * self._growth, self._top))

    def _fall_back(self, count: AnswerCount, expected: ExpectedShare, now: float) -> None:
        """Slow down; where slower and slower was no better, go on as fast as before: the path itself loses that."""
        fall = self._fall
        if fall and fall.again:
            self._keep_beneath(count, expected, now)
            return
        if fall:
            fall.in_vain += _is_no_better(count, fall.by, expected)
        if fall and fall.in_vain >= IN_VAIN:
            self.rate, self._growth, self.since = fall.rate, FASTER, now
            self._fall, self.delivered, self.falls = None, None, 0
            expected.share, expected.weight = count.share, count.sent
        elif fall and fall.sure:
            self._keep_beneath(count, expected, now)
        else:
            self._fall = fall or _Fall(self.rate, count)
            self._slow_down(count, expected, now)

    def _keep_beneath(self, count: AnswerCount, expected: ExpectedShare, now: float) -> None:
        """Slow down, and stay beneath: there is a limit."""
        fall = self._fall or _Fall(self.rate, count)
        self._fall = _Fall(fall.rate, count if not fall.sure else fall.by, fall.in_vain, sure=True)
        self._slow_down(count, expected, now)
        self.delivered, self._growth, self.falls = self.rate / SLOWER, min(self._growth, self._beneath), self.falls + 1

    def _slow_down(self, count: AnswerCount, expected: ExpectedShare, now: float) -> None:
        """Go a little slower than the answers came; of the canaries', all had to come."""
        share = expected.share if expected is self._ports else 1.0
        # Rather too much than too little: from too much it comes down again.
        passed = min(count.rate, count.rate * (count.answered + FEW_MORE) / count.sent / share)
        self.rate, self.since = max(self.floor, SLOWER * passed), now
        self._watched = AnswerCount(self.rate, now)
