"""What the scanners said is read right, and what it came to is told right."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import main, parser, port_range, positive, some_of
from tests.bench.cases import CASES, Case, network
from tests.bench.measure import Run, judged, measure, outcome
from tests.bench.table import BEGIN, END, cell, replaced, table
from tests.bench.tools import TOOLS, Errand, Tool, Verdict, read_masscan, read_nmap, read_nping, read_pnmcheck
from tests.lab import need

BY_NAME = {tool.name: tool for tool in TOOLS}
CASE = {case.name: case for case in CASES}

# An echo at 50000 and 50001; nobody at 50002, and 50003 dropped.
NMAP = """\
# Nmap 7.93 scan initiated Tue Nov 24 12:38:48 2026 as: nmap -sU -T4 -Pn -n -p 50000-50003 -oG - 198.51.100.1
Host: 198.51.100.1 ()	Status: Up
Host: 198.51.100.1 ()	Ports: 50000/open/udp/////, 50001/open/udp//unknown///, 50002/closed/udp/////, \
50003/open|filtered/udp/////
# Nmap done at Tue Nov 24 12:38:49 2026 -- 1 IP address (1 host up) scanned in 1.31 seconds
"""
MASSCAN = """\
#masscan
open udp 50001 198.51.100.1 1795523930
open udp 50000 198.51.100.1 1795523930
# end
"""
NPING = """\

Starting Nping 0.7.93 ( https://nmap.org/nping ) at 2026-11-24 12:38 UTC
RCVD (0.0103s) UDP 198.51.100.1:50000 > 203.0.113.2:53 ttl=63 id=60982 iplen=28 
RCVD (0.0103s) ICMP [198.51.100.1 > 203.0.113.2 Port unreachable (type=3/code=3) ] IP [ttl=63 id=54619 iplen=56 ]
RCVD (0.0104s) UDP 198.51.100.1:50001 > 203.0.113.2:53 ttl=63 id=60983 iplen=28 
 
Max rtt: 0.007ms | Min rtt: 0.007ms | Avg rtt: 0.007ms
Raw packets sent: 4 (112B) | Rcvd: 3 (112B) | Lost: 1 (25.00%)
Nping done: 1 IP address pinged in 0.04 seconds
"""  # noqa: W291, W293


def finding(first: int, last: int, state: str, transport: str = "udp") -> dict[str, Any]:
    return {"transport": transport, "first": first, "last": last, "state": state}


def report(*findings: dict[str, Any], error: dict[str, str] | None = None) -> str:
    return json.dumps({"addresses": [{"findings": findings}], "error": error})


@pytest.mark.parametrize(
    ("read", "text"), [(read_nmap, NMAP), (read_masscan, MASSCAN), (read_nping, NPING)],
    ids=["nmap", "masscan", "nping"],
)  # fmt: skip
def test_scanners_are_read(read: Any, text: str) -> None:
    assert read(text) == Verdict({50000, 50001})
    assert read("") == Verdict(set())


def test_pnmcheck_is_read() -> None:
    text = report(finding(443, 443, "open", "tcp"), finding(50000, 50001, "open"), finding(50002, 50002, "unknown"),
                  finding(50003, 50003, "filtered"))  # fmt: skip
    assert read_pnmcheck(text) == Verdict({50000, 50001}, {50002})


@pytest.mark.parametrize(
    ("verdict", "wrong", "unknown"),
    [
        (Verdict({1, 2}), 0, 0),
        (Verdict({1, 2, 3}), 1, 0),
        (Verdict({1, 3}), 2, 0),
        (Verdict({1}, {2}), 0, 1),
        (Verdict({1}, {2, 3}), 0, 2),
        (Verdict({1, 2, 9}, {8}), 0, 0),
        (Verdict(set()), 2, 0),
    ],
)
def test_verdicts_are_held_against_the_truth(verdict: Verdict, wrong: int, unknown: int) -> None:
    assert judged(verdict, {1, 2}, range(1, 5)) == (wrong, unknown)


def test_the_truth_of_a_hole() -> None:
    assert CASE["hole"].open_of(range(52999, 54002)) == {52999, 54000, 54001}
    assert CASE["loss"].open_of(range(52999, 54002)) == set(range(52999, 54002))


@pytest.mark.parametrize(
    ("tool", "status", "stdout", "stderr", "failure"),
    [
        ("masscan", 1, "", "one\nno such interface\n", "status 1: no such interface"),
        ("nping", -11, "", "", "status -11: it said nothing"),
        ("pnmcheck", 3, "nonsense", "", "no verdict: Expecting value: line 1 column 1 (char 0)"),
        ("pnmcheck", 3, report(error={"message": "nobody answers"}), "", "no verdict: nobody answers"),
        ("pnmcheck", 1, report(finding(50000, 50003, "open")), "", ""),
    ],
)
def test_how_a_run_ended(tool: str, status: int, stdout: str, stderr: str, failure: str) -> None:
    done = subprocess.CompletedProcess([tool], status, stdout, stderr)
    seen = outcome(BY_NAME[tool], CASE["open"], range(50000, 50004), done, Run(1, packets=4))
    assert seen == Run(1, packets=4, failure=failure)


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([], "–"),
        ([Run(0.304, 0, 0, 10001)], "0.30 s, 0 wrong, 10,001 packets"),
        ([Run(1.94, 0, 0, 1), Run(0.5, 0, 0, 3), Run(9.9, 0, 0, 2)], "1.9 s, 0 wrong, 2 packets"),
        ([Run(13.2, 1200, 0, 5), Run(12.6, 3, 0, 7)], "13 s, 3-1,200 wrong, 5 packets"),
        ([Run(1, 0, 7, 5), Run(1, 0, 0, 5)], "1.0 s, 0 wrong, 0-7 unknown, 5 packets"),
        ([Run(math.inf)], "> 120 s"),
        ([Run(2, 0, 0, 5), Run(math.inf), Run(math.inf)], "> 120 s"),
        ([Run(2, 4, 0, 5), Run(math.inf), Run(3, 4, 0, 5)], "3.0 s, 4 wrong, 5 packets"),
        ([Run(2, 4, 0, 5), Run(math.nan, failure="not | installed")], "not / installed"),
    ],
)
def test_cells(runs: list[Run], text: str) -> None:
    assert cell(runs, 120) == text


def test_the_table() -> None:
    tools, cases = [BY_NAME["nping"], BY_NAME["pnmcheck"]], [CASE["open"], CASE["policer"]]
    runs = {("nping", "open"): [Run(0.3, 9, 0, 10)], ("pnmcheck", "open"): [Run(1, 0, 0, 11)],
            ("pnmcheck", "policer"): [Run(38, 0, 2, 12)]}  # fmt: skip
    assert table(tools, cases, runs, 120) == (
        "| time, wrong ports, packets sent | all open | 300 a second pass |\n"
        "| --- | --- | --- |\n"
        "| nping, 20,000/s | 0.30 s, 9 wrong, 10 packets | – |\n"
        "| **pnmcheck** | 1.0 s, 0 wrong, 11 packets | 38 s, 0 wrong, 2 unknown, 12 packets |\n"
    )


def test_what_is_between_the_markers_is_replaced() -> None:
    once = replaced(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new\n")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replaced(once, "new\n") == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_without_markers_nothing_is_replaced(text: str) -> None:
    with pytest.raises(ValueError, match="benchmark"):
        replaced(text, "new\n")


def test_names_come_in_the_order_of_the_table() -> None:
    assert some_of(TOOLS)("pnmcheck,nmap") == [BY_NAME["nmap"], BY_NAME["pnmcheck"]]
    assert some_of(CASES)("all") == list(CASES)
    assert [case.name for case in parser().parse_args([]).cases] == ["open", "hole", "loss", "hole-loss", "delay"]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (some_of(TOOLS), "nmap,ping"),
        (some_of(CASES), ""),
        (port_range, "50000"),
        (port_range, "60000-50000"),
        (port_range, "80-90"),
        (positive, "0"),
        (positive, "-1"),
    ],
)
def test_what_cannot_be_meant_is_refused(read: Any, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        read(text)


def test_a_run_that_takes_too_long() -> None:
    def sleep(_: Errand) -> list[str]:
        return ["sleep", "60"]

    slow = replace(BY_NAME["nmap"], program="sleep", command=sleep)
    with network(CASE["open"]) as net:
        assert measure(net, CASE["open"], slow, "50000-50009", 0.2) == Run(math.inf)


def test_a_tool_that_is_not_there() -> None:
    absent = Tool("absent", "absent", lambda _: ["absent"], read_nmap, program="no-such-program")
    with network(CASE["open"]) as net:
        assert measure(net, CASE["open"], absent, "50000-50009", 10).failure == "not installed"


def test_every_tool_sees_what_is_open(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    need("masscan", "nmap", "nping")
    text = tmp_path / "text.md"
    text.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    # So few that a scanner which loses answers when it hurries does not.
    assert main(["--ports", "50000-50003", "--runs", "1", "--cases", "open", "--write", str(text)]) == 0
    shown = capsys.readouterr().out
    for tool in TOOLS:
        (row,) = [line for line in shown.splitlines() if line.startswith(f"| {tool.title} |")]
        # Nping ends with its last packet, without a wait for the answer to it.
        assert ", 0 wrong, " in row or tool.name == "nping", row
    assert text.read_text(encoding="utf-8") == f"{BEGIN}\n\n{shown}\n{END}\n"


def test_a_hole_is_seen_through_a_delay() -> None:
    need("nmap")
    both = replace(CASE["hole"], delay=0.01)
    with network(both) as net:
        seen = measure(net, both, BY_NAME["nmap"], "52998-53001", 30)
    assert (seen.failure, seen.wrong) == ("", 0)
    assert seen.packets > 4


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_every_network_can_be_made(case: Case) -> None:
    with network(case) as net:
        rules = [rule for host in net if host for rule in host.must("nft", "list", "ruleset").splitlines()]
    assert sum("drop" in rule for rule in rules) == 1 + bool(case.hole) + bool(case.loss) + bool(case.policer)
