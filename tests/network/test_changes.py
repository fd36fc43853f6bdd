"""Firewalls whose rules change in the middle of a check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.lab import Check, causes, check, lab, ports, server, side_by_side, wrong

RANGE, CHANGED = "udp dport 53000-53999", "udp 53000-53999"
# What the old rules make of a port is right, and what the new ones do.
EITHER = "open or filtered server-host or unknown"
MANY = 200  # packets that were dropped, at least


@dataclass(frozen=True, eq=False)
class Scenario:
    """A rule about a range that begins or ends when so many bytes met it, and how many of the range are open.

    So no test has to be in time. A probe has 120 bytes. What is shut meanwhile is found by what follows up.
    """

    fault: str
    rule: str
    opened: tuple[int, int]


SCENARIOS = (
    Scenario("a range is shut when half of it is open", f"{RANGE} quota over 60 kbytes counter drop", (0, 0)),
    Scenario("a range is opened in the second pass", f"{RANGE} quota until 140 kbytes counter drop", (1, 1000)),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A check, and how many packets were dropped in it."""

    check: Check
    dropped: int


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Outcome]]:
    def run(scenario: Scenario) -> Outcome:
        with lab() as net:
            net.server.rules("input", scenario.rule)
            with server(net.server, archive):
                return Outcome(check(net.client, archive, net.server.ipv4), net.counted())

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_change(scenario: Scenario, outcome: Callable[[Scenario], Outcome]) -> None:
    seen, dropped = outcome(scenario).check, outcome(scenario).dropped
    assert dropped >= MANY
    assert wrong(seen.report, {CHANGED: EITHER}) == []
    found = causes(seen.report)
    least, most = scenario.opened
    assert least <= sum(found[port] == "open" for port in ports(CHANGED)) <= most
