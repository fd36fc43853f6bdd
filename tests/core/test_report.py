from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import codec, report_json
from agent.core.address import Family
from agent.core.errors import DecodeError, Exit
from agent.core.finding_groups import group_findings
from agent.core.observation import Reason, Where
from agent.core.plan import Need, Transport
from agent.core.ports import PortRange
from agent.core.report import (
    AddressReport,
    Advice,
    Control,
    Evidence,
    Finding,
    Loss,
    Problem,
    Report,
    Rtt,
    State,
    Verdict,
)
from tests.core.values import ANY, FEW, REPORTS, gone_wrong


def finding(first: int, last: int, state: State = State.OPEN, **rest: Any) -> Finding:
    return Finding(Transport.UDP, PortRange(first, last), Need.REQUIRED, "WebRTC media", state, **rest)


HOLE = finding(
    53000,
    53999,
    State.FILTERED,
    where=Where.BEFORE_SERVER,
    evidence=Evidence(4000, 0, 0, 0, 1e-12, 7, 0, 98.5, 2048, 2.5, 0, 1, 2, 3, "203.0.113.1", 4, 5),
)
REPORT = Report(
    "0.1.0", "2026-01-31T12:00:00Z", 3.2, "meet.example.com", "plugnmeet", Verdict.FAIL,
    (
        AddressReport(
            "203.0.113.10", Family.IPV4, Verdict.FAIL, Control(443, True), Rtt(1.0, 2.0, 3.0), Loss(0.0, 0.01),
            (finding(50000, 52999), HOLE, finding(54000, 60000)), (Advice(1, "Open them.", ("ufw allow 53000",)),),
        ),
    ),
)  # fmt: skip

# Programs rely on these; beside them, keys may be added.
TOP = "schema version started elapsed_s host plan verdict addresses error dns hosts notes"
ADDRESS = "address family verdict control rtt_ms loss sample findings summary advice notes error client server names"
FINDING = "transport first last need purpose state where by reason owner shown icmp interceptor evidence source through"
EVIDENCE = "sent at_interface at_socket answered chance conntrack_drops receive_errors rate flows seconds"
EVIDENCE += " left capture_drops errors hops last_hop listen_drops slow_turns"


def test_the_json_of_a_report_has_the_keys_of_its_schema() -> None:
    made = report_json.to_json(REPORT)
    (address,) = made["addresses"]
    assert list(made) == TOP.split()
    assert list(address) == ADDRESS.split()
    assert [list(one) for one in address["findings"]] == [FINDING.split()] * 3
    assert [list(one["evidence"]) for one in address["findings"]] == [EVIDENCE.split()] * 3
    assert [list(one) for one in address["advice"]] == [["finding", "text", "commands"]]


def test_the_json_of_a_report_has_its_values() -> None:
    made = report_json.to_json(REPORT)
    (address,) = made["addresses"]
    assert (made["schema"], made["verdict"], made["error"]) == ("pnmcheck.report/1", "fail", None)
    assert address["control"] == {"port": 443, "tls": True, "paired": False}
    assert address["rtt_ms"] == {"min": 1.0, "median": 2.0, "p95": 3.0}
    assert address["loss"] == {"to_server": 0.0, "to_client": 0.01}
    assert address["summary"] == {"tcp": {}, "udp": {"open": 9001, "filtered": 1000}}
    assert address["findings"][1] == {
        "transport": "udp", "first": 53000, "last": 53999, "need": "required", "purpose": "WebRTC media",
        "state": "filtered", "where": "before-server", "by": None, "reason": None, "owner": None, "shown": None,
        "icmp": None, "interceptor": None,
        "evidence": {
            "sent": 4000, "at_interface": 0, "at_socket": 0, "answered": 0, "chance": 1e-12, "conntrack_drops": 7,
            "receive_errors": 0, "rate": 98.5, "flows": 2048, "seconds": 2.5, "left": 0, "capture_drops": 1,
            "errors": 2, "hops": 3, "last_hop": "203.0.113.1", "listen_drops": 4, "slow_turns": 5,
        },
        "source": None,
        "through": None,
    }  # fmt: skip
    failed = replace(REPORT, error=Problem("no-server", "No server found", "start it"))
    assert report_json.to_json(failed)["error"] == {
        "code": "no-server",
        "message": "No server found",
        "hint": "start it",
    }


@ANY
@given(REPORTS)
def test_a_report_round_trips_as_one_plain_line(made: Report) -> None:
    text = report_json.encode(made)
    assert report_json.decode(text) == made
    assert text.isascii()
    assert "\n" not in text
    json.loads(text, parse_constant=pytest.fail)


@ANY
@given(st.one_of(st.just(REPORT), REPORTS).map(report_json.to_json).flatmap(gone_wrong))
def test_a_report_with_something_gone_wrong_is_refused_or_read(value: Any) -> None:
    try:
        report_json.decode(json.dumps(value))
    except DecodeError:
        pass


@FEW
@given(st.integers(0, len(report_json.encode(REPORT)) - 1))
def test_a_report_cut_short_is_refused(length: int) -> None:
    with pytest.raises(DecodeError):
        report_json.decode(report_json.encode(REPORT)[:length])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema"], "pnmcheck.report/2"),
        (["elapsed_s"], -1),
        (["elapsed_s"], "3"),
        (["elapsed_s"], True),
        (["host"], "x" * 256),
        (["hosts"], None),
        (["hosts"], ["x"] * 9),
        (["hosts"], ["x" * 256]),
        (["notes"], ["x"] * 65),
        (["notes"], ["x" * 2001]),
        (["addresses", 0, "names"], [7]),
        (["verdict"], "PASS"),
        (["verdict"], None),
        (["addresses"], {}),
        (["addresses"], [report_json.to_json(REPORT)["addresses"][0]] * 129),
        (["error"], {"code": "x"}),
        (["addresses", 0, "address"], "meet.example.com"),
        (["addresses", 0, "address"], ""),
        (["addresses", 0, "address"], "fe80::1%".ljust(65, "e")),
        (["addresses", 0, "control", "port"], 0),
        (["addresses", 0, "control", "paired"], None),
        (["addresses", 0, "rtt_ms", "min"], -0.1),
        (["addresses", 0, "loss", "to_server"], 1.01),
        (["addresses", 0, "findings", 0, "first"], 53000),
        (["addresses", 0, "findings", 0, "last"], 65536),
        (["addresses", 0, "findings", 0, "purpose"], "\ud800"),
        (["addresses", 0, "findings", 0, "evidence", "sent"], 1.5),
        (["addresses", 0, "findings", 0, "evidence", "chance"], -1e-9),
        (["addresses", 0, "findings", 0, "evidence", "conntrack_drops"], -1),
        (["addresses", 0, "findings", 0, "evidence", "receive_errors"], 10**9 + 1),
        (["addresses", 0, "findings", 0, "evidence", "rate"], -0.5),
        (["addresses", 0, "findings", 0, "evidence", "flows"], 0.5),
        (["addresses", 0, "findings", 0, "evidence", "seconds"], "2.5"),
        (["addresses", 0, "advice", 0, "finding"], 3),
        (["addresses", 0, "advice", 0, "commands"], "rm"),
    ],
)
def test_a_report_with_a_field_out_of_bounds_is_refused(path: list[Any], value: object) -> None:
    made: Any = json.loads(report_json.encode(REPORT))
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DecodeError):
        report_json.decode(json.dumps(made))


@pytest.mark.parametrize("second", [(54000, 60000), (50000, 60000), (1, 65535)])
def test_a_report_with_a_port_in_two_findings_is_refused(second: tuple[int, int]) -> None:
    # Thousands of runs of every port would keep whoever lists their ports busy for a minute.
    (address,) = REPORT.addresses
    twice = replace(address, findings=(*address.findings, finding(*second)))
    with pytest.raises(DecodeError):
        report_json.decode(report_json.encode(replace(REPORT, addresses=(twice,))))


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", '{"a":1,"a":1}', '{"a":NaN}', '{"a":1e999}', '{"a":' + "9" * 21 + "}", "[" * 100_000],
)
def test_what_is_no_json_object_or_has_not_the_field_asked_for(text: str) -> None:
    with pytest.raises(DecodeError):
        codec.Record(dict, {"a": codec.Number(0, float("inf"))}).decode(codec.load_object(text))


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(Verdict.PASS, Exit.PASS), (Verdict.FAIL, Exit.FAIL), (Verdict.INCONCLUSIVE, Exit.INCONCLUSIVE)],
)
def test_a_verdict_has_its_exit_status(verdict: Verdict, status: int) -> None:
    assert replace(REPORT, verdict=verdict).status == status


def test_findings_of_one_cause_are_told_together() -> None:
    busy = {"reason": Reason.BUSY, "owner": "haproxy (pid 812)"}
    found = [
        finding(1, 10),
        finding(11, 20, State.FILTERED, where=Where.UNKNOWN),
        finding(21, 21, State.UNTESTED, **busy),
        finding(31, 33, State.FILTERED, where=Where.UNKNOWN),
        finding(34, 34, State.FILTERED, where=Where.RETURN_PATH),
        replace(finding(35, 35, State.UNTESTED, **busy), purpose="something else"),
        replace(finding(36, 36, State.FILTERED, where=Where.UNKNOWN), purpose="something else"),
        replace(finding(37, 37, State.FILTERED, where=Where.UNKNOWN), transport=Transport.TCP),
    ]
    groups = group_findings(found)
    assert [(group.number, list(map(str, group.ports)), len(group)) for group in groups] == [
        (1, ["11-20", "31-33"], 13),
        (2, ["21", "35"], 2),
        (4, ["34"], 1),
        (6, ["36"], 1),
        (7, ["37"], 1),
    ]
    assert [group.first for group in groups] == [found[group.number] for group in groups]


def few(*ports: str) -> list[Finding]:
    """Findings in words: `50000-50009 open`, `50010 untested busy`."""
    return [
        finding(int(first), int(last or first), State(state), reason=Reason(reason[0]) if reason else None)
        for text in ports
        for run, state, *reason in [text.split()]
        for first, _, last in [run.partition("-")]
    ]


@pytest.mark.parametrize(
    ("found", "sample"),
    [
        (few("1-10 open"), None),
        (few("1-10 untested busy"), None),
        (few("1 open", "2-9 untested sampled", "10 filtered"), {"ports": 2, "of": 10}),
        (few("1 unknown aborted", "2 untested busy", "3-10 untested sampled"), {"ports": 1, "of": 10}),
        ([replace(one, transport=Transport.TCP) for one in few("1 open", "2-9 untested sampled")], None),
        ([*few("1 open", "2-9 untested sampled"), replace(finding(80, 89), transport=Transport.TCP)],
         {"ports": 1, "of": 9}),
    ],
)  # fmt: skip
def test_how_much_a_sample_has_seen(found: list[Finding], sample: dict[str, int] | None) -> None:
    (address,) = REPORT.addresses
    made = replace(REPORT, addresses=(replace(address, findings=tuple(found), advice=()),))
    assert report_json.to_json(made)["addresses"][0]["sample"] == sample
    assert report_json.decode(report_json.encode(made)) == made


@pytest.mark.parametrize(
    ("found", "extent", "sampled"),
    [
        (few("1-2 filtered", "3 open", "4 filtered"), ["1-2", "4"], False),
        (few("1 open", "2-3 untested sampled", "4 filtered", "5-6 untested sampled", "7 open"), ["4"], True),
        (few("1 filtered", "2 untested sampled", "3 filtered", "4 untested sampled", "5 filtered"), ["1-5"], True),
        (few("1 filtered", "2 untested sampled", "3 open", "4 untested sampled", "5 filtered"), ["1", "5"], True),
        (few("1 filtered", "2 untested sampled", "3 untested busy", "4 untested sampled", "5 filtered"),
         ["1-5"], True),
        (few("1 filtered", "2 untested sampled", "3 untested limit", "4 untested sampled", "5 filtered"),
         ["1", "5"], True),
        (few("1 filtered", "2 untested busy", "3 filtered", "4 untested busy", "5 open"), ["1-3"], False),
        (few("1 filtered", "2 untested sampled", "4 filtered"), ["1", "4"], True),
        (few("1 filtered", "3 untested sampled", "4 filtered"), ["1", "4"], True),
        (few("1 filtered", "5 open", "6 untested sampled", "7 open"), ["1"], False),
        (few("4 filtered", "2 untested sampled", "3 filtered"), ["4", "3"], True),
    ],
)  # fmt: skip
def test_what_lies_between_findings_of_a_sample_is_taken_for_alike(
    found: list[Finding], extent: list[str], sampled: bool
) -> None:
    (group,) = [one for one in group_findings(found) if one.first.state is State.FILTERED]
    assert (list(map(str, group.extent)), group.sampled) == (extent, sampled)


def test_what_the_server_holds_and_what_a_sample_left_out_is_never_joined() -> None:
    found = few("1 untested busy", "2 untested sampled", "3 untested busy", "4 open", "5 untested sampled")
    assert [list(map(str, one.extent)) for one in group_findings(found)] == [["1", "3"], ["2", "5"]]
    other = [found[0], replace(finding(2, 2, State.UNTESTED, reason=Reason.SAMPLED), transport=Transport.TCP)]
    assert [one.sampled for one in group_findings(other)] == [False, False]
