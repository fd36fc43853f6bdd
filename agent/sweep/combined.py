"""Sweeps over different ports of one address, one after the other, as if they were one."""

from __future__ import annotations

from typing import Iterable, Sequence, Union

from .sweep import Sweep


def combined_chance(sweeps: Iterable[Sweep]) -> float | None:
    """Return how many ports, expected, loss alone left silent in all; None where one with silent ports cannot tell."""
    chances = [sweep.chance for sweep in sweeps if sweep.open < len(sweep.sent)]
    measured = [chance for chance in chances if chance is not None]
    return sum(measured) if measured and len(measured) == len(chances) else None


class CombinedSweep:
    """What one Sweep of all the ports would tell now; `limit` is rather that of one that is not conclusive."""

    def __init__(self, sweeps: Sequence[Sweep]) -> None:
        self.sent = {port: sent for sweep in sweeps for port, sent in sweep.sent.items()}
        self.answered = {port: answers for sweep in sweeps for port, answers in sweep.answered.items()}
        self.rtts = [rtt for sweep in sweeps for rtt in sweep.rtts]
        self.open = sum(sweep.open for sweep in sweeps)
        self.done = all(sweep.done for sweep in sweeps)
        self.conclusive = all(sweep.conclusive for sweep in sweeps)
        self.chance = combined_chance(sweeps)
        self.loss = max((sweep.loss for sweep in sweeps), default=0.0)
        limits = [sweep.limit for sweep in sorted(sweeps, key=lambda sweep: sweep.conclusive) if sweep.limit]
        self.limit = limits[0] if limits else None
        self.is_shut_out = any(sweep.is_shut_out for sweep in sweeps)


AnySweep = Union[Sweep, CombinedSweep]
