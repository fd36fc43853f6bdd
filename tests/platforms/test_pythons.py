"""Every supported Python, on either side and against another one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import lab
from tests.pythons import SUPPORTED, need

# The oldest against the newest and so on: each version is once a server and once a client.
PAIRS = tuple(zip(SUPPORTED, reversed(SUPPORTED)))
KEY = "b2cd-j6as-k7d1-mpmt-vcdn-q6yw-3h57"
HOLE = "50000,53000-53999,57007,60000"  # lone ports and the plan's edges too


@pytest.mark.parametrize(("serving", "checking"), PAIRS)
def test_every_port_is_judged_right(archive: Path, net: lab.Lab, serving: str, checking: str) -> None:
    with lab.server(net.server, archive, "--key", KEY, python=need(serving)):
        net.server.rules("input", f"udp dport {{ {HOLE} }} drop")
        done = lab.check(net.client, archive, net.server.ipv4, "--key", KEY, python=need(checking))
    assert lab.wrong(done.report, {f"udp {HOLE}": "filtered"}) == []
    assert (done.status, done.report["verdict"], done.stderr) == (1, "fail", "")
    assert done.address["control"] == {"port": 443, "tls": True, "paired": True}


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_selftest(archive: Path, version: str, options: tuple[str, ...]) -> None:
    command: list[str | Path] = [need(version), "-W", "error", "-X", "dev", archive, "selftest", *options]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if options:
        report = json.loads(done.stdout)
        assert (report["verdict"], report["error"]) == ("pass", None)
    else:
        assert done.stdout.startswith("PASS")
