from __future__ import annotations

import random

import pytest

from agent.core.observation import Reason
from agent.sweep.large import draw, pace
from agent.sweep.limit import Limit

# The limits, by their numbers.
LEAST = 64
MOST = 256
RATE = 6400.0


@pytest.mark.parametrize("ports", [[], [7], list(range(1, LEAST + 1))])
def test_few_ports_are_all_asked(ports: list[int]) -> None:
    assert sorted(draw(ports, RATE, random.Random(1))) == ports


@pytest.mark.parametrize("seed", range(20))
def test_of_many_the_ends_are_asked_and_no_wide_range_is_left_out(seed: int) -> None:
    ports = [443, *range(50000, 55000), *range(55001, 60001)]
    drawn = sorted(draw(ports, RATE, random.Random(seed)))
    assert MOST - 20 <= len(drawn) == len(set(drawn)) <= MOST
    assert {443, 50000, 54999, 55001, 60000} <= set(drawn) <= set(ports)
    assert max(after - before for before, after in zip(drawn[1:], drawn[2:])) <= 80


def test_a_slow_check_asks_few() -> None:
    drawn = draw(range(50000, 60001), 5, random.Random(1))
    assert len(drawn) == 50
    assert {50000, 60000} <= set(drawn)


def test_a_limit_on_packets_makes_no_gaps() -> None:
    rate = pace(None, Limit(Reason.RATE_LIMIT, rate=300.0))
    assert len(draw(range(50000, 60001), rate, random.Random(1))) == MOST


def test_scattered_ports_leave_room_for_others_than_ends() -> None:
    ports = range(1, 2001, 2)  # each a run of its own
    drawn = draw(ports, RATE, random.Random(1))
    assert MOST - 20 <= len(set(drawn)) <= MOST
    assert max(drawn) > 1000


def test_the_order_tells_nothing() -> None:
    assert draw(range(1, 11), RATE, random.Random(1)) != list(range(1, 11))


@pytest.mark.parametrize(
    ("max_rate", "limit", "expected"),
    [
        (None, None, RATE),
        (10.0, None, 10.0),
        (1e6, None, RATE),
        (None, Limit(Reason.RATE_LIMIT, rate=880.0), 80.0),
        (10.0, Limit(Reason.RATE_LIMIT, rate=880.0), 10.0),
        (2000.0, Limit(Reason.RATE_LIMIT, rate=880.0), 80.0),
        (None, Limit(Reason.RATE_LIMIT, rate=3.0), 1.0),
        (None, Limit(Reason.RATE_LIMIT), RATE),
    ],
)
def test_large_probes_keep_to_the_limit_that_small_ones_met(
    max_rate: float | None, limit: Limit | None, expected: float
) -> None:
    assert pace(max_rate, limit) == expected
