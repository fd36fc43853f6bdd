from __future__ import annotations

import math
from typing import Sequence

import pytest

from agent.judge.pace import FLOOR_RATE, MIN_ROUND, SILENT_RATE, START_RATE, TOP_RATE, Pace

ROUND, WAIT, PATIENCE = 0.1, 0.05, 0.25  # seconds


def rates(shares: Sequence[float], judge: bool = True, ceiling: float = math.inf) -> list[float]:
    """The rates after rounds of which these shares are answered."""
    pace, now = Pace(0.0, ROUND, WAIT, PATIENCE, ceiling), 0.0
    found: list[float] = []
    for share in shares:
        sent = 0
        while not pace.round_is_full:
            now = max(now, pace.next_at())
            allowed = pace.allowance(now)
            sent += allowed
            for _ in range(allowed):
                pace.send(now)
            now += 1e-6
        for _ in range(round(share * sent)):
            pace.answer(pace.round)
        now = pace.doubts_until(now + WAIT) if judge else now + WAIT
        pace.next_round(now, judge)
        found.append(round(pace.rate))
    return found


FAST = [4 * START_RATE, TOP_RATE, TOP_RATE]


@pytest.mark.parametrize(
    ("fault", "shares", "expected"),
    [
        ("none", [1, 1, 1], FAST),
        ("half of the ports are blocked", [0.5, 0.5, 0.5], FAST),
        ("all but a few ports are blocked", [0.02, 0.02, 0.02], FAST),
        ("chance, within what chance does", [0.5, 0.46, 0.5], FAST),
        ("everything is blocked", [0, 0, 0], [SILENT_RATE] * 3),
        ("a limit of 1,000 a second", [1, 0.25, 1, 1], [4000, 858, 944, 1038]),
        ("a limit that gets narrower", [1, 0.25, 0.5, 1], [4000, 858, 368, 405]),
        ("all is shut out at once", [1, 0, 0, 0], [4000, FLOOR_RATE, FLOOR_RATE, FLOOR_RATE]),
    ],
)
def test_a_rate_that_the_share_of_answers_teaches(fault: str, shares: list[float], expected: list[float]) -> None:
    assert rates(shares) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("ceiling", "shares", "expected"),
    [
        (20_000, [1, 1, 1], FAST),
        (2_000, [1, 1, 1], [2000] * 3),
        (2_000, [0, 0, 0], [2000] * 3),
        (200, [1, 1, 1], [200] * 3),
        (20, [1, 0, 0, 1], [20] * 4),
    ],
)
def test_a_rate_under_a_ceiling(ceiling: float, shares: list[float], expected: list[float]) -> None:
    assert rates(shares, ceiling=ceiling) == expected
    assert Pace(0.0, ROUND, WAIT, PATIENCE, ceiling).rate <= ceiling


def test_later_passes_keep_the_rate() -> None:
    assert rates([1, 0.1, 1], judge=False) == [START_RATE] * 3


def test_a_round_is_judged_only_when_its_answers_had_time_to_come() -> None:
    pace = Pace(0.0, ROUND, WAIT, PATIENCE)
    for _ in range(MIN_ROUND):
        pace.send(0.1)
    pace.next_round(0.1, judge=True)
    assert pace.rate == START_RATE
    for _ in range(MIN_ROUND):
        pace.answer(0)
    pace.next_round(0.1 + WAIT, judge=True)
    assert pace.rate == 4 * START_RATE


def test_a_limit_is_blamed_once_and_not_for_rounds_sent_before_it_showed() -> None:
    pace = Pace(0.0, ROUND, WAIT, PATIENCE)
    for number, answered in enumerate((100, 25, 5)):  # sent one behind the other, before any of them is judged
        for _ in range(MIN_ROUND):
            pace.send(0.1 * number)
        for _ in range(answered):
            pace.answer(number)
        pace.next_round(0.1 * number, judge=False)
    pace.next_round(1.0, judge=True)
    assert pace.rate == pytest.approx(0.85 * START_RATE / 4, rel=0.02)
    assert not pace.climbing


def test_probes_are_spread_over_their_round() -> None:
    pace = Pace(0.0, ROUND, WAIT, PATIENCE)
    assert pace.allowance(0.0) == 1
    pace.send(0.0)
    assert pace.allowance(0.0) == 0
    assert pace.next_at() == pytest.approx(1 / START_RATE)
    assert pace.allowance(0.01) == 10
    assert pace.allowance(10.0) == MIN_ROUND - 1
    for _ in range(MIN_ROUND - 1):
        pace.send(0.1)
    assert pace.round_is_full
    assert pace.allowance(10.0) == 0


def test_it_climbs_until_the_top_or_a_limit() -> None:
    pace = Pace(0.0, ROUND, WAIT, PATIENCE)
    assert pace.climbing
    pace.rate = SILENT_RATE
    assert not pace.climbing  # nothing has come back yet
    pace.answer(0)
    assert pace.climbing
    pace.rate = TOP_RATE
    assert not pace.climbing


def send_round(pace: Pace, now: float, answered: int) -> None:
    while not pace.round_is_full:
        pace.send(now)
    for _ in range(answered):
        pace.answer(pace.round)


def test_a_round_that_looks_fallen_is_waited_for_before_it_is_judged() -> None:
    pace = Pace(0.0, ROUND, WAIT, PATIENCE)
    send_round(pace, 0.1, MIN_ROUND)
    pace.next_round(0.2, judge=True)
    rate = pace.rate
    send_round(pace, 0.3, 0)
    assert pace.doubts_until(0.31) == 0.31  # its answers are still under way
    assert pace.doubts_until(0.4) == pytest.approx(0.3 + PATIENCE)
    assert pace.doubts_until(0.6) <= 0.6
    send_round(pace, 0.3, int(rate * ROUND))  # they were late
    assert pace.doubts_until(0.4) == 0.4
    pace.next_round(0.4, judge=True)
    assert pace.rate > rate
