"""How fast to send: rounds of probes, each at the rate that the answers to the rounds before have taught."""

from __future__ import annotations

from collections import deque

from .rate import RateControl
from .rounds import AnswerCount, Round

ROUND_SECONDS = 0.025  # at least a round trip, so that a round is judged before many more are sent
MIN_ROUND = 100  # probes: fewer tell a fallen share from chance too badly


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
        begun = Round(len(self._rounds), rate, begins, size, AnswerCount(rate, now), AnswerCount(rate, now))
        self._rounds.append(begun)
        self._unjudged.append(begun)

    def doubts_until(self, now: float) -> float:
        """Return until when to wait with the next round, since one looks fallen and its answers may only be late."""
        fallen = (due for due in self._due(now) if self._is_fallen(due))
        return max((due.ended + self.patience for due in fallen), default=now)

    def judge(self, now: float) -> bool:
        """Learn from the rounds whose answers had time; return whether the path is shut to what is sent now."""
        for due in self._due(now):
            if self._is_fallen(due) and due.ended + self.patience > now:
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

    def _is_fallen(self, sent: Round) -> bool:
        return self.control.is_fallen(sent.ports, sent.canaries)
