"""Servers that may not, or cannot, do all that a check needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab import Lab, check, need, server, wrong


@pytest.fixture(scope="session")
def archive(pyz: Path) -> Path:
    """A program that is not root reads a copy of the one file."""
    return pyz


FEW, UDP = "tcp 80,443,7881 udp 50000-50299", ("--udp", "50000-50299")
KEY = "b2cd-j6as-k7d1-mpmt-vcdn-q6yw-3h57"
START_SECONDS = 60.0  # with a few ports, on a busy machine
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def readable(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The archive where everybody may read it; pytest's own folders are root's alone."""
    folder = Path("/var/tmp", f"pnmcheck-{os.getpid()}")
    folder.mkdir(mode=0o755)
    try:
        yield Path(shutil.copy(archive, folder))
    finally:
        shutil.rmtree(folder)


def everybodys_python() -> str:
    """A Python that may be run without root; the tests' own may be in root's home."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if Path(python).exists() and subprocess.run([*NOBODY, python, "-c", ""], check=False).returncode == 0:
            return python
    pytest.fail("no Python here that others than root may run")


def test_the_server_runs_without_root(net: Lab, readable: Path) -> None:
    need("setpriv")
    with server(net.server, readable, python=everybodys_python(), prefix=NOBODY) as running:
        untested = [(one["transport"], one["first"], one["reason"]) for one in running.listening["untested"]]
        assert untested == [("tcp", 80, "denied"), ("tcp", 443, "denied"), ("udp", 443, "denied")]
        assert running.listening["control"] == 7881
        seen = check(net.client, readable, net.server.ipv4)
        assert wrong(seen.report, {"tcp 80,443 udp 443": "untested denied"}) == []
        assert (seen.status, seen.report["verdict"], seen.address["control"]["port"]) == (3, "inconclusive", 7881)
        assert "sudo" in " ".join(one["text"] for one in seen.address["advice"])


def test_few_open_files_at_first(net: Lab, archive: Path) -> None:
    need("prlimit")
    with server(net.server, archive, prefix=("prlimit", "--nofile=1024:16384")) as running:
        assert running.listening["untested"] == []
        assert wrong(check(net.client, archive, net.server.ipv4).report) == []


def test_few_open_files_at_most(net: Lab, archive: Path) -> None:
    need("prlimit")
    with server(net.server, archive, prefix=("prlimit", "--nofile=4096:4096")) as running:
        (limited,) = running.listening["untested"]
        assert (limited["transport"], limited["last"], limited["reason"]) == ("udp", 60000, "limit")
        first = limited["first"]
        assert 53000 < first < 54096
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, {f"udp {first}-60000": "untested limit"}) == []
        assert (seen.status, seen.report["verdict"]) == (3, "inconclusive")


@pytest.mark.parametrize(
    "openssl", [None, "/bin/sleep 1000; true", "exit 1", "echo nonsense"],
    ids=["missing", "hangs", "fails", "says-nonsense"],
)  # fmt: skip
def test_openssl(net: Lab, archive: Path, tmp_path: Path, openssl: str | None) -> None:
    if openssl is not None:
        program = tmp_path / "openssl"
        program.write_text(f"#!/bin/sh\n{openssl}\n", encoding="ascii")
        program.chmod(0o755)
    begun = time.monotonic()
    with server(net.server, archive, *UDP, "--key", KEY, env={"PATH": str(tmp_path)}) as running:
        assert time.monotonic() - begun < 5 + START_SECONDS  # a tool that hangs gets 5 s
        assert running.listening["tls"] is False
        seen = check(net.client, archive, net.server.ipv4, "--key", KEY)
        assert wrong(seen.report, plan=FEW) == []
        assert (seen.status, seen.address["control"]) == (0, {"port": 443, "tls": False, "paired": True})
        assert any("openssl" in note for note in seen.address["notes"])


def test_443_passes_nothing_but_tls_and_the_server_has_none(net: Lab, archive: Path, tmp_path: Path) -> None:
    # Users would come with TLS, and get in.
    net.server.rules("input", "tcp dport 443 meta length > 100 drop")
    with server(net.server, archive, *UDP, env={"PATH": str(tmp_path)}):
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, {"tcp 443": "unknown aborted"}, plan=FEW) == []
        assert "TLS" in seen.finding("tcp", 443)["shown"]
        assert (seen.status, seen.report["verdict"]) == (3, "inconclusive")
