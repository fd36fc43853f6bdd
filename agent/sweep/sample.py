"""A sample of the UDP ports, and what it says of those that it left out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Container

from ..core.plan import Plan, Transport

# The rule of three: where each probe meets a hole with the chance 3/n, n probes miss it with (1 - 3/n)^n < e^-3, 5 %.
RULE = 3


@dataclass(frozen=True)
class Sample:
    """UDP ports that stand for all.

    `hole` is how many blocked ports, wherever among those left out, at least 95 of 100 such samples would have met.
    """

    ports: frozenset[int]
    left_out: frozenset[int]
    hole: int


def sample(plan: Plan, untested: Container[int], wanted: int, rng: random.Random) -> Sample:
    """Return of each of the plan's ranges of UDP ports `wanted` at random and the two ends, none that is `untested`.

    The ends are of what is left where the server does not listen on the range's own.
    """
    ports: set[int] = set()
    left_out: set[int] = set()
    hole = 0
    for row in plan.of(Transport.UDP):
        listening = [port for port in row.ports if port not in untested]
        inner = listening[1:-1]
        drawn = rng.sample(inner, min(wanted, len(inner)))
        ports.update(drawn, listening[:1], listening[-1:])
        if len(drawn) < len(inner):
            left_out.update(set(inner).difference(drawn))
            hole = max(hole, -(-RULE * len(inner) // wanted))
    return Sample(frozenset(ports), frozenset(left_out), hole)
