"""Junk at the rate that a core can send, from a third address, makes a check slower, and no verdict wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, Sequence

import pytest

from tests.lab import PROGRAMS, SERVER, Host, Lab, check, lab, need, server, wrong

pytestmark = pytest.mark.alone

SMALL, UDP = "tcp 80,443,7881 udp 50000-51999", ("--udp", "50000-51999")
HOLE = "50500-51499"
# What the server may have more than before: a session's records, and the interpreter's own crumbs.
MORE_MEMORY, MORE_FILES = 16 * 1024, 600

JUNK = PROGRAMS / "flood_junk.c"

CONNECTS = PROGRAMS / "flood_connects.py"


@pytest.fixture(scope="module")
def junk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    folder = tmp_path_factory.mktemp("junk")
    shutil.copy(JUNK, folder / "junk.c")
    subprocess.run(["gcc", "-O2", "-o", folder / "junk", folder / "junk.c"], check=True)
    return folder / "junk"


@pytest.fixture
def routed() -> Iterator[Lab]:
    with lab(routed=True) as made:
        yield made


def memory(pid: int) -> int:
    """What a process has in memory, in KiB."""
    (line,) = (one for one in Path(f"/proc/{pid}/status").read_text("ascii").splitlines() if one.startswith("VmRSS:"))
    return int(line.split()[1])


def files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def flooded(net: Lab, archive: Path, command: Sequence[str | Path]) -> None:
    """A check while the router runs a flood: nothing may be wrong, whatever could not be known."""
    sender = net.router
    assert isinstance(sender, Host)
    net.server.rules("input", f"udp dport {HOLE} drop")
    with server(net.server, archive, *UDP) as running:
        pid = running.process.pid
        before = memory(pid), files(pid)
        with sender.popen(command, stdout=subprocess.PIPE) as flood:
            assert flood.stdout
            try:
                assert flood.stdout.readline()
                begun = time.monotonic()
                seen = check(net.client, archive, net.server.ipv4)
                took = time.monotonic() - begun
                after = memory(pid), files(pid)
            finally:
                flood.terminate()
                said = flood.stdout.read().strip()
        summary = {kind: dict(one) for kind, one in seen.address["summary"].items()}
        print(f"{said}; a check took {took:.1f} s: {summary}; {before[0]} -> {after[0]} KiB, "
              f"{before[1]} -> {after[1]} files; {seen.address['notes']}")  # fmt: skip
    blocked = {f"udp {HOLE}": "filtered or unknown rate-limit"}
    assert wrong(seen.report, blocked, plan=SMALL, rest="open or unknown rate-limit") == []
    assert summary["udp"]["open"] > 500  # and not merely nothing wrong
    assert after[0] - before[0] < MORE_MEMORY
    assert after[1] - before[1] < MORE_FILES


@pytest.mark.parametrize("ports", ["50000-51999", "50000-50000"], ids=["all ports", "one port"])
def test_junk_at_full_rate(routed: Lab, archive: Path, junk: Path, ports: str) -> None:
    flooded(routed, archive, [junk, SERVER[0], *ports.split("-")])


def test_connects_at_full_rate(routed: Lab, archive: Path) -> None:
    flooded(routed, archive, [sys.executable, CONNECTS, SERVER[0]])
