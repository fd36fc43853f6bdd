"""How long a whole check takes, by what a smaller one takes in the same run; the benchmark has the seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import PLAN, Lab, check, server, wrong

pytestmark = pytest.mark.alone

FEW, SOME = "tcp 80,443,7881 udp 50000-50999", ("--udp", "50000-50999")
HOLE, SHUT = "udp dport 53000-53999 drop", "udp 53000-53999"
# Ten times the ports, and no more than so many times the time: a check has a part that does not grow with its ports.
SLOWER = 10
# A hole takes several passes, a second apart at least; so many seconds where the others take none, or so many times
# what all open takes.
PASSES_SECONDS, HOLE_SLOWER = 5.0, 6


def seconds(net: Lab, archive: Path, *udp: str, plan: str = PLAN, shut: str = "") -> float:
    """Return what a check took, whose verdicts are right."""
    with server(net.server, archive, *udp):
        seen = check(net.client, archive, net.server.ipv4)
    assert wrong(seen.report, {shut: "filtered"} if shut else {}, plan=plan) == []
    return float(seen.report["elapsed_s"])


def test_time_grows_no_faster_than_the_ports(net: Lab, archive: Path) -> None:
    few = seconds(net, archive, *SOME, plan=FEW)
    all_open = seconds(net, archive)
    net.server.rules("input", HOLE)
    with_hole = seconds(net, archive, shut=SHUT)
    print(f"1,000 ports {few} s, 10,001 ports {all_open} s, with a hole of 1,000 {with_hole} s")
    assert all_open < SLOWER * few
    assert with_hole < PASSES_SECONDS + HOLE_SLOWER * all_open
