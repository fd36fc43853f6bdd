"""Which UDP ports a server that leaves services running holds only while a check runs, and never all at a time."""

from __future__ import annotations

import random
from typing import Iterator

from .plan import Plan, Transport
from .ports import PortRange

# Ports of a range that are held from the start to the end all the same: services have so few at fixed numbers, and
# draw from more.
FEW = 16
# Ports in a row that are of one part. LiveKit's allocator (pion/ice) begins at a random port and goes upwards to the
# first that is free: past 24 of ours on average, and 300 at worst, a millisecond or two. Of single ports that would be
# less, but their table would take ten pages of the control channel.
BLOCK = 32


def partitioned_ranges(plan: Plan) -> Iterator[PortRange]:
    """Return the plan's ranges that services draw UDP ports from."""
    return (row.ports for row in plan.of(Transport.UDP) if len(row.ports) > FEW)


def make_partitions(plan: Plan, rng: random.Random) -> dict[int, int]:
    """Return for each of these ports its partition, 0 or 1: half of each range, cut into shuffled blocks."""
    parts: dict[int, int] = {}
    for run in partitioned_ranges(plan):
        blocks = [list(run)[start : start + BLOCK] for start in range(0, len(run), BLOCK)]
        rng.shuffle(blocks)
        ports = [port for block in blocks for port in block]
        parts.update((port, int(2 * number >= len(ports))) for number, port in enumerate(ports))
    return parts
