"""Paths that lose packets, and guards that let only so many pass. None of it may be called a shut port."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests.lab import PLAN, Check, check, lab, server, side_by_side, states, wrong

SOME, FEW = "tcp 80,443,7881 udp 50000-50999", "tcp 80,443,7881 udp 50000-50099"
HOLE = "udp dport 53000-53999 drop"


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
    rule = f"{of} numgen random mod 100 < {percent} drop"
    return {"client input": (rule,), "server input": (rule,)}


SCENARIOS = (
    Scenario("5 percent lost each way", lose(5)),
    Scenario("5 percent lost each way and a hole", {**lose(5), "server prerouting": (HOLE,)}, "udp 53000-53999"),
    Scenario("20 percent lost each way", lose(20), exact=False, plan=SOME),
    Scenario("20 percent lost each way and a hole", {**lose(20), "server prerouting": ("udp dport 50900-50999 drop",)},
             "udp 50900-50999", exact=False, plan=SOME),
    Scenario("20 percent lost each way of all ports", lose(20, "meta l4proto udp"), exact=False),
    Scenario("60 percent lost each way", lose(60, "meta l4proto udp"), exact=False, plan=FEW),
    Scenario("a guard lets 500 packets a second pass",
             {"server input": ("meta l4proto udp limit rate over 500/second burst 50 packets drop",)}, plan=SOME),
    Scenario("a guard against floods shuts all UDP after a while",
             {"server input": ("meta l4proto udp quota over 6 kbytes drop",)}, exact=False, plan=FEW),
    Scenario("all UDP answers are lost after a while",
             {"client input": ("meta l4proto udp quota over 6 kbytes drop",)}, exact=False, plan=FEW),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Check]]:
    def run(scenario: Scenario) -> Check:
        with lab() as net:
            for place, rules in scenario.rules.items():
                host, hook = place.split()
                (net.server if host == "server" else net.client).rules(hook, *rules)
            udp = () if scenario.plan == PLAN else ("--udp", scenario.plan.split()[-1])
            with server(net.server, archive, *udp):
                return check(net.client, archive, net.server.ipv4)

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_loss(scenario: Scenario, outcome: Callable[[Scenario], Check]) -> None:
    seen = outcome(scenario)
    shut = {scenario.shut: "filtered unknown"} if scenario.shut else {}
    if scenario.exact:
        assert wrong(seen.report, shut, plan=scenario.plan) == []
        return
    unsure = {port: "unknown" for port, state in states(seen.report).items() if state == "unknown"}
    assert (
        wrong(seen.report, {**shut, **{f"{name} {port}": "unknown" for name, port in unsure}}, plan=scenario.plan) == []
    )
