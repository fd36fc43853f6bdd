"""Room for flows: connection tracking keeps each for a while, and the tables that it keeps them in are bounded."""

from __future__ import annotations

import math
from collections import deque

FLOW_LIFE = 30.0  # seconds that connection tracking keeps a flow of one exchange (Linux, nf_conntrack_udp_timeout)
MARGIN = 2.0  # seconds more, since an entry is aged from its last packet and swept now and then
TABLE_SHARE = 0.8  # of the entries that a table turned out to have: the rest is for others


class FlowBudget:
    """At most `most` new flows in any `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def left(self, now: float) -> int:
        """How many may be made now."""
        while self._taken and self._taken[0][0] <= now - self.seconds:
            self._sum -= self._taken.popleft()[1]
        return max(0, self.most - self._sum)

    def take(self, flows: int, now: float) -> None:
        """So many are made."""
        if flows:
            self._taken.append((now, flows))
            self._sum += flows

    def correct(self, flows: int, now: float) -> None:
        """In truth so many are kept now."""
        self._taken.clear()
        self._sum = 0
        self.take(flows, now)

    def next_at(self, now: float) -> float:
        """When there is room again."""
        if self.left(now):
            return now
        return self._taken[0][0] + self.seconds if self._taken else math.inf

    def waiting(self, flows: int, now: float) -> float:
        """About how many seconds so many more flows have to wait for room."""
        more = flows - self.left(now)
        if more <= 0 or not self.most:
            return 0.0 if more <= 0 else math.inf
        begun = now - self._taken[0][0] if self._taken else 0.0
        return math.ceil(more / self.most) * self.seconds - begun


class FlowBudgets:
    """The tables that a check's flows are kept in, as far as they are known.

    `free` are the entries that the server's own connection tracking has free, None where it has none; of several
    clients', this one's share.
    """

    def __init__(self, free: int | None) -> None:
        # Half of them: the rest is for whoever else uses the server.
        self._free = free
        self._rooms = [] if free is None else [FlowBudget(free // 2, FLOW_LIFE)]
        self.were_short = self.are_none

    @property
    def are_none(self) -> bool:
        """Whether no flow at all may be made."""
        return any(not one.most for one in self._rooms)

    @property
    def least(self) -> int | None:
        """The flows that the smallest keeps."""
        return min((one.most for one in self._rooms), default=None)

    @property
    def longest(self) -> float:
        """For how many seconds a flow is kept at most."""
        return max([FLOW_LIFE, *(one.seconds for one in self._rooms)])

    def add_table(self, flows: int, seconds: float) -> None:
        """A table on the way has shown that it keeps about so many flows for so long."""
        self._rooms.append(FlowBudget(int(TABLE_SHARE * flows), max(FLOW_LIFE, seconds) + MARGIN))

    def learn(self, free: int, now: float) -> None:
        """The server has so many entries free now: a probe that a firewall stopped has taken none."""
        if self._free is not None:
            self._free = max(self._free, free)  # it was told of less while there were more clients
            self._rooms[0].most = self._free // 2
            self._rooms[0].correct(self._free - free, now)

    def left(self, wanted: int, now: float) -> int:
        """How many of the wanted flows may be made now."""
        left = min([wanted, *(one.left(now) for one in self._rooms)])
        self.were_short |= left < wanted
        return left

    def take(self, flows: int, now: float) -> None:
        """So many are made."""
        for one in self._rooms:
            one.take(flows, now)

    def next_at(self, now: float) -> float:
        """When there is room again."""
        return max([now, *(one.next_at(now) for one in self._rooms)])

    def waiting(self, flows: int, now: float) -> float:
        """About how many seconds so many more flows have to wait for room."""
        return max([0.0, *(one.waiting(flows, now) for one in self._rooms)])
