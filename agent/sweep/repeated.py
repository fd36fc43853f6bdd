"""The schedule of probes to a few ports, each asked again until it answers: large ones in a flow, or small new ones."""

from __future__ import annotations

from collections import deque
from typing import Iterable

from .probes import Probe

# Times that a silent one is asked: at a loss of a fifth each way, one check in ten goes on to ask all for nothing.
TRIES = 8
BATCH_SECONDS = 0.005  # what is due within so long is sent at once
NEW_FLOW = -1  # the source port where no flow is to be kept: none of a sweep's, which counts its own from 0


class RepeatedProbes:
    """Asks each of the ports `tries` times at most, `rate` probes a second, and waits `timeout` seconds after each try.

    `silent` are the ports that have not answered; it is done when none is left or the last answers had their time.
    """

    def __init__(self, ports: Iterable[int], now: float, timeout: float, rate: float, tries: int = TRIES) -> None:
        self._silent = dict.fromkeys(ports)
        self.done = not self._silent
        self._batch = max(1, int(rate * BATCH_SECONDS))
        self._gap, self._timeout, self._tries_left = self._batch / rate, timeout, tries
        self._queue: deque[int] = deque()
        self._sent: list[int] = []  # the port of each probe
        self._next_at = now

    @property
    def silent(self) -> frozenset[int]:
        """Return the ports that have not answered."""
        return frozenset(self._silent)

    def probes_to_send(self, now: float) -> list[Probe]:
        """Return the probes to send now; none until `next_timer`."""
        if self.done or now < self._next_at:
            return []
        if not self._queue:
            self.done = not self._tries_left
            if self.done:
                return []
            self._tries_left -= 1
            self._queue.extend(self._silent)
        ports = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
        self._next_at = now + (self._gap if self._queue else max(self._gap, self._timeout))
        first = len(self._sent)
        self._sent.extend(ports)
        return [Probe(number, port, NEW_FLOW) for number, port in enumerate(ports, first)]

    def on_answer(self, number: int, now: float) -> None:
        """Ask the port of that probe no more."""
        self._silent.pop(self._sent[number], None)
        self.done = self.done or not self._silent

    def next_timer(self, now: float) -> float:
        """Return when to call `probes_to_send` again, unless an answer comes before."""
        return max(now, self._next_at)
