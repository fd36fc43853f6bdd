"""Paths that lose packets, by chance or since they are slow. None of it may be called a shut port."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests.lab import PLAN, Check, check, lab, server, side_by_side, wrong

SOME, FEW = "tcp 80,443,7881 udp 50000-50999", "tcp 80,443,7881 udp 50000-50099"
HOLE = "udp dport 53000-53999 drop"
MANY = 50  # packets lost, at least: else a scenario's fault was none


@dataclass(frozen=True, eq=False)
class Scenario:
    """Rules by host and hook; `shut` are the ports that may not be called open, and no others may be called shut."""

    fault: str
    rules: Mapping[str, tuple[str, ...]]
    shut: str = ""
    exact: bool = True  # whether all has to be told; else a port may be `unknown`
    plan: str = PLAN


def lose(percent: int, of: str = "") -> Mapping[str, tuple[str, ...]]:
    """So much of each way."""
    rule = f"{of} numgen random mod 100 < {percent} counter drop"
    return {"client input": (rule,), "server input": (rule,)}


UDP = "meta l4proto udp"

SCENARIOS = (
    # Those that take longest come first: so the rest is done beside them.
    Scenario("20 percent of all UDP lost each way and a hole", {**lose(20, UDP), "server prerouting": (HOLE,)},
             "udp 53000-53999"),
    Scenario("20 percent of all UDP lost each way", lose(20, UDP)),
    Scenario("6 percent lost each way and a hole", {**lose(6), "server prerouting": (HOLE,)}, "udp 53000-53999"),
    Scenario("6 percent lost each way", lose(6)),
    Scenario("3 percent lost each way and a hole", {**lose(3), "server prerouting": (HOLE,)}, "udp 53000-53999"),
    Scenario("3 percent lost each way", lose(3)),
    Scenario("20 percent lost each way", lose(20), exact=False, plan=SOME),
    Scenario("20 percent lost each way and a hole", {**lose(20), "server prerouting": ("udp dport 50900-50999 drop",)},
             "udp 50900-50999", exact=False, plan=SOME),
    Scenario("60 percent lost each way", lose(60, UDP), exact=False, plan=FEW),
    Scenario("a guard lets 500 packets a second pass",
             {"server input": (f"{UDP} limit rate over 500/second burst 50 packets counter drop",)}, plan=SOME),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A check, and how many packets were lost in it."""

    check: Check
    lost: int


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Outcome]]:
    def run(scenario: Scenario) -> Outcome:
        with lab() as net:
            net.rules(scenario.rules)
            udp = () if scenario.plan == PLAN else ("--udp", scenario.plan.split()[-1])
            with server(net.server, archive, *udp):
                seen = check(net.client, archive, net.server.ipv4)
                return Outcome(seen, net.counted())

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_loss(scenario: Scenario, outcome: Callable[[Scenario], Outcome]) -> None:
    seen, lost = outcome(scenario).check, outcome(scenario).lost
    assert lost >= MANY
    unsure = "" if scenario.exact else " or unknown"
    shut = {scenario.shut: f"filtered server-host{unsure}"} if scenario.shut else {}
    assert wrong(seen.report, shut, plan=scenario.plan, rest=f"open{unsure}") == []
