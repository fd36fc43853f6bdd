from __future__ import annotations

import pytest

from agent.core.observation import Reason
from agent.sweep.limit import Limit
from agent.sweep.outage import Kind, Outage

# The limits, by their numbers.
PASSED = 3
PAUSES = (1.0, 2.0, 4.0)
QUICK_PAUSE = 2.0
SMALL_TABLE = 1000
STALL = 10.0


def group(outage: Outage, known: int, fresh: int, now: float = 0.0) -> None:
    """A group of which so many were answered."""
    outage.begin_group()
    for kind, answers in ((True, known), (False, fresh)):
        for _ in range(answers):
            outage.on_answer(len(outage.groups) - 1, kind, now)


def test_an_outage_is_over_when_some_new_flows_of_one_group_pass() -> None:
    outage = Outage(5.0, 0, 0)
    group(outage, 10, PASSED - 1, 6.0)
    group(outage, 10, PASSED - 1, 7.0)
    assert not outage.over
    outage.on_answer(0, False, 8.0)  # however late
    assert (outage.over, outage.held) == (True, 3.0)
    outage.on_answer(0, False, 9.0)
    assert outage.held == 3.0


def test_a_path_that_is_shut_is_asked_less_and_less_often() -> None:
    outage, pauses = Outage(0.0, 0, 0), []
    for _ in range(5):
        group(outage, PASSED - 1, 0)
        pauses.append(outage.pause)
    assert tuple(pauses) == (*PAUSES, PAUSES[-1], PAUSES[-1])


def test_a_table_that_is_full_is_asked_as_often_as_it_frees_entries() -> None:
    outage, pauses = Outage(0.0, 0, 0), []
    for _ in range(4):
        group(outage, PASSED, PASSED - 1)
        pauses.append(outage.pause)
    assert pauses == [PAUSES[0], QUICK_PAUSE, QUICK_PAUSE, QUICK_PAUSE]


@pytest.mark.parametrize(
    ("groups", "passes"),
    [([(10, 0)], True), ([(PASSED, PASSED - 1)], True), ([(PASSED - 1, 0)], False), ([(10, PASSED)], False),
     ([(0, 0), (10, 0)], True), ([(2, 0), (2, 0)], False), ([], False)],
)  # fmt: skip
def test_whether_old_flows_pass_where_new_ones_do_not(groups: list[tuple[int, int]], passes: bool) -> None:
    outage = Outage(0.0, 0, 0)
    for known, fresh in groups:
        group(outage, known, fresh)
    assert outage.lets_known_pass is passes


TABLE, CLOSED, LET_IN = [(10, 0)], [(0, 0)], [(0, 10)]
BLOCKED = Limit(Reason.SCAN_BLOCK)
LONG = STALL + 0.1


@pytest.mark.parametrize(
    ("groups", "flows", "lasted", "again", "before", "kind"),
    [
        (LET_IN, 5000, 0.3, False, None, Kind.STALL),
        (LET_IN, 5000, 0.3, True, None, Kind.PACE),
        (CLOSED, 5000, 0.3, True, None, Kind.STALL),  # still shut: whatever it is, it is no pace
        ([*TABLE, *LET_IN], 5000, STALL - 0.1, False, None, Kind.STALL),
        ([*TABLE, *LET_IN], 5000, LONG, False, None, Kind.FLOWS),
        ([*TABLE, *LET_IN], 5000, LONG, True, None, Kind.FLOWS),
        ([*TABLE, *LET_IN], SMALL_TABLE, LONG, False, None, Kind.FLOWS),
        ([*TABLE, *LET_IN], SMALL_TABLE - 1, LONG, False, None, Kind.SHUT_OUT),  # no table is as small
        ([*TABLE, *LET_IN], 5000, LONG, False, Limit(Reason.FLOW_LIMIT), Kind.FLOWS),
        ([*TABLE, *LET_IN], 5000, LONG, False, BLOCKED, Kind.SHUT_OUT),  # a guard stays one
        ([*CLOSED, *LET_IN], 5000, LONG, False, None, Kind.SHUT_OUT),
        (TABLE, 5000, LONG, False, None, Kind.FLOWS),
        (CLOSED, 5000, LONG, False, None, Kind.SHUT_OUT),
        (CLOSED, 5000, STALL - 0.1, False, None, Kind.STALL),
    ],
)  # fmt: skip
def test_what_stands_behind_a_silence(
    groups: list[tuple[int, int]], flows: int, lasted: float, again: bool, before: Limit | None, kind: Kind
) -> None:
    outage = Outage(100.0, flows, 7)
    for known, fresh in groups:
        group(outage, known, fresh, 100.0 + lasted)
    later = 100.0 if outage.over else 0.0  # what comes after it does not count
    assert outage.kind(100.0 + lasted + later, again, before) is kind


@pytest.mark.parametrize(
    ("kind", "limit"),
    [(Kind.PACE, None), (Kind.STALL, None),
     (Kind.FLOWS, Limit(Reason.FLOW_LIMIT, flows=3000, seconds=30.0)),
     (Kind.SHUT_OUT, Limit(Reason.SCAN_BLOCK, rate=80.0, seconds=30.0))],
)  # fmt: skip
def test_what_an_outage_tells_of_a_limit(kind: Kind, limit: Limit | None) -> None:
    outage = Outage(100.0, 3000, 80)
    assert outage.limit(kind, 130.0) == limit  # so far
    group(outage, 0, PASSED, 130.0)
    assert outage.limit(kind, 500.0) == limit
