from __future__ import annotations

import random
from typing import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.plan import Need, Plan, Requirement, Transport, build_plan
from agent.core.ports import PortRange
from agent.sweep.sample import sample
from tests.core.values import FEW

PLUGNMEET = build_plan("plugnmeet")


def plan(*ranges: tuple[int, int]) -> Plan:
    rows = [Requirement(Transport.UDP, PortRange(*one), "", Need.REQUIRED) for one in ranges]
    return Plan("mine", (Requirement(Transport.TCP, PortRange(80, 90), "", Need.REQUIRED), *rows))


def test_a_sample_has_the_ends_of_each_range_and_ports_between() -> None:
    drawn = sample(PLUGNMEET, (), 300, random.Random(1))
    assert {443, 50000, 60000} < drawn.ports
    assert len(drawn.ports) == 303
    assert drawn.ports | drawn.left_out == set(PLUGNMEET.ports(Transport.UDP))
    assert not drawn.ports & drawn.left_out
    assert drawn.hole == 100  # 3/300 of 9,999, rounded up


def test_every_port_comes_into_a_sample_as_often() -> None:
    samples = [sample(plan((1, 102)), (), 10, random.Random(seed)).ports for seed in range(1000)]
    counts = [sum(port in ports for ports in samples) for port in range(1, 103)]
    assert (counts[0], counts[-1]) == (1000, 1000)
    assert min(counts) > 60  # 100 are expected, give or take 10
    assert max(counts[1:-1]) < 140


def test_a_hole_of_the_size_told_is_met_95_times_in_100() -> None:
    holes = {"a run": range(3000, 3300), "scattered": range(51, 10000, 33)}
    drawn = [sample(plan((1, 10001)), (), 100, random.Random(seed)) for seed in range(1000)]
    assert {one.hole for one in drawn} == {300}
    for name, hole in holes.items():
        met = sum(not one.ports.isdisjoint(hole) for one in drawn)
        assert 930 <= met <= 975, name


@pytest.mark.parametrize(
    ("ranges", "untested", "wanted", "ports", "hole"),
    [
        (((1, 1),), (), 1, 1, 0),
        (((1, 2),), (), 1, 2, 0),
        (((1, 3),), (), 1, 3, 0),
        (((1, 4),), (), 1, 3, 6),
        (((1, 4),), (), 2, 4, 0),
        (((1, 100),), (), 98, 100, 0),
        (((1, 100),), (), 1_000_000, 100, 0),
        (((1, 102), (201, 1202)), (), 50, 104, 60),
        (((201, 1202), (1, 102)), (), 50, 104, 60),
        (((1, 100),), range(1, 101), 5, 0, 0),
        (((1, 100),), range(2, 101), 5, 1, 0),
    ],
)
def test_samples_of_some_ranges(
    ranges: Sequence[tuple[int, int]], untested: Sequence[int], wanted: int, ports: int, hole: int
) -> None:
    drawn = sample(plan(*ranges), untested, wanted, random.Random(1))
    assert (len(drawn.ports), drawn.hole) == (ports, hole)


def test_ports_at_which_nobody_listens_are_neither_drawn_nor_left_out() -> None:
    untested = {1, 2, 50, *range(80, 101)}
    drawn = sample(plan((1, 100)), untested, 10, random.Random(1))
    assert {3, 79} < drawn.ports
    assert len(drawn.ports) == 12
    assert drawn.ports | drawn.left_out == set(range(1, 101)) - untested


@FEW
@given(st.integers(1, 60), st.sets(st.integers(1, 50)), st.integers(0, 1000))
def test_every_port_is_drawn_left_out_or_untested(wanted: int, untested: set[int], seed: int) -> None:
    drawn = sample(plan((1, 20), (31, 50)), untested, wanted, random.Random(seed))
    assert sorted([*drawn.ports, *drawn.left_out]) == sorted({*range(1, 21), *range(31, 51)} - untested)
    assert bool(drawn.left_out) == (drawn.hole > 0)
