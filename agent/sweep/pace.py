"""How fast to send: congestion control in the sense of RFC 8085, by the share of probes that is answered.

Two shares tell. In the first pass every probe counts: whatever share of the ports is open, it is the same in every
round, until a round is too fast. And canaries, which ought to be answered all, count at any time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from .loss import lower_bound
from .share import Count, Expected, is_no_better

START_RATE = 1_000.0  # probes a second: a first round of 100 fits into every queue and most policers' bursts
TOP_RATE = 20_000.0  # then ten thousand probes take half a second, and a small server keeps up
SILENT_RATE = 4_000.0  # as fast as it gets while nothing at all comes back
FLOOR_RATE = 50.0  # the strictest routers' guards let this many pass
FASTER, CAREFUL, STEADY = 4.0, 1.1, 1.0  # growth a round: until a limit shows; beneath it; where the next is dear
SLOWER = 0.85  # of what came through, so that the limit's queue drains
ROUND_SECONDS = 0.025  # at least a round trip, so that a round is judged before many more are sent
MIN_ROUND = 100  # probes: fewer tell a fallen share from chance too badly
CATCH_UP = 0.02  # seconds: a Windows computer looks at its clock 64 times in one
MIN_CANARIES = 50  # that are judged at a time: 20 % of loss each way hardly ever looks like a limit then
ALL_ANSWER = 0.95  # of the ports: less is a rule about ports, a limit or loss
IN_VAIN = 2  # a burst that a limit let pass makes one slower round look no better
FEW_MORE = 2  # answers that a round may have had by another chance
COMMON_SHARE, COMMON_WEIGHT = 0.65, 100  # of canaries, until a path has shown its own; it counts as so many of them


@dataclass
class _Round:
    number: int
    rate: float
    started: float
    size: int
    ports: Count
    canaries: Count
    sent: int = 0
    heard: int = 0
    ended: float = math.inf


@dataclass
class _Fall:
    """The rate before the pace came down, the probes for which it did, and what came of it."""

    rate: float
    by: Count
    in_vain: int = 0  # times that slower was no better
    again: bool = False  # slower was better, and now it is as fast again
    sure: bool = False  # that was too fast again


class Pace:
    """The rounds of one sweep. A round's answers take `wait` seconds to come, and `patience` if something stalls.

    `max_rate` is what the user allows, in probes a second.
    """

    def __init__(self, now: float, rtt: float, wait: float, patience: float, max_rate: float | None = None) -> None:
        self._round_seconds, self._wait, self._patience = max(ROUND_SECONDS, rtt), wait, patience
        self._max_rate = max_rate or TOP_RATE
        self.share = math.inf  # probes a second that the server has for this client, beside others
        self._growth, self._beneath = FASTER, CAREFUL
        self._ports, self._canaries = Expected(), Expected(COMMON_SHARE, COMMON_WEIGHT)
        self._by_ports = True
        self._heard = False
        self.rate, self._rate_since = min(START_RATE, self._max_rate), now
        self.delivered: float | None = None  # probes a second that came through when the pace came down
        self.falls = 0  # times that it came down
        self._fall: _Fall | None = None
        self._shut: Count | None = None
        self._assured = 0.0  # the fastest rate at which canaries were answered as expected
        self._watched = Count(self.rate, now)  # canaries that are not judged yet
        self._rounds: list[_Round] = []
        self._unjudged: deque[_Round] = deque()
        self.next_round(now)

    @property
    def round(self) -> int:
        """The number of the round that is being sent."""
        return len(self._rounds) - 1

    @property
    def round_is_full(self) -> bool:
        """Whether the round has been sent."""
        return self._rounds[-1].sent >= self._rounds[-1].size

    @property
    def climbing(self) -> bool:
        """Whether it still looks for the path's limit: then each round's answers are waited for."""
        return self._growth == FASTER and self.rate < self._top

    @property
    def wants_canaries(self) -> bool:
        """Whether it is worth while to send some: not every port answers, and at this rate none have told why."""
        return bool(self._ports.weight) and self._ports.share < ALL_ANSWER and self.rate > self._assured

    @property
    def widest_gap(self) -> float:
        """Seconds between two probes where they are sent as slowly as it gets."""
        return 1 / self._floor

    @property
    def _top(self) -> float:
        return min(TOP_RATE if self._heard else SILENT_RATE, self._max_rate, self.share)

    @property
    def _floor(self) -> float:
        return min(FLOOR_RATE, self._max_rate)

    def allowance(self, now: float) -> int:
        """How many probes may be sent now."""
        current = self._rounds[-1]
        # What a busy computer held up is not sent in one burst.
        current.started += max(0.0, now - self.next_at() - CATCH_UP)
        due = math.floor((now - current.started) * min(current.rate, self.share)) + 1
        return max(0, min(due, current.size) - current.sent)

    def next_at(self) -> float:
        """When the next probe of this round may be sent."""
        current = self._rounds[-1]
        return current.started + current.sent / min(current.rate, self.share)

    def send(self, now: float, canary: bool = False, port: bool = False) -> None:
        """One probe of this round is sent: to a canary, or to a port that stands for all, or to another."""
        current = self._rounds[-1]
        current.sent += 1
        current.canaries.sent += canary
        current.ports.sent += port
        if current.sent >= current.size:
            current.ended = now

    def answer(self, number: int, canary: bool = False, port: bool = False) -> None:
        """A probe of that round was answered."""
        one = self._rounds[number]
        one.heard += 1
        one.canaries.answered += canary
        one.ports.answered += port
        self._heard = True

    def next_round(self, now: float, gently: int = 0) -> None:
        """Begin a round, of `gently` probes as slow as it gets where that is given; the one before is over."""
        begins = now
        if self._rounds:
            begins = max(now, self.next_at())
            self._rounds[-1].ended = min(self._rounds[-1].ended, now)
        rate = self._floor if gently else self.rate
        size = gently or max(MIN_ROUND, int(rate * self._round_seconds))
        one = _Round(len(self._rounds), rate, begins, size, Count(rate, now), Count(rate, now))
        self._rounds.append(one)
        self._unjudged.append(one)

    def only_canaries(self) -> None:
        """From now on ports tell nothing: those that are left are silent. The pace stays beneath any limit it met."""
        if self._by_ports:
            # The first pass's canaries went the ways that had been open; now they find ways of their own.
            self._by_ports, self._beneath = False, STEADY
            self._ports, self._canaries = Expected(), Expected(COMMON_SHARE, COMMON_WEIGHT)
        if self.delivered is not None:
            self.rate, self._growth = max(self._floor, min(self.rate, SLOWER * self.delivered)), STEADY

    def doubts_until(self, now: float) -> float:
        """Until when to wait with the next round, since one looks fallen and its answers may only be late."""
        return max((one.ended + self._patience for one in self._due(now) if self._is_fallen(one)), default=now)

    def judge(self, now: float) -> bool:
        """Learn from the rounds whose answers had time to come; whether the path is shut to what is sent now."""
        for one in self._due(now):
            if self._is_fallen(one) and one.ended + self._patience > now:
                continue
            self._unjudged.remove(one)
            if one.started < self._rate_since:
                continue  # the rate has come down since
            if self._judge_ports(one.ports, now) or self._judge_canaries(one.canaries, now):
                return True
        return False

    @property
    def shut_since(self) -> float:
        """When that was sent which was not answered."""
        assert self._shut, "something was not"
        return self._shut.started

    def go_on(self, now: float) -> None:
        """Begin a round; what is under way is not judged, since it met something that is no matter of pace."""
        self._unjudged.clear()
        self._watched = Count(self.rate, now)
        self.next_round(now)

    def give_way(self, now: float) -> None:
        """Go as fast as the answers came of what looked shut: something lets only so many pass."""
        assert self._shut, "something looked so"
        self._keep_beneath(self._shut, self._canaries, now)
        self.go_on(now)

    def hold(self, rate: float, now: float) -> None:
        """Go at this rate, in probes a second, and never faster."""
        self.rate, self._growth, self._rate_since, self._fall = max(1.0, rate), STEADY, now, None
        self.go_on(now)

    def trust(self) -> None:
        """Go as fast as if there had been answers: something else tells that the path carries it."""
        self._heard = True
        self.rate = min(self.rate * self._growth, self._top)

    def _due(self, now: float) -> list[_Round]:
        """The rounds that are to be judged: their answers had time to come, or all have come."""
        return [one for one in self._unjudged if one.ended + (0 if one.heard == one.sent else self._wait) <= now]

    def _is_fallen(self, one: _Round) -> bool:
        return self._ports.misses(one.ports) or self._canaries.misses(one.canaries)

    def _judge_ports(self, one: Count, now: float) -> bool:
        """Learn from a round's ports; whether they were shut out."""
        if not one.sent:
            return False
        if self._ports.is_shut(one):
            self._shut = one
            return True
        if self._ports.misses(one):
            self._fall_back(one, self._ports, now)
        else:
            self._ports.learn(one)
            self._rise(now)
        return False

    def _judge_canaries(self, one: Count, now: float) -> bool:
        """Learn from canaries, as soon as there are enough; whether they were shut out."""
        watched = self._watched
        watched.rate, watched.sent, watched.answered = (
            one.rate,
            watched.sent + one.sent,
            watched.answered + one.answered,
        )
        if watched.sent < MIN_CANARIES and not self._canaries.is_shut(watched):
            return False
        self._watched = Count(one.rate, now)
        if self._canaries.is_shut(watched):
            self._shut = watched
            return True
        if self._canaries.misses(watched):
            self._fall_back(watched, self._canaries, now)
            self._ports = Expected()  # of what was learnt of them, too much was the limit's
            return False
        self._assured = watched.rate
        # What is surely better than was expected is expected from now on; what is worse may be a limit's beginning.
        if lower_bound(watched.answered, watched.sent) > self._canaries.share:
            self._canaries.learn(watched)
        if not self._by_ports:
            self._rise(now)
        return False

    def _rise(self, now: float) -> None:
        """Something was answered as expected."""
        fall = self._fall
        if fall and not fall.again and not fall.sure:
            # A burst of loss, or a limit? As fast as before it shows.
            fall.again, self.rate, self._rate_since = True, fall.rate, now
            return
        if fall and fall.sure:
            fall.in_vain = 0
        else:
            self._fall = None
        self.rate = max(self._floor, min(self.rate * self._growth, self._top))

    def _fall_back(self, one: Count, expected: Expected, now: float) -> None:
        """Slow down; where slower and slower was no better, go on as fast as before: the path itself loses that."""
        fall = self._fall
        if fall and fall.again:
            self._keep_beneath(one, expected, now)
            return
        if fall:
            fall.in_vain += is_no_better(one, fall.by, expected)
        if fall and fall.in_vain >= IN_VAIN:
            self.rate, self._growth, self._rate_since = fall.rate, FASTER, now
            self._fall, self.delivered, self.falls = None, None, 0
            expected.share, expected.weight = one.share, one.sent
        elif fall and fall.sure:
            self._keep_beneath(one, expected, now)
        else:
            self._fall = fall or _Fall(self.rate, one)
            self._slow_down(one, expected, now)

    def _keep_beneath(self, one: Count, expected: Expected, now: float) -> None:
        """There is a limit."""
        fall = self._fall or _Fall(self.rate, one)
        self._fall = _Fall(fall.rate, one if not fall.sure else fall.by, fall.in_vain, sure=True)
        self._slow_down(one, expected, now)
        self.delivered, self._growth, self.falls = self.rate / SLOWER, min(self._growth, self._beneath), self.falls + 1

    def _slow_down(self, one: Count, expected: Expected, now: float) -> None:
        """Go a little slower than the answers came; of the canaries', all had to come."""
        share = expected.share if expected is self._ports else 1.0
        # Rather too much than too little: from too much it comes down again.
        passed = min(one.rate, one.rate * (one.answered + FEW_MORE) / one.sent / share)
        self.rate, self._rate_since = max(self._floor, SLOWER * passed), now
        self._watched = Count(self.rate, now)
