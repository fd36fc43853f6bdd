"""Plans of nearly all ports there are: time and memory grow with the ports, and no faster."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab import Lab, Server, check, need, server, wrong

pytestmark = pytest.mark.alone

SOME, MANY = 10_000, 60_000
FIRST = 1024
FILES = 70_000  # that a server of so many ports has open at most
# Linear, and as much again: the machine that runs the tests may have other things to do at one time or the other.
SLOWER = 2
MOST_MEMORY = 60 * 1024  # KiB, for ten thousand ports


def open_files() -> int:
    """How many files a server may have open: not every root may raise the hard limit."""
    raised = subprocess.run(["prlimit", f"--nofile={FILES}:{FILES}", "true"], capture_output=True, check=False)
    if raised.returncode == 0:
        return FILES
    hard = subprocess.run(["prlimit", "--nofile", "--output=HARD", "--noheadings"], capture_output=True, check=True)
    return int(hard.stdout)


def peak_memory(running: Server) -> int:
    """In KiB."""
    status = Path(f"/proc/{running.process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def timed_check(net: Lab, archive: Path, count: int, files: int) -> tuple[float, int]:
    """How many seconds a check of so many open ports took, and how much memory it took the server."""
    udp, prefix = f"{FIRST}-{FIRST + count - 1}", ("prlimit", f"--nofile={files}:{files}")
    with server(net.server, archive, "--udp", udp, prefix=prefix) as running:
        assert running.listening["untested"] == []
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, plan=f"tcp 80,443,7881 udp {udp}") == []
        assert seen.report["verdict"] == "pass"
        return float(seen.report["elapsed_s"]), peak_memory(running)


def test_time_and_memory(net: Lab, archive: Path) -> None:
    need("prlimit")
    files = open_files()
    many = min(MANY, files - 1000)
    few_seconds, memory = timed_check(net, archive, SOME, files)
    assert memory < MOST_MEMORY
    seconds, _ = timed_check(net, archive, many, files)
    assert seconds < SLOWER * many / SOME * few_seconds, f"{few_seconds:.1f} s and {seconds:.1f} s for {many} ports"
