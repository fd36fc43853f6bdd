"""What follows in the flows that one small packet opened: probes as large as the packets of a call.

What lets a flow's first packet pass, or small ones alone, carries no call. It does so for all ports or for a range of
them, so a few ports tell whether there is such a thing, and only then is every open port asked.
"""

from __future__ import annotations

import random
from typing import Sequence

from ..model.ports import runs

DRAWN = 256  # ports: of 10,000, a range of 81 does not fall between them
# Times that a silent one is asked: at a loss of a fifth each way, one check in ten goes on to ask all for nothing.
TRIES = 8
# At most so many at once, and so many seconds from then to the next: 8 MB a second, as much as small probes take.
BATCH, BATCH_SECONDS = 32, 0.005


def draw(open_ports: Sequence[int], most: int, chance: random.Random) -> list[int]:
    """At most so many of the ports, in random order: the ends of their longest runs, and others evenly spread."""
    ordered = sorted(open_ports)
    if len(ordered) <= most:
        drawn = ordered
    else:
        longest = sorted(runs(ordered), key=len, reverse=True)[: most // 4]
        ends = {port for run in longest for port in (run.first, run.last)}
        others = [port for port in ordered if port not in ends]
        step = len(others) / (most - len(ends))
        drawn = [*ends, *{others[int((number + chance.random()) * step)] for number in range(most - len(ends))}]
    chance.shuffle(drawn)
    return drawn
