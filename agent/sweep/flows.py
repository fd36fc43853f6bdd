"""Budgets of flows: connection tracking keeps each for a while, in tables that are bounded."""

from __future__ import annotations

import math
from collections import deque

FLOW_LIFE = 30.0  # seconds that connection tracking keeps a flow of one exchange (Linux, nf_conntrack_udp_timeout)
MARGIN = 2.0  # seconds more, since an entry is aged from its last packet and swept now and then
TABLE_SHARE = 0.8  # of the entries that a table turned out to have: the rest is for others


class FlowBudget:
    """At most `limit` new flows in any `seconds`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = limit, seconds
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0

    def available(self, now: float) -> int:
        """Return how many may be made now."""
        while self._spent and self._spent[0][0] <= now - self.seconds:
            self._sum -= self._spent.popleft()[1]
        return max(0, self.limit - self._sum)

    def spend(self, flows: int, now: float) -> None:
        """Count flows that are made now."""
        if flows:
            self._spent.append((now, flows))
            self._sum += flows

    def correct(self, flows: int, now: float) -> None:
        """Count these flows as made now, instead of all that were counted before."""
        self._spent.clear()
        self._sum = 0
        self.spend(flows, now)

    def next_available(self, now: float) -> float:
        """Return when one may be made again."""
        if self.available(now):
            return now
        return self._spent[0][0] + self.seconds if self._spent else math.inf

    def seconds_until(self, flows: int, now: float) -> float:
        """Return about how many seconds it takes until so many more flows are made."""
        more = flows - self.available(now)
        if more <= 0 or not self.limit:
            return 0.0 if more <= 0 else math.inf
        begun = now - self._spent[0][0] if self._spent else 0.0
        return math.ceil(more / self.limit) * self.seconds - begun


class FlowBudgets:
    """The tables that a check's flows are kept in, as far as they are known.

    `free` are the entries that the server's own connection tracking has free, None where it has none; of several
    clients', this one's share.
    """

    def __init__(self, free: int | None) -> None:
        # Half of them: the rest is for whoever else uses the server.
        self._free = free
        self._budgets = [] if free is None else [FlowBudget(free // 2, FLOW_LIFE)]
        self.was_short = self.is_zero

    @property
    def is_zero(self) -> bool:
        """Return whether no flow at all may be made."""
        return any(not budget.limit for budget in self._budgets)

    @property
    def smallest(self) -> int | None:
        """Return the flows that the smallest table keeps; None where none is known."""
        return min((budget.limit for budget in self._budgets), default=None)

    @property
    def longest_life(self) -> float:
        """Return for how many seconds a flow is kept at most."""
        return max([FLOW_LIFE, *(budget.seconds for budget in self._budgets)])

    def add_table(self, flows: int, seconds: float) -> None:
        """Add a table on the way, which has shown that it keeps about so many flows for so long."""
        self._budgets.append(FlowBudget(int(TABLE_SHARE * flows), max(FLOW_LIFE, seconds) + MARGIN))

    def on_free_flows(self, free: int, now: float) -> None:
        """Correct the server's budget by the entries that it has free: what a firewall stopped has taken none."""
        if self._free is not None:
            self._free = max(self._free, free)  # it was told of less while there were more clients
            self._budgets[0].limit = self._free // 2
            self._budgets[0].correct(self._free - free, now)

    def available(self, wanted: int, now: float) -> int:
        """Return how many of the wanted flows may be made now."""
        available = min([wanted, *(budget.available(now) for budget in self._budgets)])
        self.was_short |= available < wanted
        return available

    def spend(self, flows: int, now: float) -> None:
        """Count flows that are made now."""
        for budget in self._budgets:
            budget.spend(flows, now)

    def next_available(self, now: float) -> float:
        """Return when one may be made again."""
        return max([now, *(budget.next_available(now) for budget in self._budgets)])

    def seconds_until(self, flows: int, now: float) -> float:
        """Return about how many seconds it takes until so many more flows are made."""
        return max([0.0, *(budget.seconds_until(flows, now) for budget in self._budgets)])
