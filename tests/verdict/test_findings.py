"""From observations to findings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.core.counters import Counters
from agent.core.observation import Observation, Reason, Reply, Where
from agent.core.plan import Need, Plan, Transport
from agent.core.report import Evidence, Finding, State
from agent.sweep.limit import Limit
from agent.verdict.conditions import Conditions
from agent.verdict.findings import build_findings
from agent.verdict.udp_state import ONLY_SMALL
from tests.verdict.ports import SILENT, SLOW, SURE, TCP, UDP, WHY, observed, row, seen

# Limits, by their numbers: who changes one changes it here too.
MAX_CHANCE = 0.001


def test_a_limit_is_judged_by_the_ports_that_let_this_client_in() -> None:
    plan = Plan("mine", (row(TCP, 1, 5),))
    refused = seen(TCP, Reply.UNREACHABLE, by="192.0.2.1")
    ports = {
        1: seen(TCP, accepted_before=True),
        2: seen(TCP),
        3: refused,
        4: seen(TCP, Reply.MUTE, accepted_before=True, received=0, connections=3),
        5: seen(TCP, Reply.PROOF, accepted_before=True),
    }
    observations = {TCP: {port: replace(one, port=port) for port, one in ports.items()}, UDP: {}}
    found = ["tcp 1-2 unknown", "tcp 3 rejected", "tcp 4 filtered", "tcp 5 open"]
    assert [told(one) for one in build_findings(plan, observations, SURE)] == found
    observations[TCP][1] = replace(observations[TCP][1], sent=0, unsendable="not permitted")
    assert [told(one) for one in build_findings(plan, observations, SURE)] == [
        "tcp 1 unknown",
        "tcp 2 filtered",
        *found[1:],
    ]
    observations[TCP][1] = replace(observations[TCP][1], sent=4, unsendable=None)
    closed = Conditions(closed=(refused,))
    assert [told(one) for one in build_findings(plan, observations, closed)] == ["tcp 1-3 unknown", *found[2:]]


PLAN = Plan("mine", (row(TCP, 80, 80), row(UDP, 7, 7), row(UDP, 1, 6)))


def told(finding: Finding) -> str:
    return f"{finding.transport.value} {finding.ports} {finding.state.value}"


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ({}, ["udp 7 open", "udp 1-6 open"]),
        ({"p1": SILENT}, ["udp 7 open", "udp 1 filtered", "udp 2-6 open"]),
        ({"p6": SILENT, "p7": SILENT}, ["udp 7 filtered", "udp 1-5 open", "udp 6 filtered"]),
        ({"p3": SILENT, "p4": SILENT}, ["udp 7 open", "udp 1-2 open", "udp 3-4 filtered", "udp 5-6 open"]),
        (
            {"p3": SILENT, "p4": replace(SILENT, at_socket=1)},
            ["udp 7 open", "udp 1-2 open", "udp 3 filtered", "udp 4 filtered", "udp 5-6 open"],
        ),
        (
            {"p2": SILENT, "p3": replace(SILENT, untested=Reason.BUSY), "p4": SILENT},
            ["udp 7 open", "udp 1 open", "udp 2 filtered", "udp 3 untested", "udp 4 filtered", "udp 5-6 open"],
        ),
    ],
)
def test_ports_of_one_cause_are_one_finding_within_their_requirement(
    ports: dict[str, Observation], expected: list[str]
) -> None:
    findings = build_findings(PLAN, observed(PLAN, **ports), SURE)
    assert [told(one) for one in findings] == ["tcp 80 open", *expected]
    assert {(one.need, one.purpose) for one in findings} == {(Need.REQUIRED, "what for")}


def test_evidence_is_summed_and_what_was_not_measured_stays_so() -> None:
    ports = {"p1": replace(SILENT, at_socket=2), "p2": replace(SILENT, at_socket=1, sent=5)}
    blocked, open_ports = build_findings(PLAN, observed(PLAN, **ports), SURE)[2:]
    assert blocked.evidence == Evidence(9, None, 3, 0)
    assert open_ports.evidence == Evidence(4, None, None, 4)


def refused(errors: int, **rest: Any) -> Observation:
    return replace(SILENT, **{"reply": Reply.UNREACHABLE, "by": "192.0.2.1", "icmp": WHY, "errors": errors, **rest})


SAMPLED = Observation(UDP, 0, untested=Reason.SAMPLED)
HELD = Observation(UDP, 0, untested=Reason.BUSY)


@pytest.mark.parametrize(
    ("what", "ports", "expected"),
    [
        ("some of the silent told", {1: refused(3), 2: SILENT, 3: SILENT, 4: refused(1), 5: SILENT, 6: SILENT},
         ["udp 1-6 rejected"]),
        ("all tries of one told", {1: SILENT, 2: refused(4), 3: SILENT},
         ["udp 1 filtered", "udp 2 rejected", "udp 3 filtered", "udp 4-6 open"]),
        ("one told once", {1: SILENT, 2: refused(1), 3: SILENT},
         ["udp 1 filtered", "udp 2 rejected", "udp 3 filtered", "udp 4-6 open"]),
        ("all tries of each that told did, which no limit leaves", {1: SILENT, 2: refused(4), 3: SILENT, 4: refused(4)},
         ["udp 1 filtered", "udp 2 rejected", "udp 3 filtered", "udp 4 rejected", "udp 5-6 open"]),
        ("what is open parts them", {1: SILENT, 2: refused(1), 4: refused(1), 5: SILENT},
         ["udp 1 filtered", "udp 2 rejected", "udp 3 open", "udp 4 rejected", "udp 5 filtered", "udp 6 open"]),
        ("what came to the server is not refused", {1: refused(1), 2: replace(SILENT, at_socket=4), 3: refused(1)},
         ["udp 1 rejected", "udp 2 filtered", "udp 3 rejected", "udp 4-6 open"]),
        ("a sample leaves some out", {1: refused(1), 2: SAMPLED, 3: SILENT, 4: SAMPLED, 5: refused(1), 6: SAMPLED},
         ["udp 1 rejected", "udp 2 untested", "udp 3 rejected", "udp 4 untested", "udp 5 rejected", "udp 6 untested"]),
        ("a service holds some", {1: refused(1), 2: HELD, 3: SILENT, 4: HELD, 5: refused(1), 6: HELD},
         ["udp 1 rejected", "udp 2 untested", "udp 3 rejected", "udp 4 untested", "udp 5 rejected", "udp 6 untested"]),
    ],
)  # fmt: skip
def test_limited_errors_tell_of_their_neighbours(what: str, ports: dict[int, Observation], expected: list[str]) -> None:
    findings = build_findings(PLAN, observed(PLAN, **{f"p{port}": one for port, one in ports.items()}), SURE)
    assert [told(one) for one in findings] == ["tcp 80 open", "udp 7 open", *expected]
    assert {(one.by, one.icmp) for one in findings if one.state is State.REJECTED} == {("192.0.2.1", WHY)}
    told_of = sum(one.errors or 0 for one in ports.values())
    assert sum(one.evidence.errors or 0 for one in findings if one.state is State.REJECTED) == told_of


def test_what_came_in_is_no_part_of_a_refused_stretch() -> None:
    accepted_before = {"p1": refused(1), "p2": SILENT, "p3": refused(1)}
    ports = {name: replace(one, at_socket=4, answers_sent=4) for name, one in accepted_before.items()}
    findings = build_findings(PLAN, observed(PLAN, **ports), SURE)[2:5]
    assert [told(one) for one in findings] == ["udp 1 rejected", "udp 2 filtered", "udp 3 rejected"]
    assert {one.where for one in findings} == {Where.RETURN_PATH}


def test_refused_tcp_ports_tell_nothing_of_their_neighbours() -> None:
    plan = Plan("mine", (row(TCP, 1, 4),))
    observations = observed(plan)
    observations[TCP].update((port, seen(TCP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY)) for port in (1, 4))
    observations[TCP].update((port, seen(TCP)) for port in (2, 3))
    ends = ["tcp 1 rejected", "tcp 2-3 filtered", "tcp 4 rejected"]
    observations[TCP] = {port: replace(one, port=port) for port, one in observations[TCP].items()}
    assert [told(one) for one in build_findings(plan, observations, SURE)] == ends


@pytest.mark.parametrize("chance", [None, MAX_CHANCE])
def test_the_chance_is_shared_out_among_what_silence_alone_says(chance: float | None) -> None:
    ports = {"p1": SILENT, "p2": SILENT, "p4": replace(SILENT, untested=Reason.BUSY), "p7": SILENT}
    findings = build_findings(PLAN, observed(PLAN, **ports), Conditions(chance=chance))
    shares = {told(one): one.evidence.chance for one in findings if one.evidence.chance is not None}
    each = MAX_CHANCE / 3
    expected = {} if chance is None else {"udp 7 filtered": each, "udp 1-2 filtered": 2 * each}
    assert shares == pytest.approx(expected)


def test_a_limit_on_small_probes_is_not_what_others_met() -> None:
    large = replace(SILENT, only_small=True)
    observations = observed(PLAN, p1=large)
    observations[TCP][80] = replace(seen(TCP), port=80)
    conditions = Conditions(limit=SLOW, unsure_of_large=Reason.RATE_LIMIT, closed=(seen(TCP),))
    findings = [one for one in build_findings(PLAN, observations, conditions) if one.state is State.UNKNOWN]
    assert [(told(one), one.reason, one.evidence.rate) for one in findings] == [
        ("tcp 80 unknown", Reason.RATE_LIMIT, None), ("udp 1 unknown", Reason.RATE_LIMIT, None)
    ]  # fmt: skip


def test_large_packets_have_a_chance_of_their_own() -> None:
    ports = {"p1": SILENT, "p2": replace(SILENT, only_small=True), "p3": replace(SILENT, only_small=True)}
    findings = build_findings(
        PLAN, observed(PLAN, **ports), Conditions(chance=MAX_CHANCE, chance_of_large=MAX_CHANCE / 2)
    )
    silent = [one for one in findings if one.state is State.FILTERED]
    assert [(told(one), one.shown, one.evidence.chance) for one in silent] == [
        ("udp 1 filtered", None, MAX_CHANCE), ("udp 2-3 filtered", ONLY_SMALL, MAX_CHANCE / 2)
    ]  # fmt: skip


def test_ports_are_in_doubt_where_large_packets_could_not_tell() -> None:
    ports = {"p1": SILENT, "p2": replace(SILENT, only_small=True)}
    findings = build_findings(PLAN, observed(PLAN, **ports), Conditions(unsure_of_large=Reason.RATE_LIMIT))
    assert [(told(one), one.reason, one.shown) for one in findings if one.state is not State.OPEN] == [
        ("udp 1 filtered", None, None), ("udp 2 unknown", Reason.RATE_LIMIT, None)
    ]  # fmt: skip


def test_connections_that_found_no_room_are_evidence_where_tcp_is_silent() -> None:
    observations = observed(PLAN, p1=SILENT)
    observations[TCP][80] = Observation(TCP, 80, 4, Reply.NOTHING)
    findings = build_findings(PLAN, observations, Conditions(counters=Counters(0, 0, 0, 7, 2)))
    drops = {told(one): (one.evidence.listen_drops, one.evidence.slow_turns, one.evidence.capture_drops)
             for one in findings}  # fmt: skip
    assert drops["tcp 80 unknown"] == (7, 2, None)
    assert drops["udp 1 filtered"] == (None, None, 0)


def test_where_nothing_is_silent_there_is_no_chance() -> None:
    assert all(
        one.evidence.chance is None for one in build_findings(PLAN, observed(PLAN), Conditions(chance=MAX_CHANCE))
    )


@pytest.mark.parametrize(
    ("conclusive", "silent"),
    [(True, ["udp 1 filtered", "udp 3 filtered"]), (False, ["udp 1 unknown", "udp 3 unknown"])],
)
def test_what_the_servers_kernel_dropped_is_evidence_where_udp_is_silent(conclusive: bool, silent: list[str]) -> None:
    ports = {"p1": SILENT, "p3": SILENT, "p4": replace(SILENT, untested=Reason.BUSY)}
    observations = observed(PLAN, **ports, p5=replace(SILENT, redirected_to=9))
    observations[TCP][80] = Observation(TCP, 80, 4, Reply.NOTHING)
    findings = build_findings(PLAN, observations, Conditions(conclusive=conclusive, counters=Counters(0, 12)))
    dropped = {told(one): (one.evidence.conntrack_drops, one.evidence.receive_errors) for one in findings}
    assert dropped == {**dict.fromkeys(dropped, (None, None)), **dict.fromkeys(silent, (0, 12))}
    assert "tcp 80 filtered" in dropped


@pytest.mark.parametrize(
    ("limit", "rate", "flows", "seconds"),
    [
        (SLOW, 300.0, None, None),
        (Limit(Reason.FLOW_LIMIT, flows=3000, seconds=30.5), None, 3000, 30.5),
        (Limit(Reason.SCAN_BLOCK, rate=512.0, seconds=61.0), 512.0, None, 61.0),
    ],
)
def test_what_was_measured_of_a_limit_is_evidence_where_it_is_the_reason(
    limit: Limit, rate: float | None, flows: int | None, seconds: float | None
) -> None:
    ports = {"p1": SILENT, "p4": replace(SILENT, untested=Reason.BUSY)}
    findings = build_findings(PLAN, observed(PLAN, **ports), Conditions(conclusive=False, limit=limit))
    measured = {told(one): (one.evidence.rate, one.evidence.flows, one.evidence.seconds) for one in findings}
    assert measured == {**dict.fromkeys(measured, (None, None, None)), "udp 1 unknown": (rate, flows, seconds)}
    sure = build_findings(PLAN, observed(PLAN, **ports), Conditions(limit=limit))
    assert all((one.evidence.rate, one.evidence.flows, one.evidence.seconds) == (None,) * 3 for one in sure)


@pytest.mark.parametrize("transport", [TCP, UDP])
@pytest.mark.parametrize(
    ("at_interface", "by", "named"),
    [(0, "192.0.2.1", False), (3, "192.0.2.1", True), (0, "192.0.2.254", True)],
    ids=["a bridge's", "the server's", "a router's"],
)
def test_who_refuses_before_the_server_is_not_the_server(
    transport: Transport, at_interface: int, by: str, named: bool
) -> None:
    where = Where.SERVER_HOST if at_interface else Where.BEFORE_SERVER
    refused = seen(transport, Reply.UNREACHABLE, by=by, errors=3, at_interface=at_interface, at_socket=0)
    ports = {1: replace(refused, port=1, place=where if transport is TCP else None)}
    observations: dict[Transport, dict[int, Observation]] = {TCP: {}, UDP: {}, transport: ports}
    (found,) = build_findings(Plan("", (row(transport, 1, 1),)), observations, Conditions(address="192.0.2.1"))
    assert (found.state, found.where, found.by) == (State.REJECTED, where, by if named else None)


def test_neighbours_are_judged_together_where_the_path_loses_probes() -> None:
    lost, came = (replace(SILENT, sent=3, at_interface=count, answers_sent=0) for count in (0, 2))
    ports = {"p1": came, "p2": lost, "p3": came}
    for loss, expected in ((0.0, ["udp 1 server-host", "udp 2 before-server", "udp 3 server-host"]),
                           (0.2, ["udp 1-3 server-host"])):  # fmt: skip
        findings = build_findings(PLAN, observed(PLAN, **ports), Conditions(loss=loss))
        blocked = [one for one in findings if one.state is State.FILTERED]
        assert [f"udp {one.ports} {one.where and one.where.value}" for one in blocked] == expected
    assert (blocked[0].evidence.at_interface, blocked[0].evidence.answers_sent) == (4, 0)


def test_answers_that_get_lost_do_not_hide_where_packets_are_stopped() -> None:
    """Nor does a client that is too busy to take them in."""
    plan = Plan("mine", (row(UDP, 1, 300),))
    came, lost = (replace(SILENT, at_interface=count, answers_sent=0) for count in (4, 0))
    answered = Observation(UDP, 0, 4, Reply.PROOF, answered=1, at_interface=4, at_socket=4)
    for at_interface, expected in ((4, "udp 151-200 before-server"), (2, "udp 153-200 before-server")):
        around = replace(answered, at_interface=at_interface)
        others = {f"p{port}": around for port in (*range(1, 101), *range(201, 301))}
        ports = {f"p{port}": came if port < 151 else lost for port in range(101, 201)}
        findings = build_findings(plan, observed(plan, **others, **ports), Conditions(loss=0.5))
        blocked = [f"udp {one.ports} {one.where.value}" for one in findings if one.where]
        assert expected in blocked
        assert blocked[0] == "udp 101-150 server-host"
