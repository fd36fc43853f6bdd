"""The sweep over small networks: the order and the times of its probes, its tries, and what makes it sure."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Sequence

import pytest

from agent.sweep.loss import upper_bound
from agent.sweep.passes import spread
from agent.sweep.sweep import Sweep
from tests.sweep.course import Network, run

# The limits, by their numbers.
MAX_CHANCE = 0.001
BLIND_TRIES = 5
BLIND_TRIES_OF_FEW = 7
FEW = 100
FLOWS_EACH = 12
MAX_CANARIES = 400
MIN_CANARIES = 100
MIN_TRIES = 3
BUDGET_GAP = 1.0
EARLY = 0.5
EARLY_GAP = 0.25
FIRST = 0.01
GAP = 0.04
KEEP_ALIVE = 60.0
LOST = 0.18
OVERDUE = 20.0
FLOOR_RATE = 50.0
SILENT_RATE = 4000.0
START_RATE = 1000.0
TOP_RATE = 20000.0
HEARTBEAT = 1.0
CATCH_UP = 0.02
BATCH = 32
CANARY_EVERY = 10
FIRST_SOCKETS = 4
MIN_PROVEN = 10
PROBES_EACH = 20
GENTLE = 20
MAX_SECONDS = 180.0
MAX_TRIES = 30
PASS_GAP = 1.0
PASS_REST = 0.45

PORTS, ALL = range(50000, 51000), range(50000, 60001)
HOLE = frozenset(range(50300, 50400)) | {50000, 50777, 50999}
LARGE_HOLE = frozenset(range(53000, 54000))
CLEAN = Network()
BLIND = Network(blocked=frozenset(PORTS))

# Each network with the seconds that a sweep over it may take, without and with a hole.
NETWORKS = {
    "clean": (CLEAN, 0.6, 4.0),
    "far away": (Network(rtt=0.3), 3.0, 6.0),
    "5 % loss each way": (Network(loss=0.05), 8.0, 10.0),
    "20 % loss each way": (Network(loss=0.2), 10.0, 20.0),
    "20 % loss each way and far away": (Network(rtt=0.3, loss=0.2), 15.0, 22.0),
    "a policer of 300 a second": (Network(rate=300.0), 10.0, 15.0),
    "a policer of 300 a second with a short queue": (Network(rate=300.0, burst=5), 16.0, 20.0),
    "a policer of 100 a second with a short queue": (Network(rate=100.0, burst=5), 30.0, 45.0),
    "late and doubled answers": (Network(late=0.1, doubled=True), 6.0, 8.0),
}
EACH = [(name, seed) for name in NETWORKS for seed in (1, 2)]


@pytest.mark.parametrize(("name", "seed"), EACH)
def test_no_open_port_stays_silent(name: str, seed: int) -> None:
    network, seconds, _ = NETWORKS[name]
    course = run(PORTS, network, seed)
    assert course.silent() == set()
    assert course.sweep.conclusive
    assert course.seconds <= seconds


@pytest.mark.parametrize(("name", "seed"), EACH)
def test_a_hole_is_silent_and_nothing_else(name: str, seed: int) -> None:
    network, _, seconds = NETWORKS[name]
    course = run(PORTS, replace(network, blocked=HOLE), seed)
    assert course.silent() == HOLE
    assert course.sweep.conclusive
    assert course.sweep.chance is not None
    assert course.sweep.chance <= MAX_CHANCE
    assert course.seconds <= seconds
    assert min(len(course.times(port)) for port in HOLE) >= MIN_TRIES


@pytest.mark.parametrize("name", NETWORKS)
def test_tries_of_one_port_are_apart_and_so_are_the_starts_of_passes(name: str) -> None:
    course = run(PORTS, replace(NETWORKS[name][0], blocked=HOLE))
    for port in HOLE:
        times = course.times(port)
        assert all(later - earlier >= PASS_REST for earlier, later in zip(times, times[1:]))
    passes = [course.of_pass(tries + 1) for tries in range(course.sweep.passes)]
    for one, following in zip(passes, passes[1:]):
        assert following[0].at - one[0].at >= PASS_GAP - 0.01
        assert following[0].at - one[-1].at >= PASS_REST


def test_a_pass_begins_as_soon_as_it_may() -> None:
    passes = [run(PORTS, Network(blocked=HOLE)).of_pass(tries) for tries in (1, 2, 3)]
    for one, following in zip(passes, passes[1:]):
        assert following[0].at <= max(one[0].at + PASS_GAP, one[-1].at + PASS_REST) + 0.01


@pytest.mark.parametrize("name", NETWORKS)
def test_each_pass_tries_every_silent_port_once(name: str) -> None:
    course = run(PORTS, replace(NETWORKS[name][0], blocked=HOLE))
    for tries, proven in enumerate(course.proven[1:], 2):
        tried = sorted(one.probe.port for one in course.of_pass(tries) if one.probe.port not in proven)
        assert tried == sorted(set(PORTS) - proven)
    first = Counter(one.probe.port for one in course.of_pass(1))
    assert set(first) == set(PORTS)
    assert {first[port] for port in HOLE} == {1}


@pytest.mark.parametrize("name", ["clean", "20 % loss each way and far away", "late and doubled answers"])
def test_each_pass_has_a_fresh_socket(name: str) -> None:
    course = run(PORTS, replace(NETWORKS[name][0], blocked=HOLE))
    used = {one.probe.socket for one in course.of_pass(1)}
    assert used <= set(range(FIRST_SOCKETS + 1))
    for tries in range(2, course.sweep.passes + 1):
        (socket,) = {one.probe.socket for one in course.of_pass(tries)}
        assert socket not in used
        used.add(socket)


def test_the_first_probes_come_from_several_sockets_in_turn_and_the_others_from_one_that_was_heard() -> None:
    course = run(PORTS, Network(dead=frozenset({0, 1, 3})))
    sockets = [one.probe.socket for one in course.of_pass(1)]
    mixed = FIRST_SOCKETS * PROBES_EACH
    assert sockets[:mixed] == [number % FIRST_SOCKETS for number in range(mixed)]
    assert set(sockets[mixed:]) == {2}
    assert course.silent() == set()
    assert course.sweep.limit is None


@pytest.mark.parametrize("network", [BLIND, Network(rtt=0.3, blocked=HOLE)])
def test_until_one_was_heard_the_first_pass_has_a_socket_of_its_own(network: Network) -> None:
    sockets = [one.probe.socket for one in run(PORTS, network).of_pass(1)]
    assert sockets[FIRST_SOCKETS * PROBES_EACH] == FIRST_SOCKETS


def test_a_dead_source_port_is_given_up_for_one_that_passes() -> None:
    dead = FIRST_SOCKETS + 1  # the second pass's
    half = frozenset(ALL[:5000])
    course = run(ALL, Network(blocked=half, dead=frozenset({dead})))
    sockets = [one.probe.socket for one in course.of_pass(2)]
    assert sockets[0] == dead
    assert sockets.count(dead) < len(sockets) / 2
    assert len(set(sockets)) == 2
    assert course.silent() == half
    assert (course.sweep.conclusive, course.sweep.limit) == (True, None)


@pytest.mark.parametrize(
    ("ports", "canaries"), [(PORTS, MIN_CANARIES), (range(50000, 55000), 200), (range(40000, 55000), 400)]
)
def test_canaries_go_to_ports_already_proven_alone_and_are_mixed_in(ports: range, canaries: int) -> None:
    assert MIN_CANARIES <= canaries <= MAX_CANARIES
    course = run(ports, Network(loss=0.05, blocked=HOLE))
    for tries, proven in enumerate(course.proven[1:], 2):
        is_canary = [one.probe.port in proven for one in course.of_pass(tries)]
        assert sum(is_canary) == canaries
        half = len(is_canary) // 2
        assert 0.25 < sum(is_canary[:half]) / canaries < 0.75
        assert set(Counter(one.probe.port for one in course.of_pass(tries)).values()) == {1}  # each but once


def test_canaries_to_a_lone_open_port_are_each_a_flow_of_its_own() -> None:
    course = run(range(1, 4), Network(blocked=frozenset({1, 3})))
    assert len(course.times(2)) == 1 + FLOWS_EACH * (course.sweep.passes - 1)
    assert len({one.probe.socket for one in course.sent if one.probe.port == 2}) == len(course.times(2))


@pytest.mark.parametrize(("blocked", "least", "most"), [(0, 0.0, 0.03), (500, 0.08, 0.1), (20, 0.0, 0.03)])
def test_canaries_in_the_first_pass_where_not_every_port_answers(blocked: int, least: float, most: float) -> None:
    ports = range(50000, 52000)
    first = run(ports, Network(blocked=frozenset(random.Random(1).sample(ports, blocked)))).of_pass(1)
    extra = len(first) - len(ports)
    assert least <= extra / len(first) <= most
    seen: set[int] = set()
    for number, one in enumerate(first):
        if one.probe.port in seen:
            assert number % CANARY_EVERY == 0
            assert number > MIN_PROVEN
        seen.add(one.probe.port)


def test_the_first_pass_goes_in_random_order() -> None:
    first = [[one.probe.port for one in run(PORTS, CLEAN, seed).of_pass(1)] for seed in (1, 2)]
    assert first[0] != first[1]
    assert first[0][:BATCH] != sorted(first[0][:BATCH])


def test_the_ends_of_ranges_come_first() -> None:
    ports, ends = [1, 2, 3, 4, 7, 9, 10, 11, *range(20, 40)], [1, 4, 7, 9, 11, 20, 39]
    orders = []
    for seed in range(20):
        sweep = Sweep(ports, random.Random(seed), 0.02, 0.0)
        orders.append([probe.port for n in range(len(ports)) for probe in sweep.probes_to_send(n / 1000)])
        assert sorted(orders[-1][: len(ends)]) == ends
        assert sorted(orders[-1]) == ports
    assert len({tuple(order[: len(ends)]) for order in orders}) > 10


# Pace


@pytest.mark.parametrize("blocked", [frozenset[int](), LARGE_HOLE, frozenset(ALL)], ids=["open", "hole", "blind"])
@pytest.mark.parametrize("network", [CLEAN, Network(rtt=0.3), Network(rate=3000.0), Network(late=0.1, doubled=True)])
def test_the_pace_is_never_above_the_top_rate(network: Network, blocked: frozenset[int]) -> None:
    course = run(ALL if len(blocked) < len(ALL) else ALL[:5000], replace(network, blocked=blocked))
    assert course.most_within(0.1) <= TOP_RATE * 0.1 + BATCH


def test_a_clean_path_is_climbed_to_the_top_rate() -> None:
    course = run(ALL, CLEAN)
    assert course.seconds <= 1.0
    assert course.most_within(0.1) > 0.8 * TOP_RATE * 0.1


@pytest.mark.parametrize("holes", [1000, 5000])
def test_a_hole_is_no_reason_to_slow_down(holes: int) -> None:
    # Nor is the chance by which the first rounds meet more or fewer of its ports.
    for seed in (1, 2):
        course = run(ALL, Network(blocked=frozenset(range(50000, 50000 + holes))), seed)
        assert course.of_pass(1)[-1].at <= 1.2, seed
        assert course.sweep.limit is None


@pytest.mark.parametrize(
    ("max_rate", "ports"), [(200.0, PORTS), (20.0, range(50000, 50200)), (5.0, range(50000, 50040))]
)
def test_a_ceiling_holds_from_the_first_probe_to_the_last(max_rate: float, ports: range) -> None:
    blocked = frozenset({ports[0]})
    course = run(ports, Network(blocked=blocked), max_rate=max_rate)
    assert course.most_within(10.0) <= 10 * max_rate + 1
    assert course.most_within(1.0) <= max_rate + 1
    assert course.silent() == blocked
    assert course.sweep.conclusive


def test_a_shut_path_is_not_probed_faster_than_the_ceiling_either() -> None:
    course = run(PORTS, Network(outage=(3.0, 40.0)), max_rate=10.0)
    assert any(one.shut for one in course.sent)
    assert course.most_within(1.0) <= 11


@pytest.mark.parametrize("late", [0.1, 1.0, 1.9])
def test_what_a_busy_computer_held_up_is_not_sent_in_one_burst(late: float) -> None:
    sweep = Sweep(ALL, random.Random(1), 0.3, 0.0)
    sweep.probes_to_send(0.0)
    assert sum(len(sweep.probes_to_send(late)) for _ in range(100)) <= START_RATE * CATCH_UP + 1


def test_who_sets_a_ceiling_has_the_time_that_it_takes() -> None:
    course = run(ALL, Network(blocked=LARGE_HOLE), max_rate=50.0)
    assert course.seconds > MAX_SECONDS
    assert course.silent() == LARGE_HOLE
    assert course.sweep.conclusive
    slow = run(range(50000, 50400), Network(loss=0.45), max_rate=2.0)
    assert slow.seconds == pytest.approx(MAX_SECONDS + 4 * 400 / 2, abs=1)


def test_what_is_not_done_in_time_is_inconclusive() -> None:
    course = run(ALL, Network(rate=40.0))
    assert not course.sweep.conclusive
    assert course.seconds == pytest.approx(MAX_SECONDS, abs=0.1)
    assert course.silent()


# What makes it sure


def test_where_every_port_answered_it_is_over() -> None:
    course = run(ALL, CLEAN)
    assert (course.sweep.passes, course.sweep.open, course.sweep.chance) == (1, len(ALL), None)


def test_chance_is_what_all_ports_expect_of_every_pass() -> None:
    sweep = run(PORTS, Network(blocked=HOLE)).sweep
    bounds = upper_bound(0, sweep.open) * upper_bound(0, MIN_CANARIES) ** (sweep.passes - 1)
    assert sweep.chance == pytest.approx(len(PORTS) * bounds)
    assert sweep.loss == pytest.approx(upper_bound(0, MIN_CANARIES * (sweep.passes - 1)))


def test_a_first_pass_worse_than_the_others_counts_as_it_was() -> None:
    course = run(PORTS, Network(blocked=HOLE, outage=(0.05, 0.1)))
    sweep = course.sweep
    late = len(set(PORTS) - HOLE - course.proven[1])
    assert late > 20
    assert sweep.limit is None
    bounds = upper_bound(late, sweep.open) * upper_bound(0, MIN_CANARIES) ** (sweep.passes - 1)
    assert sweep.chance == pytest.approx(len(PORTS) * bounds)


def test_tries_go_on_until_the_chance_is_small() -> None:
    for loss in (0.05, 0.2):
        course = run(PORTS, Network(loss=loss, blocked=HOLE))
        chance = course.sweep.chance or 1.0
        assert chance <= MAX_CHANCE < chance / (loss * (2 - loss))


def test_40_percent_loss_each_way_is_inconclusive() -> None:
    course = run(PORTS, Network(loss=0.4, blocked=HOLE))
    assert not course.sweep.conclusive
    assert course.sweep.passes == MAX_TRIES
    assert 0.55 < course.sweep.loss < 0.75  # 0.64 in truth
    assert course.sweep.limit is None


@pytest.mark.parametrize("seed", [1, 2])
def test_loss_that_rises_in_the_middle_is_no_limit(seed: int) -> None:
    course = run(ALL, Network(loss=0.2, lossy_from=0.4, blocked=HOLE), seed)
    assert course.silent() == HOLE
    assert (course.sweep.conclusive, course.sweep.limit) == (True, None)
    assert course.seconds <= 22.0


def test_what_was_lost_while_this_process_did_not_run_is_no_loss_of_the_path() -> None:
    # All of the second pass, which the computer's sleep makes void.
    sweep = run(PORTS, Network(blocked=HOLE, outage=(0.9, 1.3), sleep=(1.3, 60.0))).sweep
    assert sweep.loss == pytest.approx(upper_bound(0, MIN_CANARIES * (sweep.passes - 2)))


def test_without_a_canary_there_is_no_loss() -> None:
    assert run(ALL, CLEAN).sweep.loss == 0.0
    assert run(PORTS, BLIND).sweep.loss == 0.0


@pytest.mark.parametrize("open_ports", [0, 1, 2, 3])
def test_few_ports(open_ports: int) -> None:
    blocked = frozenset(range(50000 + open_ports, 50003))
    course = run(range(50000, 50003), Network(blocked=blocked))
    assert course.silent() == blocked
    assert course.sweep.conclusive
    assert course.sweep.passes == [BLIND_TRIES_OF_FEW, 7, 5, 1][open_ports]  # fewer canaries take more passes
    if not blocked:
        assert course.seconds < 0.1


@pytest.mark.parametrize("ports", [1, 2])
def test_few_open_ports_on_a_bad_path_are_not_called_silent(ports: int) -> None:
    # Nothing else is open, so nothing but pings measures the loss while they are silent.
    courses = [run(range(50000, 50000 + ports), Network(loss=0.2), seed) for seed in range(200)]
    wrong = [seed for seed, course in enumerate(courses) if course.sweep.conclusive and course.silent()]
    assert len(wrong) <= 1


# While no port answers


@pytest.mark.parametrize(("ports", "tries"), [(PORTS, BLIND_TRIES), (range(50000, 50000 + FEW), BLIND_TRIES_OF_FEW),
                                              (range(50000, 50001 + FEW), BLIND_TRIES)])  # fmt: skip
def test_where_no_port_answers_pongs_tell_of_the_path(ports: range, tries: int) -> None:
    course = run(ports, BLIND)
    assert course.silent() == set(ports)
    assert (course.sweep.conclusive, course.sweep.passes) == (True, tries)
    assert len(course.sent) == tries * len(ports)  # no canary among them
    assert course.sweep.chance == pytest.approx(upper_bound(0, len(course.pings)) ** tries, rel=0.5)
    assert course.seconds < 8.0


def test_a_dead_control_channel_leaves_all_open() -> None:
    course = run(PORTS[:300], replace(BLIND, pong=None))
    assert (course.sweep.conclusive, course.sweep.chance, course.sweep.passes) == (False, None, MAX_TRIES)
    assert len(course.pings) == 1


@pytest.mark.parametrize(("slow", "least"), [(0.2, BLIND_TRIES + 1), (0.5, 10)])
def test_pongs_that_were_repeated_ask_for_more_tries(slow: float, least: int) -> None:
    course = run(PORTS[:300], replace(BLIND, slow_pongs=slow))
    assert course.sweep.conclusive
    assert course.sweep.passes >= least
    assert (course.sweep.chance or 1.0) <= MAX_CHANCE


def test_pongs_that_all_come_late_prove_nothing() -> None:
    course = run(PORTS[:300], replace(BLIND, pong=LOST + 0.01))
    assert (course.sweep.conclusive, course.sweep.chance) == (False, None)


def test_while_no_port_answers_pings_go_one_after_the_other() -> None:
    course = run(PORTS, BLIND)
    gaps = [later - earlier for earlier, later in zip(course.pings, course.pings[1:])]
    assert min(gaps) >= BLIND.rtt + GAP - 1e-9
    assert sorted(gaps)[len(gaps) // 2] <= BLIND.rtt + GAP + 0.01


def test_while_ports_answer_a_ping_a_minute_keeps_the_channel_alive() -> None:
    course = run(ALL, Network(rate=40.0))
    late = course.of_pass(2)[0].at
    times = [0.0, *(at for at in course.pings if 1.0 < at < late)]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert len(gaps) >= 2
    assert all(KEEP_ALIVE <= gap <= KEEP_ALIVE + HEARTBEAT + 0.2 for gap in gaps)
    assert len([at for at in course.pings if at <= 1.0]) <= 2  # until the first port answered


def test_the_first_ping_is_early_and_comes_behind_some_probes() -> None:
    for network in (Network(), BLIND):
        course = run(PORTS, network)
        assert FIRST <= course.pings[0] < 2 * FIRST
        assert len([one for one in course.of_pass(1) if one.at < course.pings[0]]) > 5


def test_each_pass_begins_with_pings_that_ask_where_its_probes_came_from() -> None:
    course = run(PORTS, Network(blocked=HOLE))
    assert course.sweep.passes > 2
    for tries in range(1, course.sweep.passes + 1):
        began = course.of_pass(tries)[0].at
        early = [at for at in course.pings if began <= at < began + EARLY]
        assert early[0] < began + 2 * FIRST
        assert len(early) <= EARLY / EARLY_GAP


def test_a_ping_that_confirms_something_goes_at_once() -> None:
    sweep = Sweep(PORTS, random.Random(1), 0.02, 0.0)
    sweep.probes_to_send(0.0)
    sweep.on_answer(0, 0.01)
    assert sweep.wants_ping(0.02)
    sweep.on_ping_sent(0.02)
    sweep.hurry_ping()
    assert not sweep.wants_ping(0.03)  # that one is under way
    sweep.on_pong(0.03)
    assert sweep.wants_ping(0.03)
    sweep.on_ping_sent(0.03)
    sweep.on_pong(0.04)
    assert not sweep.wants_ping(0.05)


def test_who_shares_the_server_asks_for_his_share_every_second() -> None:
    for share, asks in ((None, False), (200.0, True)):
        sweep = Sweep(ALL, random.Random(1), 0.02, 0.0)
        sweep.probes_to_send(0.0)
        sweep.on_answer(0, 0.01)
        sweep.on_ping_sent(EARLY)
        sweep.on_pong(EARLY + 0.01, rate=share)
        assert not sweep.wants_ping(EARLY + 0.01 + BUDGET_GAP - 0.01)
        assert sweep.wants_ping(EARLY + 0.01 + BUDGET_GAP) is asks
        sent = sum(len(sweep.probes_to_send(1.0 + step / 100)) for step in range(200))
        assert sent > 1000 if share is None else 390 <= sent <= 420


def test_a_group_of_each_blind_pass_goes_as_slowly_as_it_gets() -> None:
    course = run(PORTS, BLIND)
    for tries in range(2, course.sweep.passes + 1):
        times = [one.at for one in course.of_pass(tries)]
        gentle = [later - earlier for earlier, later in zip(times, times[1:GENTLE])]
        assert gentle == pytest.approx([1 / FLOOR_RATE] * (GENTLE - 1), abs=0.001)
        assert times[GENTLE + 1] - times[GENTLE] < 0.5 / FLOOR_RATE
    assert course.of_pass(1)[GENTLE].at < 0.1  # not the first, where ports may answer yet


@pytest.mark.parametrize(("ports", "gentle"), [(range(50000, 50007), 7), (PORTS, GENTLE)])
def test_the_slow_group_is_no_more_than_there_is(ports: range, gentle: int) -> None:
    times = [one.at for one in run(ports, BLIND).of_pass(2)]
    assert times[gentle - 1] - times[0] == pytest.approx((gentle - 1) / FLOOR_RATE, abs=0.01)


def test_pongs_make_a_blind_sweep_fast() -> None:
    ports = range(50000, 54000)
    course = run(ports, Network(blocked=frozenset(ports)))
    times = [one.at for one in course.of_pass(1)]
    assert times[-1] - times[0] >= 4000 / SILENT_RATE
    assert course.most_within(0.1) > 0.8 * TOP_RATE * 0.1
    assert course.seconds < 8.0


@pytest.mark.parametrize("pong", [None, LOST + 0.01])
def test_without_pongs_in_time_a_blind_sweep_stays_slow(pong: float | None) -> None:
    ports = range(50000, 50800)
    course = run(ports, Network(blocked=frozenset(ports), pong=pong))
    assert course.most_within(0.1) <= SILENT_RATE * 0.1 + BATCH


def test_a_port_that_answers_late_ends_the_blindness() -> None:
    course = run(PORTS, Network(blocked=HOLE, outage=(0.0, 1.5)))
    assert course.silent() == HOLE
    assert course.sweep.conclusive


# Calls


def test_no_ports_are_done_at_once() -> None:
    sweep = Sweep([], random.Random(1), 0.02, 0.0)
    assert (sweep.done, sweep.conclusive, sweep.probes_to_send(0.0), sweep.chance, sweep.limit) == (
        True,
        True,
        [],
        None,
        None,
    )
    assert not sweep.wants_ping(0.0)


def test_an_answer_counts_once_and_however_late() -> None:
    sweep = Sweep([7], random.Random(1), 0.02, 0.0)
    (first,) = sweep.probes_to_send(0.0)
    assert sweep.probes_to_send(0.01) == []
    assert sweep.probes_to_send(0.9) == []
    (second,) = sweep.probes_to_send(1.0)
    assert (second.port, second.number) == (7, 1)
    for now in (1.1, 1.2):
        sweep.on_answer(first.number, now)
    assert (sweep.open, sweep.answered, sweep.sent, sweep.rtts) == (1, {7: 1}, {7: 2}, [1.1])
    sweep.on_answer(second.number, 1.3)
    assert (sweep.open, sweep.answered) == (1, {7: 2})


def test_answers_end_the_wait_for_them() -> None:
    sweep = Sweep([7, 8], random.Random(1), 0.02, 0.0)
    probes = sweep.probes_to_send(0.0) + sweep.probes_to_send(0.002)
    for probe in probes:
        assert sweep.probes_to_send(0.03) == []
        assert not sweep.done
        sweep.on_answer(probe.number, 0.03)
    assert sweep.probes_to_send(0.03) == []
    assert (sweep.done, sweep.conclusive) == (True, True)


@pytest.mark.parametrize(("rtt", "timeout"), [(0.001, 0.25), (0.02, 0.25), (0.3, 0.9), (2.0, 3.0)])
def test_last_answers_have_three_round_trips_and_no_end_of_time(rtt: float, timeout: float) -> None:
    sweep = Sweep([7], random.Random(1), rtt, 0.0)
    assert sweep.probes_to_send(0.0)
    assert sweep.next_timer(timeout - 0.01) == pytest.approx(timeout)


@pytest.mark.parametrize(("rtt", "settled"), [(0.001, 0.03), (0.02, 0.08), (0.05, 0.2)])
def test_canaries_that_all_answered_end_the_wait_for_silent_ports(rtt: float, settled: float) -> None:
    course = run(PORTS, Network(rtt=rtt, blocked=HOLE))
    assert course.seconds - course.sent[-1].at == pytest.approx(settled, abs=0.01)
    lossy = run(PORTS, Network(rtt=rtt, loss=0.1, blocked=HOLE))
    assert lossy.seconds - lossy.sent[-1].at == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("network", [CLEAN, BLIND, Network(rate=40.0), Network(table=600), Network(outage=(0.1, 20.0))])
def test_it_wakes_at_least_every_second(network: Network) -> None:
    wakes = run(PORTS, network, flows=1200).wakes
    assert 0.0 <= max(wakes) <= HEARTBEAT + 1e-9


def times_left(network: Network, ports: Sequence[int], flows: int | None, answers: bool) -> list[tuple[float, float]]:
    """What was told to be left, and what was."""
    sweep = Sweep(ports, random.Random(1), network.rtt, 0.0, free_flows=flows)
    told: list[tuple[float, float]] = []
    now = 0.0
    while not sweep.done:
        probes = sweep.probes_to_send(now)
        if answers:
            for probe in probes:
                sweep.on_answer(probe.number, now)
        if sweep.wants_ping(now):
            sweep.on_ping_sent(now)
            sweep.on_pong(now)
        told.append((now, sweep.seconds_left(now)))
        now = max(now, sweep.next_timer(now)) if not probes else now
        now += 1e-4
    return [(left, now - at) for at, left in told]


@pytest.mark.parametrize(
    ("ports", "flows", "answers", "since", "within"),
    [
        (PORTS, None, False, 1.1, 2.0),  # from the second pass on
        (range(50000, 50010), None, False, 1.1, 2.0),
        (ALL, None, True, 0.3, 0.5),
        (range(50000, 53000), 2000, True, 0.0, 1.0),  # which waits for room
    ],
)
def test_the_time_that_is_left_is_told_about_right(
    ports: range, flows: int | None, answers: bool, since: float, within: float
) -> None:
    told = times_left(CLEAN, ports, flows, answers)
    whole = told[0][1]
    late = [(left, true) for left, true in told if whole - true >= since]
    assert max(abs(left - true) for left, true in late) <= within


def test_no_more_time_is_left_than_there_is() -> None:
    sweep = Sweep(ALL, random.Random(1), 0.02, 0.0, free_flows=200)
    assert sweep.seconds_left(0.0) == MAX_SECONDS
    sweep.probes_to_send(0.0)
    assert sweep.seconds_left(100.0) == MAX_SECONDS - 100.0
    assert sweep.seconds_left(500.0) == 0.0
    sweep = Sweep(ALL, random.Random(1), 0.02, 100.0, max_rate=500.0, deadline=107.0)
    assert (sweep.seconds_left(100.0), sweep.deadline) == (7.0, 107.0)
    assert all(sweep.probes_to_send(float(second)) for second in range(100, 107))
    assert (sweep.probes_to_send(107.0), sweep.done, sweep.conclusive) == ([], True, False)


def test_it_tells_that_it_waits_for_room() -> None:
    sweep = Sweep([7, 8, 9], random.Random(1), 0.02, 0.0, free_flows=4)
    assert not sweep.waits_for_flows(0.0)
    for number in range(32):  # every second, or a break would be sleep
        for probe in sweep.probes_to_send(number):
            sweep.on_answer(probe.number, number)
        assert sweep.waits_for_flows(number) is (1 <= number < 30)
    assert sweep.done


def test_it_is_alone_where_neither_a_port_nor_the_control_channel_answers() -> None:
    sweep = Sweep([7, 8], random.Random(1), 0.02, 0.0)
    (probe,) = sweep.probes_to_send(0.0)
    assert not sweep.is_unreachable(0.0)
    sweep.on_ping_sent(1.0)
    assert [sweep.is_unreachable(now) for now in (1.0, 1.0 + OVERDUE, 1.1 + OVERDUE)] == [False, False, True]
    sweep.on_answer(probe.number, 1.2 + OVERDUE)
    assert not sweep.is_unreachable(1.3 + OVERDUE)


# A computer that sleeps


@pytest.mark.parametrize(("network", "blocked"), [(CLEAN, frozenset[int]()), (CLEAN, HOLE), (Network(loss=0.05), HOLE)])
@pytest.mark.parametrize("at", [0.05, 0.2, 1.05, 1.2, 2.5])
def test_sleep_is_no_loss_and_its_time_does_not_count(network: Network, blocked: frozenset[int], at: float) -> None:
    awake = run(PORTS, replace(network, blocked=blocked))
    course = run(PORTS, replace(network, blocked=blocked, sleep=(at, 400.0)))
    assert course.silent() == blocked
    assert (course.sweep.conclusive, course.sweep.limit) == (True, None)
    if at < awake.seconds:
        assert 400.0 < course.seconds <= 400.0 + awake.seconds + 2.5


def test_what_came_during_sleep_is_read_before_it_is_missed() -> None:
    sweep = Sweep([7], random.Random(1), 0.02, 0.0)
    (probe,) = sweep.probes_to_send(0.0)
    assert sweep.probes_to_send(60.0) == []
    sweep.on_answer(probe.number, 60.0)
    assert sweep.probes_to_send(60.0) == []
    assert sweep.done
    assert sweep.passes == 1


@pytest.mark.parametrize(("seconds", "counts"), [(1.9, True), (2.1, False)])
def test_a_pass_that_was_slept_in_is_none(seconds: float, counts: bool) -> None:
    awake = run(PORTS, Network(blocked=HOLE)).sweep
    course = run(PORTS, Network(blocked=HOLE, sleep=(1.02, seconds)))
    assert course.sweep.passes == awake.passes + (not counts)
    assert course.sweep.chance == pytest.approx(awake.chance)
    capture_unavailable = run(PORTS, replace(BLIND, sleep=(1.02, seconds)))
    assert capture_unavailable.sweep.passes == BLIND_TRIES + (not counts)


def test_the_first_pass_is_none_either_where_it_was_slept_in() -> None:
    awake, course = (run(ALL, Network(blocked=LARGE_HOLE, sleep=(0.3, seconds))) for seconds in (0.1, 2.1))
    assert (awake.sweep.passes, course.sweep.passes) == (MIN_TRIES, MIN_TRIES + 1)
    assert course.silent() == LARGE_HOLE


@pytest.mark.parametrize("wanted", [0, 1, 3, 100])
def test_canaries_are_spread_evenly(wanted: int) -> None:
    drawn = spread([1, 2, 3, 4, 5, 6, 7], wanted, random.Random(1))
    counts = [drawn.count(port) for port in range(1, 8)]
    assert sum(counts) == wanted
    assert max(counts) - min(counts) <= 1
