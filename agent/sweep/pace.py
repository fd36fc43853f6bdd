"""How fast to send: rounds of probes, each at the rate that the answers to the rounds before have taught."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from .rate import AnswerCount, RateControl

ROUND_SECONDS = 0.025  # at least a round trip, so that a round is judged before many more are sent
CATCH_UP = 0.02  # seconds: a Windows computer looks at its clock 64 times in one
MIN_ROUND = 100  # probes: fewer tell a fallen share from chance too badly


@dataclass
class Round:
    """A number of probes at one rate; `ports` stand for all ports, `canaries` go to ports known to be open."""

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


class Pace:
    """The rounds of one sweep. A round's answers take `wait` seconds to come, and `patience` if something stalls.

    `max_rate` is what the user allows, in probes a second.
    """

    def __init__(self, now: float, rtt: float, wait: float, patience: float, max_rate: float | None = None) -> None:
        self._round_seconds, self.wait, self.patience = max(ROUND_SECONDS, rtt), wait, patience
        self.control = RateControl(now, max_rate)
        self._rounds: list[Round] = []
        self._unjudged: deque[Round] = deque()
        self.next_round(now)

    @property
    def rate(self) -> float:
        """Return the rate of the next round, in probes a second."""
        return self.control.rate

    @property
    def round_number(self) -> int:
        """Return the number of the round that is being sent, counted from 0."""
        return len(self._rounds) - 1

    @property
    def round_is_full(self) -> bool:
        """Return whether the round has been sent."""
        return self._rounds[-1].is_full

    @property
    def widest_gap(self) -> float:
        """Return the seconds between two probes where they are sent as slowly as it gets."""
        return 1 / self.control.floor

    def allowance(self, now: float) -> int:
        """Return how many probes may be sent now."""
        return self._rounds[-1].allowance(now, self.control.server_share)

    def next_send_time(self) -> float:
        """Return when the next probe of this round may be sent."""
        return self._rounds[-1].next_send_time(self.control.server_share)

    def on_sent(self, now: float, canary: bool = False, port: bool = False) -> None:
        """Count a probe of this round: to a canary, or to a port that stands for all, or to another."""
        self._rounds[-1].on_sent(now, canary, port)

    def on_answer(self, number: int, canary: bool = False, port: bool = False) -> None:
        """Count an answer to a probe of that round."""
        self._rounds[number].on_answer(canary, port)
        self.control.path_answers = True

    def next_round(self, now: float, gently: int = 0) -> None:
        """Begin a round, of `gently` probes as slow as it gets where that is given; the one before is over."""
        begins = now
        if self._rounds:
            begins = max(now, self.next_send_time())
            self._rounds[-1].ended = min(self._rounds[-1].ended, now)
        rate = self.control.floor if gently else self.rate
        size = gently or max(MIN_ROUND, int(rate * self._round_seconds))
        begun = Round(rate, begins, size, AnswerCount(rate, now), AnswerCount(rate, now))
        self._rounds.append(begun)
        self._unjudged.append(begun)

    def doubts_until(self, now: float) -> float:
        """Return until when to wait with the next round, since one looks fallen and its answers may only be late."""
        fallen = (due for due in self._due(now) if self.control.is_fallen(due.ports, due.canaries))
        return max((due.ended + self.patience for due in fallen), default=now)

    def judge(self, now: float) -> bool:
        """Learn from the rounds whose answers had time; return whether the path is shut to what is sent now."""
        for due in self._due(now):
            if self.control.is_fallen(due.ports, due.canaries) and due.ended + self.patience > now:
                continue
            self._unjudged.remove(due)
            if due.started < self.control.since:
                continue  # the rate has come down since
            if self.control.judge_ports(due.ports, now) or self.control.judge_canaries(due.canaries, now):
                return True
        return False

    @property
    def shut_since(self) -> float:
        """Return when that was sent which was not answered."""
        assert self.control.shut, "something was not"
        return self.control.shut.started

    def resume(self, now: float) -> None:
        """Begin a round; what is under way is not judged, since it met something that is no matter of pace."""
        self._unjudged.clear()
        self.control.forget_canaries(now)
        self.next_round(now)

    def _due(self, now: float) -> list[Round]:
        """Return the rounds that are to be judged: their answers had time to come, or all have come."""
        return [sent for sent in self._unjudged
                if sent.ended + (0 if sent.answered == sent.sent else self.wait) <= now]  # fmt: skip
