"""Sweeps over different ports, and what they tell together."""

from __future__ import annotations

import random
from typing import Collection, Sequence

import pytest

from agent.core.observation import Reason
from agent.sweep.limit import Limit
from agent.sweep.sweep import CombinedSweep, Sweep, combined_chance
from tests.simulation.tables import FlowTable, Tracking

# The limits, by their numbers.
FLOW_LIFE = 30.0
MAX_CHANCE = 0.001
MIN_TRIES = 3
MAX_SECONDS = 180.0

FIRST, SECOND = range(1, 1001), range(2001, 3001)


def swept(
    ports: Sequence[int],
    silent: Collection[int] = (),
    after: Sweep | None = None,
    most: float = MAX_CHANCE,
    flows: int | None = None,
    begins: float = 0.0,
    until: float = 1000.0,
    lose: float = 0.0,
    table: FlowTable | None = None,
) -> tuple[Sweep, float]:
    """A sweep whose ports answer at once but for these, and when it was over; `lose` is the share that is lost."""
    sweep = Sweep(ports, random.Random(1), 0.02, begins, free_flows=flows, previous=after, max_chance=most)
    now, chance = begins, random.Random(2)
    while not sweep.done and now < until:
        for probe in sweep.probes_to_send(now):
            passes = table is None or table.passes(probe.socket << 16 | probe.port, now)
            if passes and probe.port not in silent and chance.random() >= lose:
                sweep.on_answer(probe.number, now + 0.001)
        now = max(now + 0.001, min(sweep.next_timer(now), now + 1.0))
    return sweep, now


def test_one_sweep_is_as_it_is_alone() -> None:
    for silent in ((), (5, 6, 7)):
        one, _ = swept(FIRST, silent)
        both = CombinedSweep([one])
        assert (both.sent, both.answered, both.rtts) == (one.sent, one.answered, one.rtts)
        assert (both.open, both.done, both.conclusive, both.loss) == (one.open, True, True, one.loss)
        assert (both.limit, both.is_shut_out) == (one.limit, one.is_shut_out)
        assert both.chance == (one.chance if silent else None)


def test_two_sweeps_are_as_one() -> None:
    first, now = swept(FIRST, (5, 6, 7), most=MAX_CHANCE / 2)
    second, _ = swept(SECOND, (2005,), after=first, most=MAX_CHANCE / 2, begins=now)
    both = CombinedSweep([first, second])
    assert both.sent.keys() == {*FIRST, *SECOND}
    assert (both.sent[5] >= MIN_TRIES, both.answered[5], both.answered[8] >= 1) == (True, 0, True)
    assert both.open == 997 + 999
    assert first.chance is not None
    assert second.chance is not None
    assert both.chance == first.chance + second.chance <= MAX_CHANCE
    assert both.loss == max(first.loss, second.loss) > 0
    assert len(both.rtts) == len(first.rtts) + len(second.rtts)
    assert both.done
    assert both.conclusive


def test_one_in_which_all_answered_had_no_chance_to_miss_any() -> None:
    all_open, now = swept(FIRST)
    second, _ = swept(SECOND, (2005,), after=all_open, begins=now)
    assert all_open.chance is None
    assert combined_chance([all_open, second]) == second.chance
    begun = Sweep(FIRST, random.Random(1), 0.02, 0.0)
    assert combined_chance([begun, second]) is None
    assert combined_chance([]) is None


def test_what_one_could_not_tell_both_cannot() -> None:
    first, now = swept(FIRST, (5,))
    second, _ = swept(SECOND, (2005,), after=first, begins=now, until=now + 0.5)
    first._recovery.limit, second._recovery.limit = Limit(Reason.RATE_LIMIT, rate=300.0), Limit(Reason.SCAN_BLOCK)
    assert CombinedSweep([first, second]).done is False
    assert CombinedSweep([first, second]).limit == first._recovery.limit
    second.done, second.conclusive = True, False
    both = CombinedSweep([first, second])
    assert (both.done, both.conclusive, both.limit) == (True, False, second._recovery.limit)


def test_less_chance_takes_more_tries() -> None:
    tries = [swept(FIRST, (5, 6, 7), most=most, lose=0.2)[0].passes for most in (MAX_CHANCE, MAX_CHANCE / 1000)]
    assert tries[0] < tries[1]


@pytest.mark.parametrize(("flows", "waits"), [(None, False), (4 * len(FIRST), False), (2 * len(FIRST), True)])
def test_the_flows_of_the_one_before_take_room(flows: int | None, waits: bool) -> None:
    first, now = swept(FIRST, flows=flows)
    assert now < 5
    _, ended = swept(SECOND, after=first, begins=now)
    assert (now + 20 < ended < MAX_SECONDS) is waits


def test_a_table_that_is_full_of_both_sweeps_flows_is_known() -> None:
    table = FlowTable(Tracking(1400, FLOW_LIFE))
    first, now = swept(FIRST, table=table)
    second, _ = swept(SECOND, after=first, begins=now, table=table)
    assert first.limit is None
    assert second.open == len(SECOND)
    assert second.limit
    assert second.limit.reason is Reason.FLOW_LIMIT
    assert second.limit.flows
    assert 1000 < second.limit.flows <= 1500
