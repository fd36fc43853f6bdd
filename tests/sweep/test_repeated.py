"""Probes to a few ports, asked again until they answer: how many, how fast, and when it is over."""

from __future__ import annotations

from typing import Container

import pytest

from agent.sweep.repeated import RepeatedProbes


def play(schedule: RepeatedProbes, answering: Container[int] = (), after: float = 0.05) -> list[tuple[float, int]]:
    """Return when each port was asked; those that answer do so some time after each probe."""
    asked: list[tuple[float, int]] = []
    coming: list[tuple[float, int]] = []
    now = 100.0
    while not schedule.done:
        for probe in schedule.probes_to_send(now):
            assert probe.number == len(asked)
            assert probe.socket == -1
            asked.append((now, probe.port))
            if probe.port in answering:
                coming.append((now + after, probe.number))
        now = min([schedule.next_timer(now), *(at for at, _ in coming)]) + 1e-9
        for at, number in list(coming):
            if at <= now:
                coming.remove((at, number))
                schedule.on_answer(number, now)
    asked.append((now, 0))
    return asked


def test_silent_ports_are_asked_eight_times_with_a_pause_and_the_last_answer_is_waited_for() -> None:
    schedule = RepeatedProbes([7, 9], 100.0, timeout=0.25, rate=6400.0)
    asked = play(schedule)
    assert [port for _, port in asked] == [7, 9] * 8 + [0]
    times = sorted({at for at, _ in asked})
    assert [later - earlier for earlier, later in zip(times, times[1:])] == pytest.approx([0.25] * 8, abs=1e-6)
    assert schedule.silent == {7, 9}


def test_what_answers_is_asked_no_more_and_ends_it() -> None:
    schedule = RepeatedProbes([7, 9], 100.0, timeout=0.25, rate=6400.0, tries=3)
    assert [port for _, port in play(schedule, {7})] == [7, 9, 9, 9, 0]
    assert schedule.silent == {9}
    schedule = RepeatedProbes([7, 9], 100.0, timeout=0.25, rate=6400.0)
    assert play(schedule, {7, 9})[-1][0] == pytest.approx(100.05, abs=1e-6)
    assert schedule.silent == frozenset()


def test_an_answer_counts_however_late() -> None:
    schedule = RepeatedProbes([7], 100.0, timeout=0.25, rate=6400.0)
    assert [port for _, port in play(schedule, {7}, after=0.6)] == [7, 7, 7, 0]
    assert schedule.silent == frozenset()


@pytest.mark.parametrize(("rate", "batch"), [(6400.0, 32), (1000.0, 5), (200.0, 1), (5.0, 1), (0.5, 1)])
def test_no_more_a_second_than_it_may(rate: float, batch: int) -> None:
    schedule = RepeatedProbes(range(1, 41), 100.0, timeout=0.25, rate=rate, tries=1)
    times = [at for at, _ in play(schedule)]
    assert times[batch] - times[0] == pytest.approx(batch / rate, abs=1e-6)
    assert max(times.count(at) for at in times) == batch
    assert times[-2] - times[0] == pytest.approx((40 - 1) // batch * batch / rate, abs=1e-4)


def test_a_slow_rate_holds_from_one_time_to_the_next() -> None:
    times = [at for at, _ in play(RepeatedProbes([7], 100.0, timeout=0.25, rate=2.0, tries=3))]
    assert times == pytest.approx([100.0, 100.5, 101.0, 101.5], abs=1e-6)


def test_no_ports_are_done_at_once() -> None:
    schedule = RepeatedProbes([], 100.0, timeout=0.25, rate=6400.0)
    assert (schedule.done, schedule.probes_to_send(100.0), schedule.silent) == (True, [], frozenset())
