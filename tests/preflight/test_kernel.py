"""The kernel's settings and the clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.config.model import Installed
from agent.core.plan import MEDIA, Need, Plan, Requirement, Transport, build_plan
from agent.core.ports import PortRange
from agent.preflight import evaluate
from agent.preflight.model import Machine
from tests.preflight.values import (
    EPHEMERAL,
    EPHEMERAL_CHECK,
    NOW,
    PLAN,
    REPORT,
    codes,
    only,
    results,
)


@pytest.mark.parametrize(
    ("reserved", "plan", "which", "command"),
    [
        (frozenset(), PLAN, "50000-60000/udp", "50000-60000"),
        (frozenset({8080}), PLAN, "50000-60000/udp", "8080,50000-60000"),
        (frozenset(range(50000, 59000)), PLAN, "59000-60000/udp", "50000-60000"),
        (frozenset(), build_plan("plugnmeet", udp=(PortRange(60500, 62000),)), "60500-60999/udp", "60500-60999"),
    ],
)
def test_ephemeral_ports_are_reserved_beside_those_that_are(
    reserved: frozenset[int], plan: Plan, which: str, command: str
) -> None:
    note = only(evaluate.check_machine(Machine(ephemeral_ports=EPHEMERAL, reserved_ports=reserved), plan, None))
    assert which in note.what
    assert note.commands[0] == f"sysctl -w net.ipv4.ip_local_reserved_ports={command}"
    assert f"net.ipv4.ip_local_reserved_ports = {command}'" in note.commands[1]


@pytest.mark.parametrize(("lent", "reserved"), [(None, frozenset()), (EPHEMERAL, None)])
def test_unknown_ephemeral_ports(lent: PortRange | None, reserved: frozenset[int] | None) -> None:
    assert EPHEMERAL_CHECK in results(Machine(ephemeral_ports=lent, reserved_ports=reserved))[2]


def test_ephemeral_ports_below_the_plan() -> None:
    assert EPHEMERAL_CHECK in results(Machine(ephemeral_ports=PortRange(32768, 49999), reserved_ports=frozenset()))[1]


@pytest.mark.parametrize(("most", "wrong"), [(7_680, True), (10_001, True), (10_002, False), (262_144, False)])
def test_connection_tracking_with_fewer_entries_than_ports(most: int, wrong: bool) -> None:
    notes = evaluate.check_machine(Machine(conntrack_max=most), PLAN, None)
    assert codes(notes) == (["conntrack-size"] if wrong else [])
    if wrong:
        assert only(notes).commands[0] == "sysctl -w net.netfilter.nf_conntrack_max=65536"


def shared_port(source: str | None) -> Installed:
    return Installed((Requirement(Transport.UDP, PortRange(7882, 7882), MEDIA, Need.REQUIRED, source),))


@pytest.mark.parametrize(
    ("most", "source", "found"),
    [
        (2_499_999, "livekit.yaml, rtc.udp_port", "wrong"),
        (2_500_000, "livekit.yaml, rtc.udp_port", "fine"),
        (None, "livekit.yaml, rtc.udp_port", "unknown"),
        (212_992, "livekit.yaml, rtc.port_range_start", ""),
        (212_992, None, ""),
    ],
)
def test_the_receive_buffer_of_a_port_that_all_share(most: int | None, source: str | None, found: str) -> None:
    wrong, fine, unknown = results(Machine(max_receive_buffer=most), shared_port(source))
    told = {
        "wrong": "receive-buffer" in wrong,
        "fine": "receive buffers" in fine,
        "unknown": "receive buffers" in unknown,
    }
    assert [name for name, true in told.items() if true] == ([found] if found else [])


@pytest.mark.parametrize(
    ("clock", "why", "expected"),
    [
        (True, {}, ([], ("clock",), (EPHEMERAL_CHECK,))),
        (False, {}, (["clock-unset"], (), (EPHEMERAL_CHECK,))),
        (
            None,
            {"clock": "there is no timedatectl here"},
            ([], (), (EPHEMERAL_CHECK, "clock (there is no timedatectl here)")),
        ),
    ],
)
def test_the_clock(clock: bool | None, why: dict[str, str], expected: object) -> None:
    assert results(Machine(clock_synchronized=clock, errors=why)) == expected


@pytest.mark.parametrize(
    ("started", "now", "words"),
    [
        (REPORT.started, NOW + 10, ""),
        (REPORT.started, NOW + 70, ""),
        (REPORT.started, NOW + 71, " 1 min ahead of"),
        (REPORT.started, NOW - 50, ""),
        (REPORT.started, NOW - 3590, " 60 min behind"),
        ("2027-13-15T08:00:00Z", NOW, ""),
        ("0000-01-01T00:00:00Z", NOW, ""),
        ("yesterday", NOW, ""),
    ],
)
def test_the_clients_clock(started: str, now: float, words: str) -> None:
    notes = evaluate.check_report(replace(REPORT, started=started), now, {})
    assert [(note.code, words in note.what) for note in notes] == [("clocks-apart", True)] * bool(words)
