"""Each part of a simulated network does what it says: else nothing follows from what it makes of a sweep."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.report import State
from tests.simulation.control import MIN_RTO, Question, ask
from tests.simulation.guard import Guarding, ScanGuard
from tests.simulation.loss import Bursts, GilbertElliott
from tests.simulation.network import TWICE, Network, Path, Way
from tests.simulation.policer import FlowPolicer, Policer, Policing, Shaper, Shaping
from tests.simulation.rules import SHAPES, Change, Rules, random_rules, truths
from tests.simulation.stall import Stall, hold
from tests.simulation.tables import FlowTable, Tracking

PORTS = range(50000, 60001)


def passed(policer: Policer, rate: float, seconds: float) -> int:
    return sum(policer.passes(n / rate) for n in range(int(rate * seconds)))


@pytest.mark.parametrize(("rate", "burst"), [(50.0, 5), (300.0, 300), (5000.0, 100)])
@pytest.mark.parametrize("asked", [6000.0, 20000.0])
def test_a_policer_passes_its_rate_and_its_burst(rate: float, burst: int, asked: float) -> None:
    assert passed(Policer(Policing(rate, burst)), asked, 4.0) == pytest.approx(rate * 4.0 + burst, abs=2)


def test_a_policer_passes_all_that_is_slower_than_it() -> None:
    assert passed(Policer(Policing(300.0, 5)), 250.0, 10.0) == 2500


def test_a_policer_fills_no_further_than_its_burst() -> None:
    policer = Policer(Policing(100.0, 10))
    assert [policer.passes(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [policer.passes(60.0) for _ in range(11)] == [True] * 10 + [False]
    assert not policer.passes(59.0)  # what comes out of order brings no tokens back


def test_a_policer_of_new_flows_lets_the_known_ones_pass() -> None:
    policer = FlowPolicer(Policing(100.0, 10))
    assert [policer.passes(flow, 0.0) for flow in range(12)] == [True] * 10 + [False] * 2
    assert [policer.passes(flow, 0.0) for flow in range(12)] == [True] * 10 + [False] * 2
    assert policer.passes(11, 0.011)


def test_a_line_delays_by_its_queue_and_drops_what_finds_it_full() -> None:
    line = Shaper(Shaping(100.0, 5))
    times = [line.leaves(1.0) for _ in range(8)]
    assert times == [pytest.approx(1.0 + 0.01 * n) for n in range(1, 7)] + [None, None]
    assert line.leaves(9.0) == pytest.approx(9.01)
    free = Shaper(Shaping(100.0, 5))
    assert sum(free.leaves(n * 0.001) is not None for n in range(10_000)) == pytest.approx(1000, abs=7)


@pytest.mark.parametrize(
    "bursts", [Bursts(5.0, 0.5), Bursts(2.0, 2.0, 0.01, 0.6), Bursts(0.5, 0.05, 0.0, 0.9), Bursts(20.0, 0.02, 0.1, 1.0)]
)
def test_bursts_lose_their_share(bursts: Bursts) -> None:
    path = GilbertElliott(bursts, random.Random(1))
    seconds = 2000 * (bursts.good + bursts.bad)
    packets = 200_000
    lost = sum(path.loses(n * seconds / packets) for n in range(packets))
    assert lost / packets == pytest.approx(bursts.loss, rel=0.1)


def test_bursts_last_as_long_as_they_say() -> None:
    path = GilbertElliott(Bursts(3.0, 0.2), random.Random(2))
    lost = [path.loses(n * 0.005) for n in range(1_000_000)]
    begun = sum(after and not before for before, after in zip(lost, lost[1:]))
    assert sum(lost) * 0.005 / begun == pytest.approx(0.2, rel=0.1)


def test_a_full_table_drops_what_is_new_until_something_expires() -> None:
    table = FlowTable(Tracking(3, 30.0))
    assert [table.passes(flow, flow) for flow in range(5)] == [True, True, True, False, False]
    assert table.passes(0, 5.0)  # known, and refreshed by it
    assert [table.passes(9, at) for at in (30.9, 31.0, 31.1)] == [False, True, True]
    assert len(table) == 3
    assert [table.replies(flow, 31.5) for flow in (0, 1, 2, 3, 9)] == [True, False, True, False, True]
    assert not table.passes(10, 60.0)  # the answers have refreshed them too
    assert table.passes(10, 61.5)
    assert len(table) == 1


def test_early_drop_forgets_the_oldest_without_an_answer() -> None:
    table = FlowTable(Tracking(3, 30.0, early_drop=True))
    for flow in (1, 2, 3):
        assert table.passes(flow, 0.0)
    assert table.replies(1, 0.1)
    assert table.passes(4, 0.2)
    assert [table.replies(flow, 0.3) for flow in (1, 2, 3, 4)] == [True, False, True, True]
    assert not table.passes(5, 0.4)  # all have had their answers


def test_others_take_a_part_of_a_table() -> None:
    table = FlowTable(Tracking(4, 30.0, taken=2, taken_at=5.0))
    assert [table.passes(flow, 1.0) for flow in range(5)] == [True] * 4 + [False]
    assert [table.passes(flow, 40.0) for flow in range(5)] == [True] * 2 + [False] * 3
    table = FlowTable(Tracking(4, 30.0, early_drop=True, taken=2, taken_at=5.0))
    assert [table.passes(flow, at) for flow, at in ((1, 1.0), (2, 1.0), (3, 1.0), (4, 6.0))] == [True] * 4
    assert [table.replies(flow, 7.0) for flow in (1, 2, 3, 4)] == [False, False, True, True]


def test_a_table_that_forgets_knows_nothing() -> None:
    table = FlowTable(Tracking(10))
    assert table.passes(1, 0.0)
    assert table.replies(1, 0.1)
    table.forget()
    assert (len(table), table.replies(1, 0.2), table.passes(1, 0.3), table.replies(1, 0.4)) == (0, False, True, True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans(), st.sampled_from([0.0, 0.5, 3.0, 11.0])), max_size=60))
def test_a_table_is_what_a_plain_list_is(calls: list[tuple[int, bool, float]]) -> None:
    table, plain, now = FlowTable(Tracking(4, 10.0)), dict[int, float](), 0.0
    for flow, answer, gap in calls:
        now += gap
        plain = {one: last for one, last in plain.items() if last > now - 10.0}
        known = flow in plain
        if answer:
            assert table.replies(flow, now) == known
        else:
            known = known or len(plain) < 4
            assert table.passes(flow, now) == known
        if known:
            plain[flow] = now
        assert len(table) == len(plain)


def test_a_guard_locks_out_who_opens_too_many_flows() -> None:
    guard = ScanGuard(Guarding(50, 1.0, 60.0))
    assert all(guard.passes(flow, flow * 0.0201) for flow in range(500))  # 49.8 a second
    assert [guard.passes(1000 + flow, 20.0) for flow in range(51)] == [True] * 50 + [False]
    assert guard.locked(79.9)
    assert not guard.passes(0, 79.9)
    assert guard.passes(2000, 80.1)
    assert guard.lockouts == 1


def test_the_same_flow_again_is_not_new() -> None:
    guard = ScanGuard(Guarding(50))
    assert all(guard.passes(n % 50, n * 0.001) for n in range(5000))
    assert guard.lockouts == 0


@pytest.mark.parametrize("established", [False, True])
@pytest.mark.parametrize("extends", [False, True])
def test_variants_of_a_guard(established: bool, extends: bool) -> None:
    guard = ScanGuard(Guarding(1, 1.0, 60.0, established=established, extends=extends))
    assert [guard.passes(flow, 0.0) for flow in (1, 2)] == [True, False]
    assert guard.passes(1, 30.0) is established
    assert not guard.passes(3, 30.0)
    assert guard.locked(61.0) is extends


def test_a_hold_is_until_the_last_stall_that_touches() -> None:
    stalls = (Stall(1.0, 2.0), Stall(2.5, 1.0), Stall(5.0, 1.0, lost=True))
    assert [hold(stalls, at) for at in (0.5, 1.0, 2.0, 3.4, 3.5, 5.5, 6.0)] == [0.5, 3.5, 3.5, 3.5, 3.5, None, 6.0]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_of_rules_has_ports_of_the_plan_alone(shape: str) -> None:
    for seed in range(20):
        closed = set(SHAPES[shape][0](PORTS, random.Random(seed)))
        assert closed <= set(PORTS)
        sizes = {"none": (0, 0), "all": (10_001, 10_001), "one open": (10_000, 10_000), "one blocked": (1, 1)}
        least, most = sizes.get(shape, (1, 10_000))
        assert least <= len(closed) <= most
        assert set(SHAPES[shape][0](range(7, 8), random.Random(seed))) <= {7}


def test_a_stall_of_udp_alone_lets_the_control_channel_pass() -> None:
    stalls = (Stall(1.0, 2.0, lost=True, control=False),)
    assert (hold(stalls, 1.5), hold(stalls, 1.5, control=True)) == (None, 1.5)
    one = network(Path(0.1, stalls=stalls))
    assert one.send(0, 1, 1.5) == ()
    assert one.reaches(1.5) == pytest.approx(1.7)


def test_random_rules_are_of_every_shape_and_either_way() -> None:
    drawn = [random_rules(PORTS, random.Random(seed)) for seed in range(500)]
    assert {name.replace(" (answers)", "") for name, _ in drawn} == set(SHAPES)
    assert any(rules.mute for _, rules in drawn)
    assert all(name.endswith("(answers)") == bool(rules.mute) for name, rules in drawn)


def test_either_is_true_of_a_port_whose_rule_changed_in_time() -> None:
    first, second = Rules(frozenset({1, 2})), Rules(frozenset({2}), mute=frozenset({3}))
    both = {State.OPEN, State.FILTERED}
    changes = [Change(5.0, second)]
    closed, opened = {State.FILTERED}, {State.OPEN}
    assert truths(first, changes, 0.0, 6.0, [1, 2, 3, 4]) == {1: both, 2: closed, 3: both, 4: opened}
    assert truths(first, changes, 0.0, 4.9, [1, 2, 3, 4]) == {1: closed, 2: closed, 3: opened, 4: opened}
    assert truths(first, changes, 5.0, 9.0, [1, 2, 3, 4]) == {1: opened, 2: closed, 3: closed, 4: opened}


def network(path: Path, seed: int = 1) -> Network:
    return Network(path, random.Random(seed))


def test_a_plain_path_answers_after_a_round_trip() -> None:
    one = network(Path(0.05))
    assert [list(one.send(0, port, 1.0)) for port in (1, 2)] == [[pytest.approx(1.1)]] * 2
    assert one.sightings == {1: 1, 2: 1}
    assert not one.checks_answers
    assert one.reaches(1.0) == pytest.approx(1.1)


@pytest.mark.parametrize(("there", "back"), [(0.2, 0.0), (0.0, 0.2), (0.1, 0.1)])
def test_loss_each_way(there: float, back: float) -> None:
    one = network(Path(to_server=Way(there), to_client=Way(back)))
    answers = sum(len(one.send(0, 1, n * 0.001)) for n in range(20_000))
    assert one.sightings[1] / 20_000 == pytest.approx(1 - there, rel=0.02)
    assert answers / 20_000 == pytest.approx((1 - there) * (1 - back), rel=0.02)


def test_bursts_and_policers_each_way() -> None:
    limit = Way(policing=(Policing(100.0, 10),), bursts=Bursts(1.0, 1e-9))
    for path in (Path(to_server=limit), Path(to_client=limit)):
        one = network(path)
        answers = sum(len(one.send(0, 1, n * 0.001)) for n in range(5000))
        assert answers == pytest.approx(510, abs=3)
        assert one.sightings[1] == (answers if path.to_server is limit else 5000)
    lossy = network(Path(to_client=Way(bursts=Bursts(1e-9, 1e9))))
    assert [lossy.send(0, 1, at) for at in (1.0, 2.0)] == [(), ()]


def test_jitter_and_reordering_bring_answers_out_of_order() -> None:
    times = [network(Path(0.01, jitter=0.02), seed).send(0, 1, 0.0)[0] for seed in range(1000)]
    assert [min(times), max(times)] == pytest.approx([0.022, 0.058], abs=0.002)
    one = network(Path(0.01, reordered=0.1, reordered_by=0.05))
    late = sum(one.send(0, 1, n * 0.001)[0] - n * 0.001 > 0.06 for n in range(5000))
    assert late / 5000 == pytest.approx(0.1, abs=0.02)


def test_doubles_are_seen_twice_and_answered_twice() -> None:
    one = network(Path(0.01, doubled=1.0))
    times = sorted(one.send(0, 1, 0.0))
    assert times == pytest.approx([0.02, 0.02 + TWICE, 0.02 + TWICE, 0.02 + 2 * TWICE])
    assert one.sightings == {1: 2}
    some = network(Path(doubled=0.1))
    assert sum(len(some.send(0, 1, n * 0.001)) for n in range(5000)) / 5000 == pytest.approx(1.21, abs=0.03)


def test_rules_stop_probes_or_answers_and_change() -> None:
    first, second = Rules(frozenset({1}), mute=frozenset({2})), Rules(frozenset({3}))
    one = network(Path(0.1, rules=first, changes=(Change(5.0, second),)))
    assert [len(one.send(0, port, 1.0)) for port in (1, 2, 3)] == [0, 0, 1]
    assert one.sightings == {2: 1, 3: 1}
    assert [len(one.send(0, port, 5.0)) for port in (1, 2, 3)] == [1, 1, 0]


def test_the_tables_of_router_and_server() -> None:
    for path in (Path(router=Tracking(100)), Path(server=Tracking(100))):
        one = network(replace(path, rules=Rules(frozenset(range(50)))))
        answers = sum(len(one.send(0, port, port * 0.001)) for port in range(200))
        # A router has a flow for what a firewall behind it drops; on the server, that is none.
        assert answers == (50 if path.router else 100)
        assert [one.send(0, 199, 1.0), len(one.send(0, 99, 1.0))] == [(), 1]
        assert len(one.send(0, 199, 40.0)) == 1
    assert Path(server=Tracking(100)).flows == 100
    assert Path(router=Tracking(100)).flows is None


def test_a_router_that_forgot_a_flow_drops_its_answer() -> None:
    one = network(Path(0.1, router=Tracking(1, early_drop=True)))
    assert one.checks_answers
    assert len(one.send(0, 1, 0.0)) == len(one.send(0, 2, 0.01)) == 1
    assert [one.admits(0, port, 0.2) for port in (1, 2, 2)] == [False, True, True]


def test_after_a_rebinding_earlier_answers_are_lost_and_later_ones_come() -> None:
    one = network(Path(0.1, rebindings=(1.0,)))
    assert one.checks_answers
    (early,), (before,) = one.send(0, 1, 0.5), one.send(0, 2, 0.95)
    assert one.admits(0, 1, early)
    assert not one.admits(0, 2, before)
    (after,) = one.send(0, 2, 1.2)
    assert one.admits(0, 2, after)


def test_a_dead_route_takes_a_flow_for_good_and_not_its_port() -> None:
    one = network(Path(dead_legs=25))
    answered = [bool(one.send(0, port, 0.0)) for port in PORTS]
    assert sum(answered) / len(PORTS) == pytest.approx(0.75, abs=0.02)
    assert [bool(one.send(0, port, 5.0)) for port in PORTS] == answered
    assert [bool(one.send(1, port, 9.0)) for port in PORTS] != answered


def test_a_dead_socket_takes_all_of_its_packets() -> None:
    one = network(Path(dead_sockets=30))
    alive = [[bool(one.send(socket, port, 0.0)) for port in (1, 2, 3)] for socket in range(1000)]
    assert all(ports in ([True] * 3, [False] * 3) for ports in alive)
    assert sum(map(any, alive)) / 1000 == pytest.approx(0.7, abs=0.05)


def test_bindings_and_lines_on_the_path() -> None:
    nat = network(Path(bindings=Policing(100.0, 10)))
    assert [sum(len(nat.send(0, port, at)) for port in range(50)) for at in (0.0, 0.0, 0.5)] == [10, 10, 20]
    slow = Way(shaping=Shaping(100.0, 5))
    for path in (Path(0.1, to_server=slow), Path(0.1, to_client=slow)):
        times = [at for port in range(50) for at in network(path).send(0, port, 0.0)]
        assert times == [pytest.approx(0.21)] * 50  # each alone
        one = network(path)
        assert [at for port in range(50) for at in one.send(0, port, 0.0)] == pytest.approx(
            [0.2 + 0.01 * n for n in range(1, 7)]
        )


def test_a_guard_on_the_path() -> None:
    one = network(Path(0.1, guard=Guarding(10, answers=True, control=True)))
    assert sum(len(one.send(0, port, 0.0)) for port in range(20)) == 10
    assert one.sightings == dict.fromkeys(range(10), 1)
    assert not one.admits(0, 1, 0.2)
    assert one.reaches(0.2) is None
    assert one.admits(0, 1, 61.0)
    assert one.reaches(61.0) == pytest.approx(61.2)
    lenient = network(Path(guard=Guarding(10)))
    assert sum(len(lenient.send(0, port, 0.0)) for port in range(20)) == 10
    assert lenient.reaches(0.2) is not None
    assert not lenient.checks_answers


def test_a_stall_holds_or_loses_both_ways() -> None:
    held = network(Path(0.1, stalls=(Stall(1.0, 2.0),)))
    assert [held.send(0, 1, at)[0] for at in (0.5, 0.9, 1.5, 3.0)] == pytest.approx([0.7, 3.0, 3.2, 3.2])
    lossy = network(Path(0.1, stalls=(Stall(1.0, 2.0, lost=True),)))
    assert [len(lossy.send(0, 1, at)) for at in (0.5, 0.9, 1.5, 3.0)] == [1, 0, 0, 1]
    assert lossy.reaches(1.5) is None


def test_the_control_channel_sends_again_what_is_lost() -> None:
    one = network(Path(0.05, stalls=(Stall(0.0, 1.0, lost=True),)))
    at = ask(one, 0.1, 0.0, patience=8.0)
    assert at is not None
    assert 1.1 <= at < 2.5
    assert ask(network(Path(to_server=Way(1.0))), 0.1, 0.0, patience=8.0) is None
    question = Question(network(Path(0.05)), 0.1, 3.0)
    assert (question.wake, question.look(3.0), question.look(3.2)) == (3.0, False, True)
    assert Question(network(Path(to_server=Way(1.0))), 0.0, 0.0).look(10 * MIN_RTO) is False


def test_a_policer_counts_the_control_channel_only_where_it_says_so() -> None:
    for control in (False, True):
        one = network(Path(to_server=Way(policing=(Policing(1.0, 1, control),))))
        assert one.send(0, 1, 0.0)
        assert (one.reaches(0.0) is None) is control
