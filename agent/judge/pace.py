"""How fast to send: congestion control in the sense of RFC 8085, by the share of each round that is answered."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

START_RATE = 1_000.0  # probes a second: a first round of 100 fits into every queue and policer's burst
TOP_RATE = 20_000.0  # then ten thousand probes take half a second, and a small server keeps up
SILENT_RATE = 4_000.0  # as fast as it gets while nothing at all comes back
FLOOR_RATE = 50.0  # the strictest routers' guards let this many pass
FASTER, CAREFUL, STEADY = 4.0, 1.1, 1.0  # growth a round: until a limit shows; beneath it; where the next is dear
SLOWER = 0.85  # of what came through, so that the limit's queue drains
ROUND_SECONDS = 0.025  # at least a round trip, so that a round is judged before many more are sent
MIN_ROUND = 100  # probes: fewer tell a fallen share from chance too badly
SIGMAS = 3.0  # how far a round's share may lie below the share so far
SHUT = 0.1  # of the answers that were to be expected: with fewer it is no matter of pace
IN_VAIN = 2  # a burst that a limit let pass makes one slower round look no better
FEW_MORE = 2  # answers that a round may have had by another chance
MIN_EXPECTED = 10.0  # answers: with fewer, chance makes a round look shut


@dataclass
class _Round:
    number: int
    rate: float
    started: float
    size: int
    sent: int = 0
    counted: int = 0  # of those sent, what is judged
    answered: int = 0  # of those counted
    ended: float = math.inf

    @property
    def share(self) -> float:
        return self.answered / self.counted if self.counted else 1.0


@dataclass(frozen=True)
class _Fall:
    """What was so before the pace came down, and the round for which it did."""

    rate: float
    growth: float
    round: _Round


class Pace:
    """The rounds of one sweep. A round's answers take `wait` seconds to come, and `patience` if something stalls.

    `ceiling` is what the user allows, in probes a second.
    """

    def __init__(self, now: float, rtt: float, wait: float, patience: float, ceiling: float | None = None) -> None:
        self._round_seconds, self._wait, self._patience = max(ROUND_SECONDS, rtt), wait, patience
        self._ceiling = ceiling or TOP_RATE
        self._growth, self._beneath = FASTER, CAREFUL
        self._lossy = False  # slower was no better
        self._sent = self._answered = 0.0
        self._heard = False
        self.rate, self._rate_since = min(START_RATE, self._ceiling), now
        self.delivered: float | None = None  # probes a second that came through when the pace came down
        self._fall: _Fall | None = None
        self._in_vain = 0  # times that it slowed down since, and it was no better
        self.falls = 0  # times that it slowed down in all
        self._rounds: list[_Round] = []
        self._unjudged: deque[_Round] = deque()
        self._shut: _Round | None = None
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
    def _top(self) -> float:
        return min(TOP_RATE if self._heard else SILENT_RATE, self._ceiling)

    @property
    def _floor(self) -> float:
        return min(FLOOR_RATE, self._ceiling)

    def allowance(self, now: float) -> int:
        """How many probes may be sent now."""
        current = self._rounds[-1]
        due = int((now - current.started) * current.rate) + 1
        return max(0, min(due, current.size) - current.sent)

    def next_at(self) -> float:
        """When the next probe of this round may be sent."""
        current = self._rounds[-1]
        return current.started + current.sent / current.rate

    def send(self, now: float, counted: bool = True) -> None:
        """One probe of this round is sent; whether its answer is expected as much as the others' that count."""
        current = self._rounds[-1]
        current.sent += 1
        current.counted += counted
        if current.sent >= current.size:
            current.ended = now

    def answer(self, number: int) -> None:
        """A probe of that round which counts was answered."""
        self._rounds[number].answered += 1
        self._heard = True

    def next_round(self, now: float, gently: int = 0) -> None:
        """Begin a round, of `gently` probes as slow as it gets where that is given; the one before is over."""
        if self._rounds:
            self._rounds[-1].ended = min(self._rounds[-1].ended, now)
        rate = self._floor if gently else self.rate
        size = gently or max(MIN_ROUND, int(rate * self._round_seconds))
        self._rounds.append(_Round(len(self._rounds), rate, now, size))
        self._unjudged.append(self._rounds[-1])

    def expect(self, share: float, weight: float) -> None:
        """From now on other probes count: this share of them is expected to be answered, as if `weight` had been.

        Where slower was no better, what came through then is expected. And where a limit showed, the pace stays
        beneath it: what it drops tells nothing of ports.
        """
        if not self._lossy:
            self._sent, self._answered = weight, share * weight
        self._beneath = STEADY
        if self.delivered is not None:
            self.rate, self._growth = max(self._floor, min(self.rate, SLOWER * self.delivered)), STEADY

    def doubts_until(self, now: float) -> float:
        """Until when to wait with the next round, since one looks fallen and its answers may only be late."""
        return max((one.ended + self._patience for one in self._due(now) if self._has_fallen(one)), default=now)

    def judge(self, now: float) -> bool:
        """Learn from the rounds whose answers had time to come; whether the path is shut to what is sent now."""
        for one in self._due(now):
            if self._has_fallen(one) and one.ended + self._patience > now:
                continue
            self._unjudged.remove(one)
            if not one.counted:
                continue
            if not self._has_fallen(one):
                self._rise(one)
            elif one.started >= self._rate_since:  # else the rate has come down since
                expected = self._share * one.counted
                if expected >= MIN_EXPECTED and one.answered < SHUT * expected:
                    self._shut = one
                    return True
                self._fall_back(one, now)
        return False

    @property
    def shut_since(self) -> tuple[int, float]:
        """The number of the round that looked shut, and when it began."""
        assert self._shut, "a round looked so"
        return self._shut.number, self._shut.started

    def trust(self) -> None:
        """Go as fast as if there had been answers: something else tells that the path carries it."""
        self._heard = True
        self.rate = min(self.rate * self._growth, self._top)

    def go_on(self, now: float) -> None:
        """Begin a round; what is under way is not judged, since it met something that is no matter of pace."""
        self._unjudged.clear()
        self.next_round(now)

    def hold(self, rate: float, now: float) -> None:
        """Go at this rate, in probes a second, and never faster."""
        self.rate, self._growth, self._rate_since, self._fall = max(1.0, rate), STEADY, now, None
        self.go_on(now)

    def give_way(self, now: float) -> None:
        """Go as fast as the answers of the round came that looked shut: something lets only so many pass."""
        assert self._shut, "a round looked so"
        self._slow_down(self._shut, now)
        self.go_on(now)

    def _due(self, now: float) -> list[_Round]:
        """The rounds that are to be judged: their answers had time to come."""
        return [one for one in self._unjudged if one.ended + self._wait <= now]

    @property
    def _share(self) -> float:
        """Of all probes so far that were answered, with two more that were not heard of."""
        return (self._answered + 1) / (self._sent + 2)

    def _has_fallen(self, one: _Round) -> bool:
        return bool(self._sent and one.counted) and one.share < self._share - _tolerance(
            self._share, one.counted, self._sent + 2
        )

    def _rise(self, one: _Round) -> None:
        self._fall = None
        self._sent += one.counted
        self._answered += one.answered
        self.rate = max(self._floor, min(self.rate * self._growth, self._top))

    def _fall_back(self, one: _Round, now: float) -> None:
        """Slow down; where slower and slower was no better, go on as fast as before."""
        if self._fall and self._is_no_better(one, self._fall.round):
            self._in_vain += 1
        if self._fall and self._in_vain >= IN_VAIN:
            self.rate, self._growth, self._rate_since = self._fall.rate, self._fall.growth, now
            self._fall, self.delivered, self.falls = None, None, 0
            self._lossy = True
            self._sent, self._answered = one.counted, one.answered
        else:
            self._slow_down(one, now)

    def _slow_down(self, one: _Round, now: float) -> None:
        if not self._fall:
            self._fall, self._in_vain = _Fall(self.rate, self._growth, one), 0
        self.falls += 1
        # Rather too much than too little: from too much it comes down again.
        self.delivered = one.rate * (one.answered + FEW_MORE) / one.counted / self._share
        self.rate, self._growth = max(self._floor, SLOWER * self.delivered), min(self._growth, self._beneath)
        self._rate_since = now

    def _is_no_better(self, one: _Round, faster: _Round) -> bool:
        """Whether a round lost the same share as the faster one for which the pace came down, and no less."""
        limited = min(self._share, faster.share * faster.rate / one.rate)  # its share, if so many a second pass
        return abs(one.share - faster.share) <= _tolerance(
            faster.share, one.counted, faster.counted
        ) and one.share < limited - _tolerance(limited, one.counted, faster.counted)


def _tolerance(share: float, *samples: float) -> float:
    """How much the shares of two samples may differ by chance."""
    return SIGMAS * math.sqrt(share * (1 - share) * sum(1 / one for one in samples))
