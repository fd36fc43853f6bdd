"""Clients that are none of ours, or lie: the server's terminal and JSON stay sound, and the next check is right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from agent.core import report_json
from agent.protocol import messages
from agent.protocol.messages import PROTOCOL
from tests.core.test_report import REPORT
from tests.lab import PROGRAMS, check, lab, server, until
from tests.network.test_liars import ESCAPE, HELLO, line

FEW = ("--tcp", "80", "--udp", "50000-50009")
MOST_MEMORY = 128 * 1024  # KiB; a report of full size is there as text, as JSON and as a report

LIAR = PROGRAMS / "lying_client.py"


def ask(**fields: Any) -> str:
    return line({"type": "ask", "about": "sightings", "transport": "udp", "start": 1, **fields})


def parts(text: str) -> list[str]:
    return [messages.encode(part).decode("ascii") for part in messages.report_parts(text)]


def hostile(value: Any) -> Any:
    """A report's JSON with what no terminal may see in every text that is free."""
    if isinstance(value, dict):
        free = ("version", "started", "host", "plan", "purpose", "by", "owner", "shown", "icmp", "text", "code",
                "message", "hint")  # fmt: skip
        return {key: f"x{ESCAPE}" if key in free else hostile(inner) for key, inner in value.items()}
    return [hostile(inner) for inner in value] if isinstance(value, list) else value


EVIL = json.dumps(
    {**hostile(report_json.to_json(REPORT)), "error": {"code": ESCAPE, "message": ESCAPE, "hint": ESCAPE}}
)
SCRIPTS = {
    "hello twice": [HELLO, HELLO],
    "a question before hello": [ask()],
    "ports outside the plan": [HELLO, ask(start=65535), ask(transport="tcp", start=9)],
    "port zero": [HELLO, ask(start=0)],
    "a port beyond all": [HELLO, ask(start=1e999)],
    "an unknown type": [HELLO, line({"type": "shutdown"})],
    "two questions at a time": [HELLO, ask() * 2],
    "an endless line": ["{" + "x" * 10_000_000],
    "deep nesting": ['{"type":' * 8000 + "\n"],
    "what a server says": [HELLO, line({"type": "received"})],
    "escape sequences in a hello": [HELLO.replace("0.1.0", "\\u001b[2J\\u202e").replace(f":{PROTOCOL},", ":99,")],
    "a report with escape sequences": [HELLO, *parts(EVIL)],
    "another after a report": [HELLO, *parts(EVIL), *parts(EVIL)],
    "a report in crumbs": [HELLO, line({"type": "report", "text": "{", "last": False})],
    "a report beyond full size": [
        HELLO, *parts('"' * messages.MAX_REPORT)[:-1], *parts("x" * messages.MAX_REPORT_PART * 2)],
    "a report of full size that is none": [HELLO, *parts('"' + "\\\"" * (messages.MAX_REPORT // 2 - 1) + '"')],
}  # fmt: skip
SHUT = {"a question before hello", "another after a report",
        "two questions at a time", "hello twice", "what a server says", "a report in crumbs",
        "escape sequences in a hello", "a report beyond full size", "a report of full size that is none"}  # fmt: skip


def test_lying_clients(archive: Path) -> None:
    with lab() as net, server(net.server, archive, *FEW) as running:
        told = net.client.must(sys.executable, LIAR, net.server.ipv4, input=json.dumps(list(SCRIPTS.values())))
        answers = dict(zip(SCRIPTS, map(json.loads, told.splitlines())))
        for name in SHUT:
            refusal = json.loads(next(filter(None, reversed(answers[name]))))
            assert refusal["type"] == "refusal", name
            assert refusal["hint"], name
        assert not any(answers["an endless line"])
        peak = int(Path(f"/proc/{running.process.pid}/status").read_text("ascii").split("VmHWM:")[1].split()[0])
        assert peak < MOST_MEMORY
        print(f"the server took {peak / 1024:.0f} MiB at most")
        assert check(net.client, archive, net.server.ipv4).report["verdict"] == "pass"
        until(lambda: len(running.of("report")) >= 2, "the reports")
        assert running.stderr == ""


def test_no_lie_reaches_the_terminal(archive: Path) -> None:
    with lab() as net, net.server.popen([sys.executable, archive, "server", *FEW],
                                        stdout=-1, stderr=-1) as process:  # fmt: skip
        assert process.stderr
        assert process.stdout
        begun = ""
        while "ctrl-C" not in begun:
            begun += process.stderr.readline() or "ctrl-C"
        scripts = [SCRIPTS["a report with escape sequences"], SCRIPTS["escape sequences in a hello"]]
        net.client.must(sys.executable, LIAR, net.server.ipv4, input=json.dumps(scripts))
        words = "".join(process.stdout.readline() for _ in range(4))
        process.send_signal(2)
        words += begun + "".join(process.communicate(timeout=120))
    assert "x?[2J" in words
    assert "was refused" in words
    assert [char for char in words if not (char.isprintable() or char == "\n")] == []
