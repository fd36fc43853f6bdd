from __future__ import annotations

import math

import pytest

from agent.sweep.flows import FlowBudget, FlowBudgets

# The limits, by their numbers.
FLOW_LIFE = 30.0
MARGIN = 2.0
TABLE_SHARE = 0.8


def test_so_many_new_flows_in_any_time_so_long() -> None:
    budget = FlowBudget(100, 30.0)
    assert budget.available(0.0) == 100
    budget.spend(60, 0.0)
    assert (budget.available(10.0), budget.next_available(10.0)) == (40, 10.0)
    budget.spend(40, 10.0)
    assert [budget.available(now) for now in (10.0, 29.9, 30.0, 39.9, 40.0)] == [0, 0, 60, 60, 100]


def test_room_comes_as_the_oldest_flows_end() -> None:
    budget = FlowBudget(100, 40.0)
    budget.spend(60, 1.0)
    budget.spend(40, 2.0)
    assert budget.next_available(5.0) == 41.0
    assert budget.available(41.0) == 60
    budget.spend(60, 41.0)
    assert budget.next_available(41.5) == 42.0
    assert budget.available(42.0) == 40


def test_more_than_there_is_room_for_leaves_none() -> None:
    budget = FlowBudget(5, 30.0)
    budget.spend(10, 0.0)
    assert (budget.available(1.0), budget.next_available(1.0), budget.available(30.0)) == (0, 30.0, 5)


@pytest.mark.parametrize(
    ("flows", "now", "seconds"),
    [(0, 1, 0), (1, 1, 0), (40, 1, 0), (0, 10, 0), (1, 10, 20), (100, 10, 20), (101, 10, 50), (1, 29, 1)],
)  # fmt: skip
def test_how_long_so_many_more_flows_wait(flows: int, now: float, seconds: float) -> None:
    budget = FlowBudget(100, 30.0)
    budget.spend(60, 0.0)
    if now > 1:
        budget.spend(40, 2.0)
    assert budget.seconds_until(flows, now) == seconds


def test_no_room_at_all_comes_never() -> None:
    budget = FlowBudget(0, 30.0)
    assert (budget.available(50.0), budget.next_available(50.0)) == (0, math.inf)
    assert (budget.seconds_until(0, 50.0), budget.seconds_until(1, 50.0)) == (0.0, math.inf)


def test_where_no_table_is_known_there_is_always_room() -> None:
    budgets = FlowBudgets(None)
    budgets.spend(100_000, 0.0)
    assert (budgets.available(32, 0.0), budgets.next_available(5.0), budgets.seconds_until(9000, 5.0)) == (32, 5.0, 0.0)
    assert (budgets.is_zero, budgets.was_short, budgets.smallest, budgets.longest_life) == (
        False,
        False,
        None,
        FLOW_LIFE,
    )


@pytest.mark.parametrize(("free", "none"), [(0, True), (1, True), (2, False), (3, False)])
def test_half_of_what_the_server_has_free_may_be_none(free: int, none: bool) -> None:
    budgets = FlowBudgets(free)
    assert (budgets.is_zero, budgets.was_short, budgets.smallest) == (none, none, free // 2)
    assert budgets.available(5, 0.0) == free // 2


def test_they_was_short_once_less_was_left_than_wanted() -> None:
    budgets = FlowBudgets(200)
    for wanted, left, short in ((32, 32, False), (100, 100, False), (101, 100, True), (1, 1, True)):
        assert budgets.available(wanted, 0.0) == left
        assert budgets.was_short is short


def test_a_table_that_showed_itself_bounds_what_follows_beside_the_servers() -> None:
    budgets = FlowBudgets(4000)
    budgets.spend(1900, 0.0)
    budgets.add_table(1500, 41.0)
    assert (budgets.smallest, budgets.longest_life) == (int(TABLE_SHARE * 1500), 41.0 + MARGIN)
    assert budgets.available(5000, 1.0) == 100  # what the server keeps of before
    budgets.spend(100, 1.0)
    assert (budgets.available(5000, 29.0), budgets.next_available(29.0)) == (0, FLOW_LIFE)
    assert budgets.available(5000, 31.0) == 1100
    budgets.spend(1100, 31.0)
    assert budgets.next_available(32.0) == 44.0
    assert budgets.seconds_until(1000, 32.0) == 29.0  # the server's is the longer wait
    assert budgets.available(5000, 44.0) == 100


def test_no_table_keeps_flows_shorter_than_the_shortest() -> None:
    budgets = FlowBudgets(None)
    budgets.add_table(2000, 12.0)
    assert budgets.longest_life == FLOW_LIFE + MARGIN
    budgets.spend(1600, 0.0)
    assert (budgets.available(1, 31.9), budgets.available(1, 32.0)) == (0, 1)


def test_what_the_server_has_free_corrects_what_was_taken() -> None:
    budgets = FlowBudgets(1000)
    budgets.spend(500, 0.0)
    budgets.on_free_flows(900, 10.0)  # a firewall stopped the others
    assert budgets.available(500, 10.0) == 400
    budgets.spend(400, 11.0)
    assert [budgets.available(500, now) for now in (39.9, 40.0, 41.0)] == [0, 100, 500]
    budgets.on_free_flows(300, 50.0)
    assert (budgets.available(500, 50.0), budgets.next_available(50.0)) == (0, 80.0)
    budgets.on_free_flows(2000, 60.0)  # others went
    assert (budgets.available(5000, 60.0), budgets.smallest) == (1000, 1000)


def test_what_the_server_has_free_says_nothing_of_other_tables() -> None:
    budgets = FlowBudgets(None)
    budgets.on_free_flows(5, 0.0)
    assert budgets.available(1000, 0.0) == 1000
    budgets.add_table(1000, 30.0)
    budgets.spend(800, 1.0)
    budgets.on_free_flows(100_000, 2.0)
    assert budgets.available(1, 2.0) == 0
