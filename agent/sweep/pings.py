"""Round trips of the control channel: they measure the path while no port answers, and keep the channel alive."""

from __future__ import annotations

import math

from .loss import LossTally

GAP = 0.04  # seconds: 25 pings in a pass bound the loss by 13 % where none is lost
BUDGET_GAP = 1.0  # seconds between those that ask the server whether it has room for more flows
LOST = 0.18  # seconds more than a round trip: TCP repeats after 0.2 s at the earliest (Linux), so it was lost
FIRST = 0.01  # seconds after the first probe: so that the server has seen some, and may name where they came from
EARLY_GAP, EARLY = 0.25, 0.5  # seconds between those that ask this, and of each pass in which they do
KEEP_ALIVE = 60.0  # seconds between pings that measure nothing: NATs forget a silent TCP connection
# Seconds for any answer of the control channel: TCP has repeated it six times by then (Linux: after 0.2 s, then twice
# as long each time). With 20 % lost each way one answer in 4,000 takes more than eight, and a check asks dozens.
OVERDUE = 20.0


class ControlPings:
    """One ping at a time; `rtt` is what a round trip takes, in seconds, `now` when the sweep begins."""

    def __init__(self, rtt: float, now: float = 0.0) -> None:
        self._rtt, self._first, self._last = rtt, now + FIRST, -math.inf
        self.hurried = False  # the next goes as soon as none is under way
        self._under_way: tuple[float, LossTally, int] | None = None

    def is_due(self, now: float, gap: float) -> bool:
        """Return whether to send one now, `gap` seconds after the last one's answer."""
        return now >= self._first and self._under_way is None and (self.hurried or now >= self._last + gap)

    def on_sent(self, now: float, tally: LossTally) -> None:
        """Count one that is sent in this tally."""
        self._under_way, self.hurried = (now, tally, tally.on_sent()), False

    def is_overdue(self, now: float) -> bool:
        """Return whether one is under way for so long that none will come back."""
        return self._under_way is not None and now > self._under_way[0] + OVERDUE

    def on_answer(self, now: float) -> None:
        """Count the answer; where it came too late, the ping counts as lost."""
        if self._under_way is None:
            return
        at, tally, number = self._under_way
        if now - at < self._rtt + LOST:
            tally.on_answer(number)
        self._under_way, self._last = None, now


def gap(any_open: bool, waits_for_flows: bool, is_early: bool, shares_server: bool) -> float:
    """Return the seconds between two pings; `is_early`: in a pass that has just begun."""
    if not any_open:
        return GAP
    # Behind some NATs a part of the probes comes from an address that is not answered before it is confirmed.
    if is_early and not waits_for_flows:
        return EARLY_GAP
    return BUDGET_GAP if waits_for_flows or shares_server else KEEP_ALIVE
