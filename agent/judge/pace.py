"""How fast to send: congestion control in the sense of RFC 8085, by the share of each round that is answered."""

from __future__ import annotations

import math
from dataclasses import dataclass

START_RATE = 1_000.0  # probes a second: a first round of 100 fits into every queue and policer's burst
TOP_RATE = 10_000.0  # then ten thousand probes take about a second, and hardly a NAT or a server stands less
SILENT_RATE = 4_000.0  # as fast as it gets while nothing at all comes back
FLOOR_RATE = 50.0  # the strictest routers' guards let this many pass
FASTER, CAREFUL = 4.0, 1.1  # growth a round: until a limit shows, and beneath it
SLOWER = 0.85  # of what came through, so that the limit's queue drains
MIN_ROUND = 100  # probes: fewer tell a fallen share from chance too badly
SIGMAS = 3.0  # how far a round's share may lie below the share so far


@dataclass
class _Round:
    rate: float
    started: float
    size: int
    sent: int = 0
    answered: int = 0
    ended: float = math.inf
    judged: bool = False


class Pace:
    """The rounds of one sweep. A round's answers take `wait` seconds to come, and `patience` if something stalls."""

    def __init__(self, now: float, round_seconds: float, wait: float, patience: float) -> None:
        self._round_seconds, self._wait, self._patience = round_seconds, wait, patience
        self._growth = FASTER
        self._sent = self._answered = 0
        self.rate, self._rate_since = START_RATE, now
        self._rounds = [self._new_round(now)]

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
        return TOP_RATE if any(one.answered for one in self._rounds) else SILENT_RATE

    def allowance(self, now: float) -> int:
        """How many probes may be sent now."""
        current = self._rounds[-1]
        due = int((now - current.started) * current.rate) + 1
        return max(0, min(due, current.size) - current.sent)

    def next_at(self) -> float:
        """When the next probe of this round may be sent."""
        current = self._rounds[-1]
        return current.started + current.sent / current.rate

    def send(self, now: float) -> None:
        """One probe of this round is sent."""
        current = self._rounds[-1]
        current.sent += 1
        if current.sent >= current.size:
            current.ended = now

    def answer(self, number: int) -> None:
        """A probe of that round was answered."""
        self._rounds[number].answered += 1

    def doubts_until(self, now: float) -> float:
        """Until when to wait with the next round, since one looks fallen and its answers may only be late."""
        return max((one.ended + self._patience for one in self._due(now) if self._has_fallen(one)), default=now)

    def next_round(self, now: float, judge: bool) -> None:
        """Begin a round; where `judge` says so, at the rate that the rounds before it teach."""
        for one in self._due(now) if judge else ():
            if one.ended + self._patience <= now or not self._has_fallen(one):
                self._judge(one, now)
        self._rounds.append(self._new_round(now))

    def _due(self, now: float) -> list[_Round]:
        """The rounds that are to be judged: their answers had time to come."""
        return [one for one in self._rounds if not one.judged and one.ended + self._wait <= now]

    def _new_round(self, now: float) -> _Round:
        return _Round(self.rate, now, max(MIN_ROUND, int(self.rate * self._round_seconds)))

    @property
    def _share(self) -> float:
        """Of all probes so far that were answered, with two more that were not heard of."""
        return (self._answered + 1) / (self._sent + 2)

    def _has_fallen(self, one: _Round) -> bool:
        share = self._share
        # Both are samples, the share so far and this round's.
        tolerated = SIGMAS * math.sqrt(share * (1 - share) * (1 / one.sent + 1 / (self._sent + 2)))
        return self._sent > 0 and one.answered / one.sent < share - tolerated

    def _judge(self, one: _Round, now: float) -> None:
        one.judged = True
        if self._has_fallen(one):
            if one.started >= self._rate_since:  # else the rate has come down since
                delivered = one.rate * one.answered / one.sent / self._share
                self.rate = max(FLOOR_RATE, SLOWER * delivered)
                self._growth, self._rate_since = CAREFUL, now
            return
        self._sent += one.sent
        self._answered += one.answered
        self.rate = max(FLOOR_RATE, min(self.rate * self._growth, self._top))
