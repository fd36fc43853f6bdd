"""The sweep over networks that stand in this file: what a path does to probes, and what the schedule makes of it."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field, replace
from typing import Iterator

import pytest

from agent.judge.loss import MAX_CHANCE, upper_bound
from agent.judge.sweep import (
    BATCH,
    BLIND_TRIES,
    MAX_CANARIES,
    MAX_SECONDS,
    MAX_TRIES,
    MIN_CANARIES,
    MIN_TRIES,
    Probe,
    Sweep,
    spread,
)

STEP = 1e-5  # seconds that one turn of a client's loop takes at least


@dataclass(frozen=True)
class Network:
    """A path, and the ports that something on it blocks; times are in seconds."""

    rtt: float = 0.02
    loss: float = 0.0  # each way
    blocked: frozenset[int] = frozenset()
    rate: float = 0.0  # what a policer lets pass a second; 0: none there
    burst: int = 50  # what it lets pass at once
    late: float = 0.0  # the share of answers that come two seconds late
    doubled: bool = False
    outage: float = 0.0  # until then, half of all probes are lost
    stall: tuple[float, float] = (0.0, 0.0)  # answers of that time all come at its end


class Path:
    """A network at work."""

    def __init__(self, network: Network, chance: random.Random) -> None:
        self._network, self._chance = network, chance
        self._tokens, self._filled = float(network.burst), 0.0

    def _polices(self, now: float) -> bool:
        network = self._network
        if not network.rate:
            return False
        self._tokens = min(network.burst, self._tokens + (now - self._filled) * network.rate)
        self._filled = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False

    def answers(self, port: int, now: float) -> Iterator[float]:
        """When the answers to a probe come."""
        network = self._network
        if self._polices(now) or port in network.blocked:
            return
        if self._chance.random() < network.loss or self._chance.random() < network.loss:
            return
        if now < network.outage and self._chance.random() < 0.5:
            return
        at = now + network.rtt + (2.0 if self._chance.random() < network.late else 0.0)
        if network.stall[0] <= at < network.stall[1]:
            at = network.stall[1]
        yield from [at, at + 0.001] if network.doubled else [at]


@dataclass
class Course:
    """A sweep that is over, and what it sent when; `proven` are the ports that had answered when a pass began."""

    sweep: Sweep
    seconds: float
    sent: list[tuple[float, Probe]] = field(default_factory=list)
    proven: list[frozenset[int]] = field(default_factory=list)

    def passes(self) -> list[list[tuple[float, Probe]]]:
        return [[one for one in self.sent if one[1].socket == number] for number in range(len(self.proven))]

    def times(self, port: int) -> list[float]:
        return [at for at, probe in self.sent if probe.port == port]

    def silent(self) -> set[int]:
        return {port for port, answers in self.sweep.answered.items() if not answers}


def run(ports: range, network: Network, seed: int = 1, ceiling: float | None = None) -> Course:
    """What the client's loop does, but in no time."""
    sweep = Sweep(ports, random.Random(seed), network.rtt, 0.0, ceiling=ceiling)
    path = Path(network, random.Random(-seed))
    course = Course(sweep, 0.0)
    coming: list[tuple[float, int]] = []
    now = 0.0
    while not sweep.done:
        assert now < 2 * MAX_SECONDS
        probes = sweep.due(now)
        assert len(probes) <= BATCH
        for probe in probes:
            assert probe.number == len(course.sent)
            if probe.socket == len(course.proven):
                course.proven.append(frozenset(port for port, answers in sweep.answered.items() if answers))
            course.sent.append((now, probe))
            for at in path.answers(probe.port, now):
                heapq.heappush(coming, (at, probe.number))
        if not probes and not sweep.done:
            now = max(now, min([sweep.wake(now), *(at for at, _ in coming[:1])]))
        now += STEP
        while coming and coming[0][0] <= now:
            sweep.answer(heapq.heappop(coming)[1], now)
    course.seconds = now
    return course


PORTS = range(50000, 51000)
HOLE = frozenset(range(50300, 50400)) | {50000, 50777, 50999}
CLEAN = Network()

# Each network with the seconds that a sweep over it may take.
NETWORKS = {
    "clean": (CLEAN, 1.0),
    "far away": (Network(rtt=0.3), 3.0),
    "5 % loss each way": (Network(loss=0.05), 6.0),
    "20 % loss each way and far away": (Network(rtt=0.3, loss=0.2), 30.0),
    "a policer of 300 a second": (Network(rate=300.0), 15.0),
    "late and doubled answers": (Network(late=0.1, doubled=True), 5.0),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_open_port_stays_silent(name: str, seed: int) -> None:
    network, seconds = NETWORKS[name]
    course = run(PORTS, network, seed)
    assert course.silent() == set()
    assert course.sweep.conclusive
    assert course.seconds <= seconds


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_hole_is_silent_and_nothing_else(name: str, seed: int) -> None:
    network, seconds = NETWORKS[name]
    course = run(PORTS, replace(network, blocked=HOLE), seed)
    assert course.silent() == HOLE
    assert course.sweep.conclusive
    assert course.sweep.chance is not None
    assert course.sweep.chance <= MAX_CHANCE
    assert course.seconds <= seconds + 2.0 * MIN_TRIES
    for port in HOLE:
        times = course.times(port)
        assert len(times) >= MIN_TRIES
        assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[1:]))


@pytest.mark.parametrize("name", NETWORKS)
def test_each_pass_has_a_fresh_socket_and_tries_every_silent_port_once(name: str) -> None:
    course = run(PORTS, replace(NETWORKS[name][0], blocked=HOLE))
    passes = course.passes()
    assert [probe.socket for _, probe in course.sent] == [n for n, sent in enumerate(passes) for _ in sent]
    assert sorted(probe.port for _, probe in passes[0]) == list(PORTS)
    for sent, proven in list(zip(passes, course.proven))[1:]:
        tried = sorted(probe.port for _, probe in sent if probe.port not in proven)
        assert tried == sorted(set(PORTS) - proven)


def test_canaries_go_to_ports_already_proven_alone_and_are_mixed_in() -> None:
    course = run(PORTS, Network(loss=0.05, blocked=HOLE))
    for sent, proven in list(zip(course.passes(), course.proven))[1:]:
        canary = [probe.port in proven for _, probe in sent]
        assert MIN_CANARIES <= sum(canary) <= MAX_CANARIES
        half = len(canary) // 2
        assert 0.25 < sum(canary[:half]) / sum(canary) < 0.75


def test_the_first_pass_goes_in_random_order() -> None:
    first = [[probe.port for _, probe in run(PORTS, CLEAN, seed).sent] for seed in (1, 2)]
    assert first[0] != first[1]
    assert first[0] != sorted(first[0])


@pytest.mark.parametrize("network", [Network(blocked=frozenset(PORTS)), Network(loss=1.0)])
def test_everything_silent_takes_more_tries_and_no_canaries(network: Network) -> None:
    course = run(PORTS, network)
    assert course.silent() == set(PORTS)
    assert (course.sweep.tries, len(course.sent)) == (BLIND_TRIES, BLIND_TRIES * len(PORTS))
    assert course.sweep.chance is None
    assert course.sweep.loss == 0.0
    assert course.seconds < 15


def test_behind_a_policer_the_pace_comes_down_to_what_it_lets_pass() -> None:
    course = run(range(50000, 60001), Network(rate=1000.0))
    first = course.passes()[0]
    half = first[len(first) // 2 :]
    rate = (len(half) - 1) / (half[-1][0] - half[0][0])
    assert 500 <= rate <= 1500
    assert course.silent() == set()


def test_a_clean_path_is_climbed_to_ten_thousand_a_second() -> None:
    assert 1.0 <= run(range(50000, 60001), CLEAN).seconds <= 2.0


@pytest.mark.parametrize("holes", [1000, 5000])
def test_a_hole_is_no_reason_to_slow_down(holes: int) -> None:
    # Nor is the chance by which the first rounds meet more or fewer of its ports.
    for seed in range(1, 7):
        course = run(range(50000, 60001), Network(blocked=frozenset(range(50000, 50000 + holes))), seed)
        assert course.passes()[0][-1][0] <= 1.5, seed


@pytest.mark.parametrize("begins", [0.05, 0.2, 0.5])
def test_a_stall_of_a_fifth_of_a_second_is_no_reason_to_slow_down(begins: float) -> None:
    # A busy computer, a radio that sleeps: what comes late was not lost.
    course = run(range(50000, 60001), Network(stall=(begins, begins + 0.2)))
    assert course.seconds <= 2.0
    assert course.silent() == set()


def test_40_percent_loss_each_way_is_inconclusive() -> None:
    course = run(PORTS, Network(loss=0.4, blocked=HOLE))
    assert not course.sweep.conclusive
    assert course.sweep.tries == MAX_TRIES
    assert 0.55 < course.sweep.loss < 0.75  # 0.64 in truth


def test_what_is_not_done_in_time_is_inconclusive() -> None:
    course = run(range(50000, 60001), Network(rate=40.0, blocked=HOLE))
    assert not course.sweep.conclusive
    assert course.seconds == pytest.approx(MAX_SECONDS, abs=0.1)


@pytest.mark.parametrize("open_ports", [0, 1, 2, 3])
def test_few_ports(open_ports: int) -> None:
    blocked = frozenset(range(50000 + open_ports, 50003))
    course = run(range(50000, 50003), Network(blocked=blocked))
    assert course.silent() == blocked
    assert course.sweep.conclusive
    assert course.sweep.tries == (1 if not blocked else MIN_TRIES if open_ports else BLIND_TRIES)
    if not blocked:
        assert course.seconds < 0.1


@pytest.mark.parametrize("ports", [1, 2])
def test_few_open_ports_on_a_bad_path_are_not_called_silent(ports: int) -> None:
    # Nothing else is open, so nothing measures the loss while they are silent.
    courses = [run(range(50000, 50000 + ports), Network(loss=0.2), seed) for seed in range(400)]
    wrong = [seed for seed, course in enumerate(courses) if course.sweep.conclusive and course.silent()]
    assert len(wrong) <= 2


def test_a_ceiling_holds_from_the_first_probe_to_the_last() -> None:
    course = run(PORTS, Network(blocked=frozenset(range(50300, 50400))), ceiling=200.0)
    assert course.silent() == set(range(50300, 50400))
    times = [at for at, _ in course.sent]
    assert max(sum(1 for at in times if since <= at < since + 1) for since in times[::50]) <= 205


def test_no_ports_are_done_at_once() -> None:
    sweep = Sweep([], random.Random(1), 0.02, 0.0)
    assert (sweep.done, sweep.conclusive, sweep.due(0.0), sweep.chance) == (True, True, [], None)


def test_an_answer_counts_once_and_however_late() -> None:
    sweep = Sweep([7], random.Random(1), 0.02, 0.0)
    (first,) = sweep.due(0.0)
    assert sweep.due(0.01) == []
    (second,) = sweep.due(2.0)
    assert (second.port, second.socket) == (7, 1)
    for now in (2.1, 2.2):
        sweep.answer(first.number, now)
    assert (sweep.open, sweep.answered, sweep.sent, sweep.rtts) == (1, {7: 1}, {7: 2}, [2.1])
    sweep.answer(second.number, 2.3)
    assert (sweep.open, sweep.answered) == (1, {7: 2})


def test_answers_end_the_wait_for_them() -> None:
    sweep = Sweep([7, 8], random.Random(1), 0.02, 0.0)
    probes = sweep.due(0.0) + sweep.due(0.002)
    for probe in probes:
        sweep.answer(probe.number, 0.03)
    assert sweep.due(0.03) == []
    assert sweep.done


def test_the_time_that_is_left_is_told_about_right() -> None:
    sweep = Sweep(PORTS, random.Random(1), 0.02, 0.0)
    told: list[tuple[float, float]] = []
    now = 0.0
    while not sweep.done:
        if not sweep.due(now):
            now = max(now, sweep.wake(now))
        now += STEP
        if sweep.tries > 1:
            told.append((now, sweep.left()))
    assert max(abs(at + left - now) for at, left in told) < 1.5


def test_chance_is_what_all_ports_expect_of_every_pass() -> None:
    course = run(PORTS, Network(blocked=HOLE))
    sweep = course.sweep
    none_lost = upper_bound(0, MIN_CANARIES)
    first = upper_bound(0, sweep.open)
    assert first < none_lost  # then the worst of the other passes stands for the first
    assert sweep.chance == pytest.approx(len(PORTS) * none_lost ** (sweep.tries - 1) * none_lost)
    assert sweep.loss == pytest.approx(upper_bound(0, MIN_CANARIES * (sweep.tries - 1)))


def test_a_first_pass_worse_than_the_others_counts_as_it_was() -> None:
    course = run(PORTS, Network(blocked=HOLE, outage=0.5))
    sweep = course.sweep
    late = len(set(PORTS) - HOLE - course.proven[1])
    assert 0.3 < late / len(PORTS) < 0.6
    expected = len(PORTS) * upper_bound(0, MIN_CANARIES) ** (sweep.tries - 1) * upper_bound(late, sweep.open)
    assert sweep.chance == pytest.approx(expected)


@pytest.mark.parametrize("wanted", [0, 1, 3, 100])
def test_canaries_are_spread_evenly(wanted: int) -> None:
    drawn = spread([1, 2, 3, 4, 5, 6, 7], wanted, random.Random(1))
    counts = [drawn.count(port) for port in range(1, 8)]
    assert sum(counts) == wanted
    assert max(counts) - min(counts) <= 1


# Wilson's score interval at 95 %, upper end, as any statistics package gives it.
@pytest.mark.parametrize(
    ("lost", "sent", "bound"),
    [
        (0, 0, 1.0), (0, 1, 0.7935), (1, 1, 1.0), (0, 10, 0.2775), (1, 10, 0.4042), (5, 10, 0.7634),
        (0, 100, 0.0370), (10, 100, 0.1744), (0, 400, 0.0095), (400, 400, 1.0),
    ],
)  # fmt: skip
def test_the_loss_that_canaries_bound(lost: int, sent: int, bound: float) -> None:
    assert upper_bound(lost, sent) == pytest.approx(bound, abs=1e-4)
