"""One run of one program in one network."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import AbstractSet, ContextManager, NamedTuple

import build
from tests.bench import echo
from tests.bench.cases import Case
from tests.bench.tools import Errand, Tool, Verdict
from tests.lab import INTERFACE, Host, Lab, program, server


class Run(NamedTuple):
    """What a run came to. One that took longer than the limit took for ever, and said nothing."""

    seconds: float
    wrong: int = 0
    unknown: int = 0
    packets: int = 0
    failure: str = ""


def judged(verdict: Verdict, reachable: AbstractSet[int], ports: range) -> tuple[int, int]:
    """How many ports were called what they are not, and how many were called unknown, which is never wrong."""
    planned = frozenset(ports)
    wrong = (verdict.open ^ reachable) & planned
    return len(wrong - verdict.unknown), len(verdict.unknown & planned)


def measure(net: Lab, case: Case, tool: Tool, ports: str, limit: float) -> Run:
    """Run it once, against a server that is there already."""
    if tool.program and not shutil.which(tool.program):
        return Run(math.nan, failure="not installed")
    task = Errand(net.server.ipv4, ports)
    with other_side(net.server, tool, ports), tempfile.TemporaryDirectory() as folder:
        packets, started = sent(net.client), time.monotonic()
        try:
            # In a folder of its own, since some leave files where they are interrupted.
            done = net.client.run(tool.command(task), timeout=limit, cwd=folder)
        except subprocess.TimeoutExpired:
            return Run(math.inf)
        seconds = time.monotonic() - started
        return outcome(tool, case, task.range, done, Run(seconds, packets=sent(net.client) - packets))


def outcome(tool: Tool, case: Case, ports: range, done: subprocess.CompletedProcess[str], run: Run) -> Run:
    """The run, with the verdict on the verdict."""
    if done.returncode not in tool.statuses:
        said = (done.stderr or done.stdout).strip().splitlines()
        return run._replace(failure=f"status {done.returncode}: {said[-1][:60] if said else 'it said nothing'}")
    try:
        verdict = tool.read(done.stdout)
    except (KeyError, ValueError) as error:
        return run._replace(failure=f"no verdict: {error!s:.60}")
    wrong, unknown = judged(verdict, case.open_of(ports), ports)
    return run._replace(wrong=wrong, unknown=unknown)


def other_side(host: Host, tool: Tool, ports: str) -> ContextManager[object]:
    """What answers."""
    if tool.ours:
        return server(host, build.target(), "--udp", ports)
    return program(host, Path(echo.__file__), ports)


def sent(host: Host) -> int:
    """How many packets have left it."""
    return int(host.must("cat", f"/sys/class/net/{INTERFACE}/statistics/tx_packets"))
