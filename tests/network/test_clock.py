"""Clocks that are years off: the certificate's dates must not matter, nor anything else that a date is in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab import PROGRAMS, Lab, check, need, server, wrong

FEW, UDP = "tcp 80,443,7881 udp 50000-50009", ("--udp", "50000-50009")
KEY = ("--key", "b2cd-j6as-k7d1-mpmt-vcdn-q6yw-3h57")
YEARS, YEAR_SECONDS = 20, 365 * 24 * 3600

CLOCK = PROGRAMS / "wrong_clock.c"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    path = tmp_path_factory.mktemp("clock") / "clock.so"
    made: list[str | Path] = ["gcc", "-shared", "-fPIC", "-o", path, "-x", "c", "-"]
    subprocess.run(made, input=CLOCK.read_text(encoding="ascii"), encoding="ascii", check=True, capture_output=True)
    return path


@pytest.mark.parametrize("whose", ["client", "server"])
def test_a_clock_that_is_years_off(net: Lab, archive: Path, library: Path, whose: str) -> None:
    net.server.rules("input", "udp dport 50003 drop", "tcp dport 7881 reject with tcp reset")
    shut = {"udp 50003": "filtered server-host", "tcp 7881": "rejected"}
    for years in (YEARS, -YEARS):
        off = {"LD_PRELOAD": str(library), "OFF": str(years * YEAR_SECONDS)}
        envs = {"client": {}, "server": {}, whose: off}
        today = net.client.must("date", "+%Y")
        dated = int(net.client.must("env", *(f"{name}={value}" for name, value in off.items()), "date", "+%Y"))
        assert abs(dated - int(today)) in (YEARS - 1, YEARS, YEARS + 1)
        with server(net.server, archive, *UDP, *KEY, env=envs["server"]) as running:
            seen = check(net.client, archive, net.server.ipv4, *KEY, env=envs["client"])
            told = running.wait_for("report")["report"]
        noted = [one["code"] for event in running.of("notes") for one in event["notes"]]
        assert noted.count("clocks-apart") == 1
        assert (wrong(seen.report, shut, plan=FEW), wrong(told, shut, plan=FEW)) == ([], [])
        assert (seen.status, seen.address["control"]) == (1, {"port": 443, "tls": True, "paired": True})
        assert int(seen.report["started"][:4]) in ((dated, dated + 1) if whose == "client" else (int(today),))
        assert 0 < seen.report["elapsed_s"] < 60
