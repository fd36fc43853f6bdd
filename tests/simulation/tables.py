"""Connection tracking: a table of flows that can be full, on a router or on the server."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True)
class Tracking:
    """A table of `capacity` flows that forgets one `life` seconds after its last packet.

    Full, it drops what would be a new flow, or, with `early_drop`, first forgets the oldest without an answer.
    Others come to take `taken` of it at `taken_at` seconds.
    """

    capacity: int
    life: float = 30.0
    early_drop: bool = False
    taken: int = 0
    taken_at: float = math.inf


class FlowTable:
    """Such a table at work; a flow is any number, and calls come in the order of time."""

    def __init__(self, tracking: Tracking) -> None:
        self._capacity, self._life, self._early_drop = tracking.capacity, tracking.life, tracking.early_drop
        self._left, self._taken_at = tracking.capacity - tracking.taken, tracking.taken_at
        # When each flow's last packet came, the oldest first.
        self._asked: OrderedDict[int, float] = OrderedDict()
        self._replied: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._asked) + len(self._replied)

    def free(self, now: float) -> int:
        """How many flows more it has room for."""
        self._expire(now)
        return max(0, self._capacity - len(self))

    def passes(self, flow: int, now: float) -> bool:
        """Whether a packet to the server is let through."""
        self._expire(now)
        for flows in (self._replied, self._asked):
            if flow in flows:
                flows[flow] = now
                flows.move_to_end(flow)
                return True
        if now >= self._taken_at:
            self._capacity = self._left
        while len(self) >= self._capacity:
            if not self._make_room():
                return False
        self._asked[flow] = now
        return True

    def replies(self, flow: int, now: float) -> bool:
        """Whether an answer finds its flow; else it is dropped."""
        self._expire(now)
        known = flow in self._replied or self._asked.pop(flow, None) is not None
        if known:
            self._replied[flow] = now
            self._replied.move_to_end(flow)
        return known

    def forget(self) -> None:
        """All flows are gone."""
        self._asked.clear()
        self._replied.clear()

    def _make_room(self) -> bool:
        if not self._early_drop or not self._asked:
            return False
        self._asked.popitem(last=False)
        return True

    def _expire(self, now: float) -> None:
        oldest = now - self._life
        for flows in (self._asked, self._replied):
            while flows:
                flow = next(iter(flows))
                if flows[flow] > oldest:
                    break
                del flows[flow]
