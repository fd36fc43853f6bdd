"""Shares out the entries that the server's connection tracking has free among the sessions of its clients."""

from __future__ import annotations


class FlowQuota:
    """What the server tells its sessions of the free entries of its connection tracking.

    A session makes half as many flows as the most that it was told. All of them together make half as many as were
    free: the rest is for whoever else uses the server. Where these have no room for all, each gets the same.
    """

    def __init__(self) -> None:
        self._most_free = 0

    def at_start(self, free: int | None, sessions: int, promised: int) -> int | None:
        """Return what the newest of so many sessions is told; the others may still make the `promised` flows."""
        if free is None:
            return None
        if sessions == 1:
            self._most_free = 0
        # One flow is enough to go on and ask again; with none it would give up.
        return min(free, max(2, 2 * self._share(free - promised, sessions) + 1))

    def later(self, free: int | None, sessions: int, told: int | None) -> int | None:
        """Return what one of so many sessions is told when it asks again; it was `told` so many at most before."""
        if free is None or told is None:
            return None
        share = self._share(free, sessions)
        return max(0, share + max(share, told - told // 2))

    def _share(self, free: int, sessions: int) -> int:
        """Return how many flows one may make now; less than none where others took what is kept for them."""
        self._most_free = max(free, self._most_free)
        return (free - (self._most_free + 1) // 2) // sessions
