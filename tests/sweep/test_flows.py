from __future__ import annotations

import math

import pytest

from agent.sweep.flows import FLOW_LIFE, MARGIN, TABLE_SHARE, FlowBudget, FlowBudgets


def test_so_many_new_flows_in_any_time_so_long() -> None:
    room = FlowBudget(100, 30.0)
    assert room.left(0.0) == 100
    room.take(60, 0.0)
    assert (room.left(10.0), room.next_at(10.0)) == (40, 10.0)
    room.take(40, 10.0)
    assert [room.left(now) for now in (10.0, 29.9, 30.0, 39.9, 40.0)] == [0, 0, 60, 60, 100]


def test_room_comes_as_the_oldest_flows_end() -> None:
    room = FlowBudget(100, 40.0)
    room.take(60, 1.0)
    room.take(40, 2.0)
    assert room.next_at(5.0) == 41.0
    assert room.left(41.0) == 60
    room.take(60, 41.0)
    assert room.next_at(41.5) == 42.0
    assert room.left(42.0) == 40


def test_more_than_there_is_room_for_leaves_none() -> None:
    room = FlowBudget(5, 30.0)
    room.take(10, 0.0)
    assert (room.left(1.0), room.next_at(1.0), room.left(30.0)) == (0, 30.0, 5)


@pytest.mark.parametrize(
    ("flows", "now", "seconds"),
    [(0, 1, 0), (1, 1, 0), (40, 1, 0), (0, 10, 0), (1, 10, 20), (100, 10, 20), (101, 10, 50), (1, 29, 1)],
)  # fmt: skip
def test_how_long_so_many_more_flows_wait(flows: int, now: float, seconds: float) -> None:
    room = FlowBudget(100, 30.0)
    room.take(60, 0.0)
    if now > 1:
        room.take(40, 2.0)
    assert room.waiting(flows, now) == seconds


def test_no_room_at_all_comes_never() -> None:
    room = FlowBudget(0, 30.0)
    assert (room.left(50.0), room.next_at(50.0)) == (0, math.inf)
    assert (room.waiting(0, 50.0), room.waiting(1, 50.0)) == (0.0, math.inf)


def test_where_no_table_is_known_there_is_always_room() -> None:
    rooms = FlowBudgets(None)
    rooms.take(100_000, 0.0)
    assert (rooms.left(32, 0.0), rooms.next_at(5.0), rooms.waiting(9000, 5.0)) == (32, 5.0, 0.0)
    assert (rooms.are_none, rooms.were_short, rooms.least, rooms.longest) == (False, False, None, FLOW_LIFE)


@pytest.mark.parametrize(("free", "none"), [(0, True), (1, True), (2, False), (3, False)])
def test_half_of_what_the_server_has_free_may_be_none(free: int, none: bool) -> None:
    rooms = FlowBudgets(free)
    assert (rooms.are_none, rooms.were_short, rooms.least) == (none, none, free // 2)
    assert rooms.left(5, 0.0) == free // 2


def test_they_were_short_once_less_was_left_than_wanted() -> None:
    rooms = FlowBudgets(200)
    for wanted, left, short in ((32, 32, False), (100, 100, False), (101, 100, True), (1, 1, True)):
        assert rooms.left(wanted, 0.0) == left
        assert rooms.were_short is short


def test_a_table_that_showed_itself_bounds_what_follows_beside_the_servers() -> None:
    rooms = FlowBudgets(4000)
    rooms.take(1900, 0.0)
    rooms.add_table(1500, 41.0)
    assert (rooms.least, rooms.longest) == (int(TABLE_SHARE * 1500), 41.0 + MARGIN)
    assert rooms.left(5000, 1.0) == 100  # what the server keeps of before
    rooms.take(100, 1.0)
    assert (rooms.left(5000, 29.0), rooms.next_at(29.0)) == (0, FLOW_LIFE)
    assert rooms.left(5000, 31.0) == 1100
    rooms.take(1100, 31.0)
    assert rooms.next_at(32.0) == 44.0
    assert rooms.waiting(1000, 32.0) == 29.0  # the server's is the longer wait
    assert rooms.left(5000, 44.0) == 100


def test_no_table_keeps_flows_shorter_than_the_shortest() -> None:
    rooms = FlowBudgets(None)
    rooms.add_table(2000, 12.0)
    assert rooms.longest == FLOW_LIFE + MARGIN
    rooms.take(1600, 0.0)
    assert (rooms.left(1, 31.9), rooms.left(1, 32.0)) == (0, 1)


def test_what_the_server_has_free_corrects_what_was_taken() -> None:
    rooms = FlowBudgets(1000)
    rooms.take(500, 0.0)
    rooms.learn(900, 10.0)  # a firewall stopped the others
    assert rooms.left(500, 10.0) == 400
    rooms.take(400, 11.0)
    assert [rooms.left(500, now) for now in (39.9, 40.0, 41.0)] == [0, 100, 500]
    rooms.learn(300, 50.0)
    assert (rooms.left(500, 50.0), rooms.next_at(50.0)) == (0, 80.0)
    rooms.learn(2000, 60.0)  # others went
    assert (rooms.left(5000, 60.0), rooms.least) == (1000, 1000)


def test_what_the_server_has_free_says_nothing_of_other_tables() -> None:
    rooms = FlowBudgets(None)
    rooms.learn(5, 0.0)
    assert rooms.left(1000, 0.0) == 1000
    rooms.add_table(1000, 30.0)
    rooms.take(800, 1.0)
    rooms.learn(100_000, 2.0)
    assert rooms.left(1, 2.0) == 0
