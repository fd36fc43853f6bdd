"""The control channel: a TCP connection, which loses nothing but takes its time."""

from __future__ import annotations

from tests.simulation.network import Network

# What Linux waits at least before it sends a segment again (RFC 6298 has a second; every retry waits twice as long).
MIN_RTO = 0.2
MAX_RTO = 60.0


class Question:
    """One question over the control channel, and its answer: sent again and again until it comes."""

    def __init__(self, network: Network, rtt: float, now: float) -> None:
        self._network = network
        self._rto = max(MIN_RTO, rtt + MIN_RTO)
        self.next_at = now
        self.answer_at: float | None = None

    def look(self, now: float) -> bool:
        """Send what is to be sent by now; whether the answer is there."""
        while self.answer_at is None and self.next_at <= now:
            self.answer_at = self._network.reaches(self.next_at)
            self.next_at += self._rto
            self._rto = min(2 * self._rto, MAX_RTO)
        return self.answer_at is not None and self.answer_at <= now

    @property
    def wake(self) -> float:
        """When to look again."""
        return self.next_at if self.answer_at is None else self.answer_at


def ask(network: Network, rtt: float, now: float, patience: float) -> float | None:
    """When the answer to a question of now comes; None where it does not in so many seconds."""
    question = Question(network, rtt, now)
    while question.wake <= now + patience:
        if question.look(question.wake):
            return question.answer_at
    return None
