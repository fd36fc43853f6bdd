"""Servers that are none of ours, or lie: the client says so, in time, and harms nobody's terminal."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from agent.core.counters import KernelStatus
from agent.protocol import messages
from tests.lab import PROGRAMS, Check, check, lab, program, server, side_by_side

LIAR = PROGRAMS / "lying_server.py"

HELLO = '{"type":"hello","protocol":3,"program":"0.1.0","family":"ipv4","nonce":null}\n'
ASK = PROGRAMS / "ask_server.py"

Script = Callable[[dict[str, Any]], list[Any]]


@dataclass(frozen=True, eq=False)
class Scenario:
    """What a liar says to each line, made of a true welcome, and the error that has to come of it."""

    lie: str
    script: Script
    code: str | None = "not-pnmcheck"  # None: the lie comes after the welcome, and the check has an outcome
    says: str = ""  # what of it the message has to hold
    harmful: bool = False  # on a terminal
    most_seconds: float = 120
    most_memory: int = 80  # MiB: room for the program itself, a line and a page of rows, each several times over


def line(value: object) -> str:
    return json.dumps(value) + "\n"


def welcome(**other: object) -> Script:
    return lambda true: [line({**true, **other}), line({"type": "rows", "rows": [], "next": None})]


def planned(*rows: object, name: object = "plugnmeet") -> Script:
    return welcome(plan={"name": name, "requirements": rows})


def row(first: object, last: object, transport: object = "udp", purpose: str = "media") -> list[object]:
    return [transport, first, last, purpose, "required"]


def paged(page: str) -> Script:
    """A true welcome with few ports, and then this page of rows for ever."""
    few = {"name": "plugnmeet", "requirements": [row(50000, 50009), row(7881, 7881, "tcp")]}
    return lambda true: [line({**true, "plan": few}), page]


def agreeing(true: dict[str, Any]) -> list[Any]:
    """A plan of all ports, and whatever is asked later is answered as a server does that has seen nothing."""
    plan = {"name": "all", "requirements": [row(1, 65535), row(1, 65535, "tcp")]}
    rows = line({"type": "rows", "rows": [], "next": None})
    return [line({**true, "plan": plan}), [rows, messages.encode(messages.KernelReply(KernelStatus())).decode()]]


def refusal(code: str, message: str, hint: str) -> Script:
    return lambda true: [line({"type": "refusal", "code": code, "message": message, "hint": hint})]


def text(said: str | None) -> Script:
    return lambda true: [said]


def replaced(old: str, new: str) -> Script:
    def change(true: dict[str, Any]) -> list[Any]:
        told = line(true)
        assert old in told
        return [told.replace(old, new)]

    return change


PROTOCOL = '"protocol": 3'
ESCAPE = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202e"

SCENARIOS = (
    # A check asks for 180 s at most, and then tells what it knows; of each port and probe something is kept in memory.
    Scenario("all ports that there are", agreeing, None, most_seconds=240, most_memory=300),
    Scenario("a welcome of another protocol", welcome(protocol=99), "version", "99"),
    Scenario("a welcome of another protocol that says other things",
             text(line({"type": "welcome", "protocol": 99, "program": "9.9", "ports": "all"})), "version", "99"),
    Scenario("a refusal for the version", refusal("version", "This server speaks protocol 99", "fetch 9.9"), "version",
             "protocol 99"),
    Scenario("a refusal because it is crowded", refusal("crowded", "64 checks are running", "wait"), "crowded",
             "64 checks"),
    Scenario("closes", text(None)),
    Scenario("says nothing", text(""), "no-server"),
    Scenario("a banner", text("SSH-2.0-OpenSSH_9.6\r\n"), says="SSH-2.0"),
    Scenario("an empty line", text("\n")),
    Scenario("an endless line", text("x")),
    Scenario("an endless line of JSON", text('{"type":"')),
    Scenario("a line that comes in drops for ever", text("DRIP{"), "no-server"),
    Scenario("UTF-16", lambda true: ["\0".join(line(true))]),
    Scenario("a number beyond all", replaced(PROTOCOL, '"protocol": 1e999')),
    Scenario("port zero", planned(row(0, 0))),
    Scenario("control characters in a program's name",
             welcome(protocol=99, program=f"9{ESCAPE}"), "version", "99", harmful=True),
    Scenario("two answers to one question", lambda true: [line(true) * 2], None),
    Scenario("a hundred answers before their questions", lambda true: [line(true) * 100]),
    Scenario("closes after the welcome", lambda true: [line(true), None], None),
    Scenario("bytes that are no UTF-8", text('{"type":"\udcff\udcfe"}\n')),
    Scenario("deep lists", text("[" * 60000 + "\n")),
    Scenario("deep objects", text('{"type":' * 8000 + "\n")),
    Scenario("not a number", replaced(PROTOCOL, '"protocol": NaN')),
    Scenario("an endless number", replaced(PROTOCOL, '"protocol": Infinity')),
    Scenario("a number of many digits", replaced(PROTOCOL, '"protocol": ' + "9" * 50000)),
    Scenario("a negative protocol", welcome(protocol=-1)),
    Scenario("a key twice", replaced(PROTOCOL, f"{PROTOCOL}, {PROTOCOL}")),
    Scenario("overlapping ports", planned(row(50000, 50010), row(50010, 50020))),
    Scenario("a range backwards", planned(row(50010, 50000))),
    Scenario("negative ports", planned(row(-5, 5))),
    Scenario("ports out of bounds", planned(row(60000, 70000))),
    Scenario("ports that are no whole numbers", planned(row(1.5, 2.5))),
    Scenario("ports that are true", planned(row(True, True))),
    Scenario("a transport that is none", planned(row(1, 2, "sctp"))),
    Scenario("a session that is none", welcome(session="../../etc/passwd")),
    Scenario("a secret that is none", welcome(secret="")),
    Scenario("a text of great length", planned(row(1, 2, purpose="x" * 60000))),
    Scenario("half a surrogate", replaced('"plugnmeet"', '"\\ud800"')),
    Scenario("control characters in a refusal", refusal(f"v{ESCAPE}", f"go {ESCAPE} away", f"now {ESCAPE}"), "", "go",
             harmful=True),
    Scenario("control characters in a plan", planned(row(50000, 50009, purpose=f"m{ESCAPE}"), name=f"p{ESCAPE}"), None,
             harmful=True),
    Scenario("control characters in a banner", text(f"hi{ESCAPE}\n"), says="hi", harmful=True),
    Scenario("no ports at all", planned(), None),
    Scenario("rows that lead back to themselves", paged(line({"type": "rows", "rows": [], "next": 1})), None),
    Scenario("rows that crawl", paged('{"type":"rows","rows":[],"next":NEXT}\n'), None),
    Scenario("rows of negative ports", paged(line({"type": "rows", "rows": [[-1, 5, 1]], "next": None})), None),
    Scenario("rows of negative counts",
             paged(line({"type": "rows", "rows": [[50000, 50001, -7]], "next": None})), None),
    Scenario("rows of ports that nobody planned",
             paged(line({"type": "rows", "rows": [[1, 65535, "busy"]], "next": None})), None),
    Scenario("rows with control characters",
             paged(line({"type": "rows", "rows": [[50000, 50009, ESCAPE]], "next": None})), None, harmful=True),
    Scenario("a welcome again instead of rows", lambda true: [line(true)], None),
    Scenario("nothing after the welcome", lambda true: [line(true), ""], None),
    Scenario("a refusal after the welcome",
             lambda true: [line(true), line({"type": "refusal", "code": "c", "message": ESCAPE, "hint": "h"})], None,
             harmful=True),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A check as JSON, and what is harmful in words too."""

    check: Check
    words: str
    memory: int  # MiB, at most


MEASURED = PROGRAMS / "measure_memory.py"


@pytest.fixture(scope="module")
def true_welcome(archive: Path) -> dict[str, Any]:
    with lab() as net, server(net.server, archive, "--udp", "50000-50009"):
        found = json.loads(net.client.must(sys.executable, ASK, net.server.ipv4, HELLO))
        assert found["type"] == "welcome"
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, archive: Path, true_welcome: dict[str, Any]
) -> Iterator[Callable[[Scenario], Outcome]]:
    def run(scenario: Scenario) -> Outcome:
        script = json.dumps(scenario.script(copy.deepcopy(true_welcome)))
        with lab() as net, program(net.server, LIAR, script):
            seen = check(net.client, archive, net.server.ipv4, prefix=(sys.executable, MEASURED))
            memory = int(seen.stderr.split()[-1]) // 1024
            if not scenario.harmful:
                return Outcome(seen, "", memory)
            words = net.client.run([sys.executable, archive, "client", net.server.ipv4])
            assert words.returncode == seen.status
            return Outcome(seen, words.stdout + words.stderr, memory)

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.lie.replace(" ", "-"))
def test_lie(scenario: Scenario, outcome: Callable[[Scenario], Outcome]) -> None:
    seen, words = outcome(scenario).check, outcome(scenario).words
    assert seen.report["elapsed_s"] < scenario.most_seconds
    assert outcome(scenario).memory < scenario.most_memory
    assert "Traceback" not in words
    harmful = [char for char in words + seen.stderr if not (char.isprintable() or char == "\n")]
    assert harmful == []
    states = {one["state"] for address in seen.report["addresses"] for one in address["findings"]}
    assert "open" not in states
    assert "internal" not in (seen.report["error"] or {}).get("code", "")
    if scenario.code is None:
        assert seen.status in (1, 3)
        return
    assert (seen.status, seen.report["verdict"], states) == (3, "inconclusive", set())
    error = seen.report["error"]
    assert scenario.code in (error["code"], "")
    assert scenario.says in error["message"]
    assert error["hint"]


def test_a_server_has_no_say_in_what_is_sampled(archive: Path, true_welcome: dict[str, Any]) -> None:
    rows = paged(line({"type": "rows", "rows": [[50000, 50009, "sampled"]], "next": None}))
    with lab() as net, program(net.server, LIAR, json.dumps(rows(copy.deepcopy(true_welcome)))):
        seen = check(net.client, archive, net.server.ipv4)
    assert (seen.finding("udp", 50000)["reason"], seen.address["sample"]) == ("busy", None)
