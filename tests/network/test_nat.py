"""Clients behind a router that gives their packets its own address, and perhaps each flow another port."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.lab import FAR_CLIENT, ROUTER_INSIDE, SERVER, Check, check, lab, server, side_by_side, wrong

HOLE, SHUT = "udp dport 53000-53999 drop", "udp 53000-53999"
# What comes from the router's address, and from which of its ports.
SEEN = f"ip saddr {ROUTER_INSIDE[0]} udp dport 50000-60000 add @sources {{ udp sport }} counter"


@dataclass(frozen=True, eq=False)
class Scenario:
    """How a router hides its clients, and how many source ports the server sees, at least and at most."""

    fault: str
    masquerade: str
    sources: tuple[int, int]
    hole: bool = False


# The few that the client sends from, or as good as one a port: of 64,000, ten thousand draws hit few twice.
KEPT, DRAWN = (1, 100), (5000, 65535)
ONE_FOR_ALL, ONE_FOR_EACH = "masquerade", "masquerade random,fully-random"

SCENARIOS = (
    Scenario("a port for each flow and a hole", ONE_FOR_EACH, DRAWN, hole=True),
    Scenario("a port for each flow", ONE_FOR_EACH, DRAWN),
    Scenario("the client's port and a hole", ONE_FOR_ALL, KEPT, hole=True),
    Scenario("the client's port", ONE_FOR_ALL, KEPT),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A check, and how many packets and source ports of the router the server saw in it."""

    check: Check
    packets: int
    sources: int


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Outcome]]:
    def run(scenario: Scenario) -> Outcome:
        with lab(routed=True) as net:
            net.server.set("sources", "type inet_service; flags dynamic")
            net.rules({
                "server prerouting": (SEEN, *((HOLE,) if scenario.hole else ())),
                "router postrouting nat": (f'oifname "inside" {scenario.masquerade}',),
            })  # fmt: skip
            with server(net.server, archive):
                seen = check(net.client, archive, net.server.ipv4)
                return Outcome(seen, net.counted(), net.server.members("sources"))

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_nat(scenario: Scenario, outcome: Callable[[Scenario], Outcome]) -> None:
    seen = outcome(scenario)
    assert seen.packets >= 10_001
    least, most = scenario.sources
    assert least <= seen.sources <= most
    assert wrong(seen.check.report, {SHUT: "filtered server-host"} if scenario.hole else {}) == []
    assert seen.check.address["client"] == {"local": FAR_CLIENT[0], "mapped": ROUTER_INSIDE[0]}


def test_a_server_behind_an_address_that_it_does_not_have(archive: Path) -> None:
    with lab(routed=True) as net, server(net.server, archive, "--udp", "443,50000-50009") as running:
        assert net.router
        net.rules({"router prerouting nat": (f'iifname "outside" meta l4proto {{tcp, udp}} dnat ip to {SERVER[0]}',)})
        seen = check(net.client, archive, net.router.ipv4)
        told = running.wait_for("report")["report"]
    assert (seen.status, told["verdict"]) == (0, "pass")
    (address,) = told["addresses"]
    assert address["server"] == list(SERVER)
    assert [note for note in address["notes"] if "1:1 NAT" in note and net.router.ipv4 in note], address["notes"]
    assert seen.address["server"] is None  # nobody but the operator is told
    assert not [note for note in seen.address["notes"] if "NAT" in note]
