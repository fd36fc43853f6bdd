"""Which ports a server that leaves services running does not hold all at a time."""

from __future__ import annotations

import random
from collections import Counter
from itertools import groupby

import pytest

from agent.core.plan import (
    BLOCK,
    PLANS,
    Need,
    Plan,
    Requirement,
    Transport,
    build_plan,
    make_partitions,
    partitioned_ranges,
)
from agent.core.ports import PortRange

# Limits, by their numbers: who changes one changes it here too.
FEW = 16

PLUGNMEET = build_plan("plugnmeet")


def plan_of(*runs: tuple[int, int], transport: Transport = Transport.UDP) -> Plan:
    return Plan("mine", tuple(Requirement(transport, PortRange(*run), "media", Need.REQUIRED) for run in runs))


def test_a_half_of_the_media_ports_is_in_each_part() -> None:
    assert "plugnmeet" in PLANS
    parts = make_partitions(PLUGNMEET, random.Random(1))
    assert parts.keys() == set(range(50000, 60001))
    assert Counter(parts.values()) == {0: 5001, 1: 5000}
    assert list(partitioned_ranges(PLUGNMEET)) == [PortRange(50000, 60000)]


def test_of_each_range_there_is_a_half() -> None:
    parts = make_partitions(plan_of((10000, 20000), (50000, 50099), (60000, 60000 + FEW - 1)), random.Random(1))
    assert Counter(parts[port] for port in range(50000, 50100)) == {0: 50, 1: 50}
    assert max(parts) == 50099


@pytest.mark.parametrize("number", [FEW, FEW + 1, BLOCK, 2 * BLOCK + 1])
def test_few_ports_are_held_whole(number: int) -> None:
    parts = make_partitions(plan_of((50000, 50000 + number - 1)), random.Random(1))
    assert len(parts) == (number if number > FEW else 0)
    assert abs(Counter(parts.values())[0] - Counter(parts.values())[1]) <= 1


def test_tcp_ports_are_held_whole() -> None:
    assert make_partitions(plan_of((50000, 60000), transport=Transport.TCP), random.Random(1)) == {}


def test_ports_in_a_row_that_are_of_one_part_are_few_and_others_every_time() -> None:
    drawn = [make_partitions(PLUGNMEET, random.Random(seed)) for seed in range(20)]
    longest = [max(len(list(run)) for _, run in groupby(parts[port] for port in sorted(parts))) for parts in drawn]
    assert max(longest) <= 20 * BLOCK
    assert len({tuple(sorted(parts.items())) for parts in drawn}) == len(drawn)
