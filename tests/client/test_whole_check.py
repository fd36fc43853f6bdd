"""Whole checks in memory, each named after the network's fault: the verdict, and the findings."""

from __future__ import annotations

from typing import Any

import pytest

from agent.client.control_client import ControlClient, ForeignAnswer, Greeting, Peer
from agent.core.address import Family
from agent.core.errors import UserError
from agent.core.events import ReportReceived
from agent.core.observation import Interceptor, Reason, Where
from agent.core.plan import Transport
from agent.core.report import AddressReport, Report, State, Verdict
from agent.core.report_json import encode
from agent.protocol import messages
from agent.server.state import PortState
from tests.client.memory import (
    BACK,
    BEFORE,
    FOREIGN,
    HOST,
    KEY,
    MEDIA_PORTS,
    REFUSED,
    ROUTER,
    SMALL,
    MemoryCheck,
    Path,
    plan_of,
)

HOLE = range(50100, 50150)


def states(report: AddressReport, transport: Transport = Transport.UDP) -> dict[str, State]:
    """The state of each run of ports."""
    return {str(one.ports): one.state for one in report.findings if one.transport is transport}


def of(report: AddressReport, state: State) -> Any:
    """The one finding that has this state."""
    (finding,) = (one for one in report.findings if one.state is state)
    return finding


def checked(**faults: Any) -> AddressReport:
    return MemoryCheck(Path(**faults)).run()


def test_a_network_without_a_fault() -> None:
    report = checked()
    assert report.verdict is Verdict.PASS
    assert {one.state for one in report.findings} == {State.OPEN}
    assert (report.control.port, report.control.paired) == (80, False)
    assert (report.client.local, report.client.mapped) == ("203.0.113.2", "203.0.113.2")
    assert (report.loss.to_server, report.loss.to_client) == (0.0, 0.0)
    assert list(report.notes) == []


def test_a_firewall_before_the_server_drops_a_range() -> None:
    check = MemoryCheck(Path(udp=dict.fromkeys(HOLE, BEFORE)))
    report = check.run()
    assert report.verdict is Verdict.FAIL
    assert states(report) == {
        "50000-50099": State.OPEN, "50100-50149": State.FILTERED, "50150-50299": State.OPEN,
    }  # fmt: skip
    hole = of(report, State.FILTERED)
    assert (hole.where, hole.evidence.at_interface) == (Where.BEFORE_SERVER, 0)
    assert check.traced == [(Transport.UDP, 50100)]
    assert (hole.evidence.last_hop, hole.evidence.hops) == (str(ROUTER), 4)


def test_the_servers_own_firewall_drops_a_range() -> None:
    report = checked(udp=dict.fromkeys(HOLE, HOST))
    hole = of(report, State.FILTERED)
    assert report.verdict is Verdict.FAIL
    assert (hole.where, hole.evidence.at_socket) == (Where.SERVER_HOST, 0)
    assert hole.evidence.at_interface == hole.evidence.sent


def test_answers_are_dropped_on_the_way_back() -> None:
    report = checked(udp=dict.fromkeys(HOLE, BACK))
    hole = of(report, State.FILTERED)
    assert report.verdict is Verdict.FAIL
    assert (hole.where, hole.evidence.answers_sent) == (Where.RETURN_PATH, hole.evidence.sent)


def test_without_capture_nobody_knows_where_packets_are_dropped() -> None:
    report = MemoryCheck(Path(udp=dict.fromkeys(HOLE, HOST)), capture=False).run()
    hole = of(report, State.FILTERED)
    assert (hole.where, hole.evidence.at_interface) == (Where.UNKNOWN, None)


def test_a_router_refuses_a_range() -> None:
    report = checked(udp=dict.fromkeys(HOLE, REFUSED))
    hole = of(report, State.REJECTED)
    assert report.verdict is Verdict.FAIL
    assert (str(hole.ports), hole.where, hole.by) == ("50100-50149", Where.BEFORE_SERVER, str(ROUTER))


def test_something_else_answers_a_port() -> None:
    report = checked(udp={50007: FOREIGN})
    port = of(report, State.INTERCEPTED)
    assert report.verdict is Verdict.FAIL
    assert (str(port.ports), port.interceptor) == ("50007", Interceptor.OTHER_SERVICE)


def test_a_port_is_forwarded_to_another_one() -> None:
    report = checked(udp={50007: 50008})
    port = of(report, State.INTERCEPTED)
    assert report.verdict is Verdict.FAIL
    assert (str(port.ports), port.interceptor) == ("50007", Interceptor.FORWARDED)


def test_only_small_packets_pass() -> None:
    report = checked(udp=dict.fromkeys(MEDIA_PORTS, SMALL))
    ports = of(report, State.FILTERED)
    assert report.verdict is Verdict.FAIL
    assert ports.only_small


@pytest.mark.parametrize("hole", [(), HOLE])
def test_a_path_that_loses_a_tenth_each_way(hole: Any) -> None:
    report = checked(loss=0.1, udp=dict.fromkeys(hole, BEFORE))
    assert report.verdict is (Verdict.FAIL if hole else Verdict.PASS)
    blocked = [str(one.ports) for one in report.findings if one.state is State.FILTERED]
    assert blocked == (["50100-50149"] if hole else [])
    assert report.loss.to_server is not None
    assert 0.05 < report.loss.to_server < 0.15


@pytest.mark.parametrize(
    ("fault", "flows", "ports", "reason"),
    [
        ("a full connection-tracking table", 1200, 2000, Reason.FLOW_LIMIT),
        ("scan protection", 120, 300, Reason.SCAN_BLOCK),  # no router has so small a table
    ],
)
def test_new_flows_are_dropped_after_so_many(fault: str, flows: int, ports: int, reason: Reason) -> None:
    report = MemoryCheck(Path(table=flows), plan_of(ports)).run()
    assert report.verdict is Verdict.INCONCLUSIVE
    assert {one.reason for one in report.findings if one.state is not State.OPEN} == {reason}


def test_the_server_stops_in_the_middle() -> None:
    report = checked(udp=dict.fromkeys(HOLE, BEFORE), stops_at=0.5)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert of(report, State.UNKNOWN).reason is Reason.NO_CONTROL


def test_the_user_interrupts() -> None:
    check = MemoryCheck(Path(udp=dict.fromkeys(HOLE, BEFORE), interrupts_at=0.5))
    report = check.run()
    assert check.order.aborted
    assert report.verdict is Verdict.INCONCLUSIVE
    assert of(report, State.UNKNOWN).reason is Reason.ABORTED


@pytest.mark.parametrize(
    ("fault", "state", "where"),
    [
        (BEFORE, State.FILTERED, Where.BEFORE_SERVER),
        (HOST, State.FILTERED, Where.SERVER_HOST),
        (REFUSED, State.REJECTED, Where.SERVER_HOST),
        (FOREIGN, State.INTERCEPTED, None),
    ],
)
def test_a_tcp_port_that_is_stopped(fault: str, state: State, where: Where | None) -> None:
    report = checked(tcp={7881: fault})
    assert report.verdict is Verdict.FAIL
    assert states(report, Transport.TCP) == {"80": State.OPEN, "7881": state}
    assert of(report, state).where is where


def test_all_of_udp_is_blocked() -> None:
    report = checked(udp=dict.fromkeys(MEDIA_PORTS, BEFORE))
    assert report.verdict is Verdict.FAIL
    assert states(report) == {"50000-50299": State.FILTERED}


BUSY = PortState(
    untested={Family.IPV4: {Transport.UDP: {50003: Reason.BUSY}, Transport.TCP: {}}},
    owners={Transport.UDP: {50003: "livekit (pid 812)"}},
)


@pytest.mark.parametrize(("key", "owner"), [(None, None), (KEY, "livekit (pid 812)")])
def test_a_busy_port_whose_holder_only_a_paired_client_learns(key: str | None, owner: str | None) -> None:
    check = MemoryCheck(Path(), key=key, server_key=key)
    check.core.replace_ports(BUSY)
    report = check.run()
    port = of(report, State.UNTESTED)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert (port.reason, port.owner, report.control.paired) == (Reason.BUSY, owner, bool(key))


def test_a_wrong_key_is_refused() -> None:
    with pytest.raises(UserError, match="refused") as raised:
        MemoryCheck(Path(), key=KEY, server_key=KEY[::-1])
    assert raised.value.code == "wrong-key"


def test_a_machine_in_the_middle_is_found() -> None:
    with pytest.raises(UserError) as raised:
        MemoryCheck(Path(), key=KEY, server_key=KEY, certificate=b"somebody else's")
    assert raised.value.code == messages.INTERCEPTED


def test_ports_that_are_bound_half_at_a_time() -> None:
    check = MemoryCheck(Path(udp={50001: BEFORE}), live=True)
    check.core.replace_ports(PortState(partitions={port: port % 2 for port in MEDIA_PORTS}))
    report = check.run()
    assert check.partitions == [0, 1]
    assert states(report) == {"50000": State.OPEN, "50001": State.FILTERED, "50002-50299": State.OPEN}


def test_an_address_without_a_control_channel_of_its_own() -> None:
    report = MemoryCheck(Path(udp=dict.fromkeys(HOLE, BEFORE))).run(through="198.51.100.10")
    assert report.verdict is Verdict.FAIL
    assert report.client.mapped is None  # the server saw another address of this client
    assert "checked through 198.51.100.10" in report.notes[0]


def test_a_sample_finds_a_wide_hole() -> None:
    report = MemoryCheck(Path(udp=dict.fromkeys(range(50050, 50250), BEFORE))).run(sample=20)
    assert report.verdict is Verdict.FAIL
    assert report.sample
    assert report.sample.ports < 30


def test_the_report_is_handed_to_the_server() -> None:
    check = MemoryCheck(Path())
    report = Report("0.2.0", "", 1.0, "meet.example", "mine", Verdict.PASS, (check.run(),))
    for part in messages.report_parts(encode(report)):
        check._ask(part, messages.Received)
    received = [event.report for event in check.events if isinstance(event, ReportReceived)]
    assert received == [report]


def test_what_is_said_in_the_clear_beside_the_challenge_is_not_taken_for_the_welcome() -> None:
    client = ControlClient(Peer(443), Greeting("0.2.0", Family.IPV4, KEY), b"n" * 16)
    client.ask(client.hello, 0.0)
    forged = messages.encode(messages.Refusal("crowded", "forged", "by somebody"))
    with pytest.raises(ForeignAnswer):
        client.receive(messages.encode(messages.Challenge("2" * 32)) + forged, 0.0)
    assert client.welcome is None
