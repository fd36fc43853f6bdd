"""How fast a client may send, by its user's own word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import Lab, check, server, wrong

PORTS = 300
FEW, UDP = f"tcp 80,443,7881 udp 50000-{49999 + PORTS}", ("--udp", f"50000-{49999 + PORTS}")


@pytest.mark.parametrize(("rate", "kept"), [("200", True), ("1000000", False)])
def test_the_server_never_sees_more_a_second(net: Lab, archive: Path, rate: str, kept: bool) -> None:
    # The burst is what piles up while one of the two sides has to wait for a processor.
    net.server.rules("input", "udp dport 50000-60000 limit rate over 220/second burst 80 packets counter")
    with server(net.server, archive, *UDP):
        seen = check(net.client, archive, net.server.ipv4, "--rate", rate)
    assert wrong(seen.report, plan=FEW) == []
    assert (net.server.counted() == 0) is kept
    assert (seen.report["elapsed_s"] >= (PORTS - 1) / int(rate)) or not kept
