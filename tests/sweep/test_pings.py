from __future__ import annotations

import random

import pytest

from agent.sweep.loss import LossTally
from agent.sweep.pings import ControlPings
from agent.sweep.sweep import Sweep

# The limits, by their numbers.
BUDGET_GAP = 1.0
GAP = 0.04
KEEP_ALIVE = 60.0
LOST = 0.18
OVERDUE = 20.0

RTT = 0.02


@pytest.mark.parametrize("gap", [GAP, BUDGET_GAP, KEEP_ALIVE])
def test_one_ping_at_a_time_and_the_next_after_a_gap(gap: float) -> None:
    pings = ControlPings(RTT)
    assert pings.is_due(10.0, gap)  # the first at once
    pings.on_sent(100.0, LossTally())
    assert not pings.is_due(500.0, gap)  # that one is under way
    pings.on_answer(500.0)
    assert [pings.is_due(500.0 + later, gap) for later in (0.0, gap - 0.01, gap)] == [False, False, True]


@pytest.mark.parametrize(("took", "lost"), [(RTT, 0), (RTT + LOST - 0.01, 0), (RTT + LOST + 0.01, 1), (5.0, 1)])
def test_what_comes_back_late_was_lost_at_first(took: float, lost: int) -> None:
    pings, tally = ControlPings(RTT), LossTally()
    pings.on_sent(0.0, tally)
    assert (tally.sent, tally.lost) == (1, 1)
    pings.on_answer(took)
    assert (tally.sent, tally.lost) == (1, lost)


def test_each_ping_counts_in_its_own_tally() -> None:
    pings, first, second = ControlPings(RTT), LossTally(), LossTally()
    for tally in (first, second, second):
        pings.on_sent(0.0, tally)
        pings.on_answer(0.0)
    pings.on_sent(0.0, first)
    assert [(one.sent, one.lost) for one in (first, second)] == [(2, 1), (2, 0)]


def test_a_pong_that_was_not_asked_for_is_none() -> None:
    pings = ControlPings(RTT)
    pings.on_answer(50.0)
    assert pings.is_due(GAP, GAP)
    pings.on_sent(1.0, LossTally())
    pings.on_answer(2.0)
    pings.on_answer(7.0)
    assert pings.is_due(2.0 + GAP, GAP)


def test_a_ping_that_is_under_way_for_long_will_not_come_back() -> None:
    pings = ControlPings(RTT)
    assert not pings.is_overdue(500.0)
    pings.on_sent(100.0, LossTally())
    assert [pings.is_overdue(now) for now in (100.0, 100.0 + OVERDUE, 100.1 + OVERDUE)] == [False, False, True]
    pings.on_answer(200.0)
    assert not pings.is_overdue(500.0)


def test_an_answer_is_waited_for_through_what_a_bad_path_loses() -> None:
    trip_lost, first_wait = 1 - 0.8 * 0.8, 0.2  # at 20 % each way; Linux waits so long, then twice as long each time
    tries = sum(first_wait * (2**repeats - 1) < OVERDUE for repeats in range(20))
    assert trip_lost**tries < 1e-3


def test_only_a_ping_that_confirms_something_is_sent_while_nothing_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep([1, 2], random.Random(1), rtt=0.02, now=0.0)
    monkeypatch.setattr(Sweep, "is_shut_out", True)
    assert not sweep.wants_ping(1.0)
    sweep.hurry_ping()
    assert sweep.wants_ping(1.0)
