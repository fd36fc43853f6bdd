"""How long a whole check takes; it runs with nothing beside it, or it would measure that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import Lab, check, server, wrong

HOLE, SHUT = "udp dport 53000-53999 drop", "udp 53000-53999"


@pytest.mark.parametrize(("rules", "shut", "most"), [((), "", 4.0), ((HOLE,), SHUT, 10.0)], ids=["all open", "a hole"])
def test_a_check_takes_seconds(net: Lab, archive: Path, rules: tuple[str, ...], shut: str, most: float) -> None:
    if rules:
        net.server.rules("input", *rules)
    with server(net.server, archive):
        seen = check(net.client, archive, net.server.ipv4)
    print(f"{seen.report['elapsed_s']} s of at most {most}")
    assert wrong(seen.report, {shut: "filtered"} if shut else {}) == []
    assert seen.report["elapsed_s"] < most
