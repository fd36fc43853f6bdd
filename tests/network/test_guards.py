"""Guards that let only so many packets or flows pass, or shut out whoever opens flows too fast.

What they stop follows the order of sending, not the port's number: it may never be called a shut port.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests.lab import PLAN, Check, at_once, check, chosen, lab, server, wrong

pytestmark = pytest.mark.long

HOLE, SHUT = "udp dport 53000-53999 drop", "udp 53000-53999"
FEW = "tcp 80,443,7881 udp 50000-50099"
MANY = 30  # packets that the guard stopped, at least: else it guarded nothing
TCP, GONE = "tcp 80,443,7881", "scan-block path-loss"


@dataclass(frozen=True, eq=False)
class Scenario:
    """Rules by place; `reason` is what may be said of the ports that the guard kept from being told, if any may."""

    fault: str
    rules: Mapping[str, tuple[str, ...]]
    reason: str = ""
    hole: bool = False
    tcp: bool = False  # whether the guard stops TCP as well
    routed: bool = False
    plan: str = PLAN

    def expected(self, of: str) -> str:
        """What may be said of a port that is `of` in truth."""
        return " or ".join((of, *(f"unknown {reason}" for reason in self.reason.split())))


# The guards stand behind the hole: what it drops is no flow of theirs.
UDP = "meta l4proto udp"
NEW = f"{UDP} ct state new"
RATE = f"{UDP} limit rate over 300/second counter drop"
BANNED = "type ipv4_addr; flags dynamic, timeout; timeout 60s"
BAN = f"{NEW} limit rate over 100/second burst 700 packets add @banned {{ ip saddr }} counter drop"
DROP_BANNED, ACCEPT_KNOWN = "ip saddr @banned counter drop", "ct state established,related accept"


def table(entries: int) -> str:
    """A table with room for so many flows."""
    return f"{NEW} ct count over {entries} counter drop"


def after(kilobytes: int) -> str:
    """Shut for good when so much has passed; a probe has 120 bytes, an answer a few less."""
    return f"{UDP} quota over {kilobytes} kbytes counter drop"


def at_server(*rules: str) -> dict[str, tuple[str, ...]]:
    """By the server's own firewall."""
    return {"server input": rules}


def at_router(*rules: str) -> dict[str, tuple[str, ...]]:
    """By a firewall before the server, which guards what comes from outside."""
    return {"router forward": tuple(f'iifname "outside" {rule}' for rule in rules)}


SCENARIOS = (
    Scenario("300 packets a second and a hole", at_server(HOLE, RATE), "rate-limit", hole=True),
    Scenario("300 packets a second", at_server(RATE)),
    Scenario("300 packets a second at a router and a hole", at_router(HOLE, RATE), "rate-limit", hole=True,
             routed=True),
    Scenario("300 packets a second at a router", at_router(RATE), "rate-limit", routed=True),
    Scenario("3000 flows", at_server(table(3000)), "flow-limit"),
    Scenario("3000 flows and a hole", at_server(HOLE, table(3000)), "flow-limit", hole=True),
    Scenario("4096 flows at a router", at_router(table(4096)), "flow-limit", routed=True),
    Scenario("4096 flows at a router and a hole", at_router(HOLE, table(4096)), "flow-limit", hole=True, routed=True),
    Scenario("a ban on all of the client's packets", at_server(DROP_BANNED, ACCEPT_KNOWN, BAN), "scan-block",
             tcp=True),
    Scenario("a ban on the client's new flows", at_server(ACCEPT_KNOWN, DROP_BANNED, BAN), "scan-block flow-limit",
             tcp=True),
    Scenario("a ban on the client's new flows and a hole", at_server(ACCEPT_KNOWN, HOLE, DROP_BANNED, BAN),
             "scan-block flow-limit", hole=True, tcp=True),
    Scenario("all UDP is shut after a while", at_server(after(300)), GONE),
    Scenario("all UDP is shut after a while and the ports are few", at_server(after(6)), GONE, plan=FEW),
    Scenario("all UDP answers are lost after a while", {"client input": (after(300),)}, GONE),
    Scenario("all UDP answers are lost after a while and the ports are few", {"client input": (after(6),)}, GONE,
             plan=FEW),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A check, and how many packets the guard stopped in it."""

    check: Check
    stopped: int


def run(scenario: Scenario, archive: Path) -> Outcome:
    """Check a server behind the guard; it mostly waits."""
    with lab(routed=scenario.routed) as net:
        net.server.set("banned", BANNED)
        net.rules(scenario.rules)
        udp = () if scenario.plan == PLAN else ("--udp", scenario.plan.split()[-1])
        with server(net.server, archive, *udp):
            return Outcome(check(net.client, archive, net.server.ipv4), net.counted())


@pytest.fixture(scope="module")
def guarded(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Outcome]]:
    """All checks at once: they take minutes, and mostly wait."""

    def run_one(scenario: Scenario) -> Outcome:
        return run(scenario, archive)

    scenarios: list[Scenario] = chosen(request, Path(__file__))
    with at_once(scenarios, run_one, len(scenarios)) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_guard(scenario: Scenario, guarded: Callable[[Scenario], Outcome]) -> None:
    """The tables of flows stand for a router's connection tracking, whose size all networks of a machine share."""
    seen, stopped = guarded(scenario).check, guarded(scenario).stopped
    assert stopped >= MANY
    exceptions = {} if scenario.tcp else {TCP: "open"}
    if scenario.hole:
        exceptions[SHUT] = scenario.expected(f"filtered {'before-server' if scenario.routed else 'server-host'}")
    assert wrong(seen.report, exceptions, plan=scenario.plan, rest=scenario.expected("open")) == []
