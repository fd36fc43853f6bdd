"""Sweeps over different ports of one address, one after the other, as if they were one."""

from __future__ import annotations

from typing import Iterable, Sequence, Union

from .sweep import Sweep


def combined_chance(sweeps: Iterable[Sweep]) -> float | None:
    """How many ports, expected, loss alone left silent in all; None where one that has silent ones cannot tell."""
    chances = [one.chance for one in sweeps if one.open < len(one.sent)]
    measured = [one for one in chances if one is not None]
    return sum(measured) if measured and len(measured) == len(chances) else None


class CombinedSweep:
    """What a Sweep of all the ports tells, as it is now; `limit` is rather that of one that is not conclusive."""

    def __init__(self, sweeps: Sequence[Sweep]) -> None:
        self.sent = {port: sent for one in sweeps for port, sent in one.sent.items()}
        self.answered = {port: answers for one in sweeps for port, answers in one.answered.items()}
        self.rtts = [rtt for one in sweeps for rtt in one.rtts]
        self.open = sum(one.open for one in sweeps)
        self.done = all(one.done for one in sweeps)
        self.conclusive = all(one.conclusive for one in sweeps)
        self.chance = combined_chance(sweeps)
        self.loss = max((one.loss for one in sweeps), default=0.0)
        limits = [one.limit for one in sorted(sweeps, key=lambda one: one.conclusive) if one.limit]
        self.limit = limits[0] if limits else None
        self.is_shut_out = any(one.is_shut_out for one in sweeps)


AnySweep = Union[Sweep, CombinedSweep]
