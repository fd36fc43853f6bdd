"""Which ports a firewall blocks, when, and so what is true of a port."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

from agent.core.report import State


@dataclass(frozen=True)
class Rules:
    """Ports whose probes are dropped before the server gets them, and ports whose answers are dropped."""

    blocked: frozenset[int] = frozenset()
    mute: frozenset[int] = frozenset()

    @property
    def closed(self) -> frozenset[int]:
        """The ports that no user's packets get through, to the server and back."""
        return self.blocked | self.mute


@dataclass(frozen=True)
class Change:
    """Other rules from a time on, in seconds since the sweep began."""

    at: float
    rules: Rules


def truths(
    rules: Rules, changes: Sequence[Change], since: float, until: float, ports: Sequence[int]
) -> dict[int, set[State]]:
    """The states in which each port was between two times; either is right where there are two."""
    begins = [-math.inf, *(change.at for change in changes)]
    ends = [*begins[1:], math.inf]
    every = [rules, *(change.rules for change in changes)]
    sets = [one.closed for one, begin, end in zip(every, begins, ends) if begin <= until and end > since]
    return {port: {State.FILTERED if port in closed else State.OPEN for closed in sets} for port in ports}


def _none(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    return ()


def _all(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    return ports


def _hole(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    size = min(len(ports), round(len(ports) * chance.choice((0.003, 0.01, 0.1, 0.5))) + 1)
    first = chance.randrange(len(ports) - size + 1)
    return ports[first : first + size]


def _small_holes(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    holes: set[int] = set()
    for _ in range(chance.randint(2, 12)):
        first = chance.randrange(len(ports))
        holes.update(ports[first : first + chance.randint(1, 20)])
    return sorted(holes)


def _ends(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    size = chance.choice((1, 1, 10, 1000))
    return sorted({*ports[:size], *ports[-chance.choice((1, size)) :]})


def _odd(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    return ports[chance.randrange(2) :: 2]


def _one_blocked(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    return [chance.choice(ports)]


def _one_open(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    found = chance.choice(ports)
    return [port for port in ports if port != found]


def _few_open(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    found = set(chance.sample(list(ports), min(len(ports), chance.randint(2, 30))))
    return [port for port in ports if port not in found]


def _scattered(ports: Sequence[int], chance: random.Random) -> Sequence[int]:
    share = chance.choice((0.001, 0.01, 0.1, 0.3))
    return [port for port in ports if chance.random() < share]


# What rules look like, and how often in a hundred.
SHAPES: Mapping[str, tuple[Callable[[Sequence[int], random.Random], Sequence[int]], int]] = {
    "none": (_none, 24),
    "hole": (_hole, 24),
    "small holes": (_small_holes, 12),
    "ends": (_ends, 8),
    "scattered": (_scattered, 8),
    "one blocked": (_one_blocked, 8),
    "odd": (_odd, 4),
    "all": (_all, 5),
    "one open": (_one_open, 4),
    "few open": (_few_open, 3),
}
MUTE_SHARE = 0.15  # of all rules: those that let probes in, and no answer out


def random_rules(ports: Sequence[int], chance: random.Random) -> tuple[str, Rules]:
    """Rules, and what they look like."""
    name = chance.choices(list(SHAPES), [often for _, often in SHAPES.values()])[0]
    closed = frozenset(SHAPES[name][0](ports, chance))
    if closed and chance.random() < MUTE_SHARE:
        return f"{name} (answers)", Rules(mute=closed)
    return name, Rules(closed)
