"""Large probes, in the flows that one small packet opened: which ports to ask, and how fast.

What lets a flow's first packet pass, or small ones alone, carries no call. It does so for all ports or for a range of
them, so a few ports tell whether there is such a thing, and only then is every open port asked.
"""

from __future__ import annotations

import random
from typing import Sequence

from ..core.ports import port_ranges
from .limit import Limit

MOST = 256  # ports: of 10,000, a range of 81 does not fall between them
SHARE, LEAST = 4, 64  # of the ports one in so many, that a check of a few stays small, but this many of the fewest
RATE = 6400.0  # a second: over in 40 ms; 8 MB a second each way, and what a path drops of that is asked again
# For which they are asked once, however slowly: fewer ports would miss a range that no call gets through.
SECONDS = 10.0
LARGER = 11  # times as large as a small probe, with the headers: a limit on packets may be one on bytes


def pace(max_rate: float | None, limit: Limit | None) -> float:
    """Return how many large probes a second: no more than pass a limit that small ones met, or the user allows."""
    passes = max(1.0, limit.rate / LARGER) if limit and limit.rate else RATE
    return min(max_rate or RATE, passes, RATE)


def draw(open_ports: Sequence[int], rate: float, rng: random.Random) -> list[int]:
    """Return some of the ports, in random order: the ends of their longest runs, others evenly spread.

    No more than take SECONDS at that rate.
    """
    ordered = sorted(open_ports)
    most = min(MOST, max(len(ordered) // SHARE, LEAST), max(1, int(rate * SECONDS)))
    if len(ordered) <= most:
        drawn = ordered
    else:
        longest = sorted(port_ranges(ordered), key=len, reverse=True)[: most // 4]
        ends = {port for run in longest for port in (run.first, run.last)}
        others = [port for port in ordered if port not in ends]
        step = len(others) / (most - len(ends))
        drawn = [*ends, *{others[int((number + rng.random()) * step)] for number in range(most - len(ends))}]
    rng.shuffle(drawn)
    return drawn
