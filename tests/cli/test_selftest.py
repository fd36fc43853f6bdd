"""The selftest: as many ports as a real check has, and what it says where it cannot have them."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

pytestmark = pytest.mark.programs


def run(archive: Path, limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[bytes]:
    command: list[str | Path] = [sys.executable, archive, "selftest", "--json"]
    return subprocess.run(command, capture_output=True, timeout=120, check=False, preexec_fn=limit)


def selftest(archive: Path, limit: Callable[[], None] | None = None) -> dict[str, Any]:
    done = run(archive, limit)
    assert (done.returncode, done.stderr) == (0, b"")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def udp_ports(report: dict[str, Any]) -> int:
    findings = report["addresses"][0]["findings"]
    return sum(one["last"] - one["first"] + 1 for one in findings if one["transport"] == "udp")


def test_it_checks_as_many_ports_as_a_real_check(archive: Path) -> None:
    report = selftest(archive)
    assert (udp_ports(report), report["notes"]) == (10_001, [])


def test_it_says_what_a_low_limit_of_open_files_left_out(archive: Path) -> None:
    report = selftest(archive, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 2048)))
    assert 200 <= udp_ports(report) < 2048
    (note,) = report["notes"]
    assert note.startswith(f"Tested with {udp_ports(report):,} UDP ports, where a real check has 10,001: ")


def test_it_says_what_to_do_where_the_limit_is_too_low_for_any_port(archive: Path) -> None:
    done = run(archive, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)))
    what, why, hint = re.split("  (?:why|what to do): ", done.stderr.decode())
    assert (done.returncode, what) == (3, "pnmcheck: The selftest cannot open its sockets\n")
    assert "open files" in why
    assert "`ulimit -n 11000`" in hint
