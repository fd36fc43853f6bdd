"""The sweep on paths that let only so much pass, or nothing for a while: what it makes of that, and what it claims."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.observation import Reason
from agent.sweep.limit import Limit
from agent.sweep.sweep import Sweep
from tests.sweep.course import FLOW_LIFE, NEVER, Course, Network, Sent, run

# The limits, by their numbers.
MARGIN = 2.0
TABLE_SHARE = 0.8
SURE_FALLS = 4
MAX_CHANCE = 0.001
GENTLER = 4
GIVE_UP = 75.0
GROUP = 10
KNOWN_SECONDS = 20.0
PAUSES = (1.0, 2.0, 4.0)
BUDGET_GAP = 1.0
FLOOR_RATE = 50.0

PORTS, ALL = range(50000, 51000), range(50000, 60001)
HOLE = frozenset(range(53000, 53400)) | {50000, 57777, 60000}
HALF = frozenset(ALL[:5000])


def trials(course: Course) -> list[Sent]:
    """What was sent to a path that was thought shut."""
    return [one for one in course.sent if one.shut]


def is_right(course: Course, blocked: frozenset[int] = frozenset()) -> bool:
    """Whether it is sure, and rightly so."""
    return course.sweep.conclusive and course.silent() == blocked


# New flows


@pytest.mark.parametrize(("flows", "ports"), [(2000, range(50000, 52500)), (601, PORTS)])
def test_never_more_than_half_of_the_servers_free_flows_in_thirty_seconds(flows: int, ports: range) -> None:
    blocked = frozenset({50100, 50101})
    course = run(ports, Network(blocked=blocked), flows=flows)
    assert course.most_within(FLOW_LIFE) == flows // 2  # and not less
    assert is_right(course, blocked)
    assert course.sweep.limit is None  # it is none of the path


@pytest.mark.parametrize(
    ("network", "flows"),
    [
        (Network(outage=(0.25, 3.3)), 6000),
        (Network(outage=(0.25, 40.0)), 6000),
        (Network(table=1500), 8000),
        (Network(guard=500), 4000),
    ],
)
def test_what_is_sent_to_a_shut_path_takes_its_share_of_the_flows(network: Network, flows: int) -> None:
    course = run(ALL, network, flows=flows)
    assert trials(course)
    assert course.most_flows_within(FLOW_LIFE) <= flows // 2


def test_a_group_waits_for_room_for_all_its_flows() -> None:
    course = run(PORTS, Network(outage=(0.13, 5.0)), flows=610)
    first = trials(course)[0].at
    assert len([one for one in course.sent if one.at < first]) > 305 - GROUP
    assert first > FLOW_LIFE
    assert course.most_flows_within(FLOW_LIFE) <= 305
    assert course.sweep.limit is None  # it was not shut for so long, nobody looked


@pytest.mark.parametrize(("free", "waits"), [(600, False), (300, True), (None, True)])
def test_what_a_firewall_stopped_has_taken_no_flow_of_the_server(free: int | None, waits: bool) -> None:
    capture_unavailable = Network(blocked=frozenset(PORTS), free=free)
    course = run(PORTS[:400], capture_unavailable, flows=600)
    assert (course.seconds > FLOW_LIFE) is waits
    assert course.most_within(0.25) <= 300 + 20


def test_while_it_waits_for_room_the_server_is_asked_each_second() -> None:
    course = run(range(50000, 52500), Network(), flows=2000)
    waiting = [at for at in course.pings if 1.0 < at < 29.0]
    gaps = [later - earlier for earlier, later in zip(waiting, waiting[1:])]
    assert len(gaps) > 20
    assert all(BUDGET_GAP <= gap <= 2.1 * BUDGET_GAP for gap in gaps)


@pytest.mark.parametrize("flows", [0, 1])
def test_without_room_for_a_flow_nothing_is_sent_and_the_limit_named(flows: int) -> None:
    course = run(PORTS, Network(), flows=flows)
    assert (course.sent, course.sweep.conclusive) == ([], False)
    assert course.seconds < 1.0
    assert course.sweep.limit == Limit(Reason.FLOW_LIMIT, flows=0)


def test_where_the_server_counts_no_flows_nothing_bounds_them() -> None:
    assert run(ALL, Network()).most_within(1.0) > 9000


@pytest.mark.parametrize(("flows", "max_rate", "seconds"), [(2000, None, 180.0), (2000, 1000.0, 220.0)])
def test_what_waited_for_room_to_the_end_was_kept_by_a_limit_of_flows(
    flows: int, max_rate: float | None, seconds: float
) -> None:
    course = run(ALL, Network(), flows=flows, max_rate=max_rate)
    assert not course.sweep.conclusive
    assert course.seconds == pytest.approx(seconds, abs=1.0)
    assert course.sweep.limit == Limit(Reason.FLOW_LIMIT, flows=1000)


# A table of flows


@pytest.mark.parametrize("blocked", [frozenset[int](), HOLE])
@pytest.mark.parametrize("seed", [1, 2])
def test_behind_a_full_table_every_open_port_is_found(seed: int, blocked: frozenset[int]) -> None:
    course = run(ALL, Network(table=3000, blocked=blocked), seed)
    assert is_right(course, blocked)
    limit = course.sweep.limit
    assert limit
    assert limit.reason is Reason.FLOW_LIMIT
    assert limit.rate is None
    assert limit.flows == pytest.approx(3000, rel=0.1)  # some were lost behind the last that passed
    assert limit.seconds == pytest.approx(FLOW_LIFE, abs=2.0)


def test_behind_a_full_table_it_keeps_to_what_the_table_holds() -> None:
    course = run(ALL, Network(table=3000))
    behind = trials(course)[-1].at
    most = course.most_within(FLOW_LIFE + MARGIN, since=behind + 0.001)
    assert 0.9 * TABLE_SHARE * 3000 <= most <= TABLE_SHARE * 3000 + GROUP
    assert len({one.at // 60 for one in trials(course)}) == 1  # it was full but once


@pytest.mark.parametrize("table", [1500, 1100])
def test_a_table_too_small_for_all_ports_is_named_and_leaves_them_unknown(table: int) -> None:
    course = run(ALL, Network(table=table))
    limit = course.sweep.limit
    assert not course.sweep.conclusive
    assert limit
    assert limit.reason is Reason.FLOW_LIMIT
    assert limit.flows == pytest.approx(table, abs=20)


# A guard against scans


@pytest.mark.parametrize("guard", [200, 500, 2000])
@pytest.mark.parametrize("ports", [PORTS, ALL])
def test_a_guard_that_shuts_out_leaves_no_wrong_verdict(guard: int, ports: range) -> None:
    blocked = frozenset({50500, 50501})
    course = run(ports, Network(guard=guard, blocked=blocked))
    limit = course.sweep.limit
    assert not course.sweep.conclusive or course.silent() == blocked
    if limit is None:  # it never struck
        assert course.most_within(1.0) <= guard
        return
    assert limit.reason is Reason.SCAN_BLOCK
    assert limit.rate == pytest.approx(guard, rel=0.2)
    assert limit.seconds == pytest.approx(60.0, abs=PAUSES[-1] + 1.0)


def test_once_shut_out_it_is_gentler_for_good() -> None:
    course = run(ALL, Network(guard=500))
    limit = course.sweep.limit
    assert is_right(course)
    assert limit
    assert limit.rate
    behind = trials(course)[-1].at
    assert course.most_within(1.0, since=behind + 0.2) <= limit.rate / GENTLER + 4
    assert course.most_within(60.0, since=behind) >= 0.9 * 60 * limit.rate / GENTLER


def test_a_guard_that_lets_nobody_in_again_leaves_all_unknown() -> None:
    course = run(ALL, Network(guard=500, ban=1000.0))
    assert not course.sweep.conclusive
    assert course.sweep.is_shut_out
    limit = course.sweep.limit
    assert limit
    assert limit.reason is Reason.SCAN_BLOCK
    assert limit.seconds == pytest.approx(GIVE_UP, abs=1.0)


def test_a_path_that_is_shut_is_hardly_probed() -> None:
    course = run(ALL, Network(guard=500, ban=1000.0))
    groups: list[list[Sent]] = []
    for one in trials(course):
        if not groups or one.at - groups[-1][-1].at > 0.5:
            groups.append([])
        groups[-1].append(one)
    pauses = [following[0].at - one[-1].at for one, following in zip(groups, groups[1:])]
    assert pauses[:2] == pytest.approx(PAUSES[:2], abs=0.05)
    assert pauses[2:] == pytest.approx([PAUSES[-1]] * len(pauses[2:]), abs=0.05)
    for group in groups:
        assert len(group) <= 2 * GROUP
        gaps = [later.at - earlier.at for earlier, later in zip(group, group[1:])]
        assert min(gaps) >= 1 / FLOOR_RATE - 1e-6


def test_a_group_is_of_flows_that_passed_and_of_new_ones_to_open_ports() -> None:
    course = run(ALL, Network(outage=(0.4, 3.0), blocked=HALF))
    first = trials(course)[: 2 * GROUP]
    flows = {(one.probe.port, one.probe.socket) for one in course.sent if one.at < first[0].at}
    sockets = {one.probe.socket for one in course.sent if one.at < first[0].at}
    known = [one for one in first if (one.probe.port, one.probe.socket) in flows]
    fresh = [one for one in first if one not in known]
    assert (len(known), len(fresh)) == (GROUP, GROUP)
    assert {one.probe.socket for one in fresh}.isdisjoint(sockets)
    assert len({one.probe.port for one in fresh}) == GROUP
    assert all(course.sweep.answered[one.probe.port] for one in first)
    sockets |= {one.probe.socket for one in first}
    second = trials(course)[2 * GROUP : 4 * GROUP]
    assert len({one.probe.socket for one in second} - sockets) == 1  # again a new one


def test_flows_that_may_be_forgotten_are_no_known_ones() -> None:
    # It takes most of a minute until so slow a round is over.
    course = run(ALL[:400], Network(outage=(51.0, 160.0)), max_rate=2.0)
    first = trials(course)[0].at
    flows = {one.probe[1:] for one in course.sent if one.at < first}
    assert first > 51.0 + KNOWN_SECONDS
    assert flows.isdisjoint(one.probe[1:] for one in trials(course)[:GROUP])


def test_the_rest_of_a_pass_comes_from_a_socket_that_passed() -> None:
    course = run(ALL, Network(outage=(0.4, 1.5)))
    last = trials(course)[-1]
    behind = {one.probe.socket for one in course.of_pass(1) if one.at > last.at}
    assert behind == {max(one.probe.socket for one in trials(course))}


# What passes again


@pytest.mark.parametrize(("began", "lasted"), [(0.2, 0.6), (0.2, 3.0), (0.5, 0.6), (0.5, 3.0)])
@pytest.mark.parametrize("kind", ["stall", "outage"])
def test_a_stall_is_right_and_no_reason_to_slow_down(kind: str, began: float, lasted: float) -> None:
    holds = (began, began + lasted)
    network = Network(stall=holds if kind == "stall" else NEVER, outage=holds if kind == "outage" else NEVER)
    course = run(ALL, network)
    assert is_right(course)
    assert course.sweep.limit is None
    assert course.seconds <= began + lasted + 4.0
    assert course.most_within(0.1, since=began + lasted) > 1000


def test_answers_to_a_group_that_come_when_it_is_over_count_for_their_ports_alone() -> None:
    course = run(ALL, Network(rtt=0.3, outage=(0.3, 1.0)))
    assert is_right(course)
    assert course.sweep.limit is None
    assert sum(course.sweep.answered[one.probe.port] > 1 for one in trials(course)) >= GROUP


@pytest.mark.parametrize("at", [1.2, 1.35])
def test_a_stall_of_a_later_pass_is_right_too(at: float) -> None:
    course = run(ALL, Network(outage=(at, at + 2.0), blocked=HALF))
    assert is_right(course, HALF)
    assert (course.sweep.limit, course.sweep.is_shut_out) == (None, False)
    assert (course.sweep.chance or 1.0) <= MAX_CHANCE


def test_a_path_that_is_gone_to_the_end() -> None:
    course = run(ALL, Network(outage=(0.4, 1000.0)))
    assert not course.sweep.conclusive
    assert course.sweep.is_shut_out
    assert course.seconds == pytest.approx(0.4 + GIVE_UP, abs=1.5)
    assert course.sweep.limit
    assert course.sweep.limit.reason is Reason.SCAN_BLOCK


def test_a_path_that_was_gone_for_the_last_seconds_alone_met_no_guard() -> None:
    blocked = frozenset(PORTS[:200])
    courses = [run(PORTS[:400], Network(loss=0.2, blocked=blocked, outage=(at, 999.0)), max_rate=20.0)
               for at in range(245, 255)]  # fmt: skip
    gone = [course.sweep for course in courses if course.sweep.is_shut_out]
    assert gone
    for sweep in gone:
        assert not sweep.conclusive
        assert sweep.limit is None or sweep.limit.reason is not Reason.SCAN_BLOCK


def test_while_the_path_is_shut_nobody_pings() -> None:
    course = run(ALL, Network(guard=500, ban=100.0))
    shut = trials(course)
    assert not [at for at in course.pings if shut[0].at < at < shut[-1].at]


@pytest.mark.parametrize("sleep", [(2.0, 60.0), (0.9, 60.0)])
def test_sleep_while_the_path_is_shut_does_not_count_as_that(sleep: tuple[float, float]) -> None:
    course = run(ALL, Network(outage=(0.4, 3.0), sleep=sleep))
    assert is_right(course)
    assert course.sweep.limit is None


@pytest.mark.parametrize("began", [0.12, 0.2, 0.25, 0.3])
def test_what_was_lost_before_sleep_tells_nothing_of_the_path(began: float) -> None:
    course = run(ALL, Network(outage=(began, began + 0.15), sleep=(began + 0.15, 60.0)))
    assert is_right(course)
    assert not trials(course)
    assert course.most_within(0.1, since=60.0) > 1000


def test_open_ends_of_ranges_promise_nothing_of_the_ports_between() -> None:
    ports = tuple(port for port in range(50000, 53000) if port % 20)
    inner = frozenset(port for port in ports if port % 20 not in (1, 19))
    course = run(ports, Network(blocked=inner))
    assert is_right(course, inner)
    assert not trials(course)
    assert course.of_pass(1)[-1].at < 1.0


# Only so many packets a second


@pytest.mark.parametrize(("rate", "burst"), [(300.0, 50), (300.0, 5), (1000.0, 50)])
@pytest.mark.parametrize("blocked", [frozenset[int](), HOLE])
def test_behind_a_policer_the_pace_comes_down_to_what_it_lets_pass(
    rate: float, burst: int, blocked: frozenset[int]
) -> None:
    course = run(ALL, Network(rate=rate, burst=burst, blocked=blocked))
    assert is_right(course, blocked)
    limit = course.sweep.limit
    assert limit
    assert limit.reason is Reason.RATE_LIMIT
    assert (limit.flows, limit.seconds) == (None, None)
    assert limit.rate
    assert 0.4 * rate <= limit.rate <= 1.1 * rate
    assert course.most_within(10.0, since=5.0) <= 1.5 * 10 * rate


def falls(sweep: Sweep, number: int) -> Sweep:
    """As if the pace had come down so often."""
    sweep._pace.control.falls = number
    return sweep


@pytest.mark.parametrize("network", [Network(), Network(loss=0.05), Network(loss=0.2), Network(late=0.1, doubled=True)])
def test_without_a_limit_none_is_claimed(network: Network) -> None:
    for seed in range(1, 4):
        assert run(PORTS, replace(network, blocked=frozenset({50003})), seed).sweep.limit is None


@pytest.mark.parametrize(("number", "claimed"), [(SURE_FALLS - 1, False), (SURE_FALLS, True)])
def test_a_limit_is_claimed_where_the_pace_came_down_often(number: int, claimed: bool) -> None:
    sweep = run(ALL, Network(rate=300.0)).sweep
    known = sweep._pace.control.falls
    try:
        assert bool(falls(sweep, number).limit) is claimed
        assert falls(sweep, 0).limit is None
    finally:
        falls(sweep, known)


def test_where_it_came_to_no_end_one_fall_is_enough() -> None:
    sweep = run(ALL, Network(rate=40.0)).sweep
    assert not sweep.conclusive
    known = sweep._pace.control.falls
    try:
        limit = falls(sweep, 1).limit
        assert limit
        assert limit.rate == pytest.approx(40.0, rel=0.1)
        assert falls(sweep, 0).limit is None
    finally:
        falls(sweep, known)


@pytest.mark.parametrize("network", [Network(late=0.3, guard=500, ban=2.0), Network(late=0.6, rate=300.0)])
def test_an_answer_to_an_outage_that_is_past_says_nothing_of_the_next(network: Network) -> None:
    assert run(PORTS, network).silent() == set()


def test_what_an_outage_showed_is_named_before_a_pace() -> None:
    course = run(ALL, Network(table=3000, rate=1000.0))
    assert is_right(course)
    limit = course.sweep.limit
    assert limit
    assert limit.reason is Reason.FLOW_LIMIT
