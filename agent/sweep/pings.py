"""Round trips of the control channel: they measure the path while no port answers, and keep the channel alive."""

from __future__ import annotations

import math

from .loss import Tally

GAP = 0.04  # seconds: 25 pings in a pass bound the loss by 13 % where none is lost
ROOM_GAP = 1.0  # seconds between those that ask the server whether it has room for more flows
LOST = 0.18  # seconds more than a round trip: TCP repeats after 0.2 s at the earliest (Linux), so it was lost
FIRST = 0.01  # seconds after the first probe: so that the server has seen some, and may name where they came from
EARLY_GAP, EARLY = 0.25, 0.5  # seconds between those that ask this, and of each pass in which they do
KEEP_ALIVE = 60.0  # seconds between pings that measure nothing: NATs forget a silent TCP connection
# Seconds for any answer of the control channel: TCP has repeated it six times by then (Linux: after 0.2 s, then twice
# as long each time). With 20 % lost each way one answer in 4,000 takes more than eight, and a check asks dozens.
OVERDUE = 20.0


class Pings:
    """One ping at a time; `rtt` is what a round trip takes, in seconds."""

    def __init__(self, rtt: float) -> None:
        self._rtt, self._last = rtt, -math.inf
        self._hurried = False
        self._under_way: tuple[float, Tally, int] | None = None

    def is_due(self, now: float, gap: float) -> bool:
        """Whether to send one now, `gap` seconds after the last one's answer."""
        return self._under_way is None and (self._hurried or now >= self._last + gap)

    def send(self, now: float, tally: Tally) -> None:
        """One is sent; it counts in this tally."""
        self._under_way, self._hurried = (now, tally, tally.send()), False

    def hurry(self) -> None:
        """The next is due as soon as none is under way."""
        self._hurried = True

    def is_overdue(self, now: float) -> bool:
        """Whether one is under way for so long that none will come back."""
        return self._under_way is not None and now > self._under_way[0] + OVERDUE

    def answer(self, now: float) -> None:
        """It came back; too late, and it counts as lost."""
        if self._under_way is None:
            return
        at, tally, number = self._under_way
        if now - at < self._rtt + LOST:
            tally.answer(number)
        self._under_way, self._last = None, now
