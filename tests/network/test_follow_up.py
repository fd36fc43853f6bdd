"""Ports that answer one small packet and carry no call: what follows in its flow is stopped, or what is large."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests.lab import INTERFACE, Check, Lab, check, lab, server, side_by_side, start_check, wrong

# Limits, by their numbers: who changes one changes it here too.
TRIES = 8

PLAN = "tcp 80,443,7881 udp 443,50000-50299"
HOLE = "50100-50149"
# At the router, where a client's own port may well be such a one.
TO_HOLE, FROM_HOLE = f'iifname "outside" udp dport {HOLE}', f'iifname "inside" udp sport {HOLE}'
LARGE = "udp length > 1000 drop"
V4, V6 = 0, 1


@dataclass(frozen=True, eq=False)
class Scenario:
    """Rules by place, and what has to come of the ports of the hole, or of others."""

    fault: str
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expected: str = "open"
    ports: str = f"udp {HOLE}"
    version: int = V4
    only_small: bool = True  # whether what is filtered answers small packets
    narrow: str = ""  # the router's link that has a small MTU: `outside` or `inside`


SCENARIOS = (
    Scenario("a router drops large packets", {"router forward": (f"{TO_HOLE} {LARGE}",)},
             "filtered before-server"),
    Scenario("a router drops large packets of IPv6", {"router forward": (f"{TO_HOLE} {LARGE}",)},
             "filtered before-server", version=V6),
    Scenario("a router drops all large packets", {"router forward": (f'iifname "outside" meta l4proto udp {LARGE}',)},
             "filtered before-server", "udp 443,50000-50299"),
    Scenario("a router drops large answers", {"router forward": (f"{FROM_HOLE} {LARGE}",)},
             "filtered return-path"),
    Scenario("the server drops large packets", {"server input": (f"udp dport {HOLE} {LARGE}",)},
             "filtered server-host"),
    Scenario("the server drops large answers", {"server output": (f"udp sport {HOLE} {LARGE}",)},
             "filtered server-host"),
    Scenario("the server lets in each flow's first packet",
             {"server input": (f"udp dport {HOLE} ct state established drop",)}, "filtered server-host"),
    Scenario("a router lets in each flow's first packet",
             {"router forward": (f"{TO_HOLE} ct state established drop",)}, "filtered before-server"),
    Scenario("a small MTU of which the client is told", narrow="inside"),
    Scenario("a small MTU of which the server is told", narrow="outside"),
    Scenario("a router loses every tenth packet",
             {"router forward": ("meta l4proto udp numgen random mod 10 0 drop",)}),
    Scenario("a router drops large packets and every tenth",
             {"router forward": (f"{TO_HOLE} {LARGE}",
                                 "meta l4proto udp numgen random mod 10 0 drop")}, "filtered before-server"),
    Scenario("a guard shuts out whoever sends many large packets",
             {"router forward": ('iifname "outside" meta l4proto udp ip saddr @banned drop',
                                 'iifname "outside" udp length > 1000 limit rate over 1/minute burst 50 packets '
                                 "add @banned { ip saddr } drop")}),
    Scenario("the client's own rules drop large packets",
             {"client output": (f"udp dport {HOLE} {LARGE}",)}, "unknown aborted"),
    Scenario("a hole beside ports that are open", {"router forward": (f"{TO_HOLE} drop",)},
             "filtered before-server", only_small=False),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Check]]:
    def run(scenario: Scenario) -> Check:
        with lab(routed=True) as net, server(net.server, archive, "--udp", "443,50000-50299"):
            _prepare(net, scenario)
            return check(net.client, archive, (net.server.ipv4, net.server.ipv6)[scenario.version])

    with side_by_side(request, run) as results:
        yield results


def _prepare(net: Lab, scenario: Scenario) -> None:
    assert net.router, "it is a routed network"
    net.router.set("banned", "type ipv4_addr; flags dynamic")
    net.rules(scenario.rules)
    ends = {"inside": (net.router, net.server), "outside": (net.router, net.client), "": ()}[scenario.narrow]
    for host, link in zip(ends, (scenario.narrow, INTERFACE)):
        host.must("ip", "link", "set", link, "mtu", "1000")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_what_carries_no_call_is_not_open(scenario: Scenario, outcome: Callable[[Scenario], Check]) -> None:
    seen = outcome(scenario)
    assert wrong(seen.report, {scenario.ports: scenario.expected}, plan=PLAN) == []
    small = [one for one in seen.address["findings"] if one["state"] == "filtered"]
    if small and scenario.only_small:
        assert all("small packet" in str(one["shown"]) for one in small)
        assert all("small MTU" in one["text"] for one in seen.address["advice"])
        assert all(one["evidence"]["answered"] == 0 < one["evidence"]["sent"] for one in small)
        assert all(one["evidence"]["chance"] <= 1e-3 for one in small)


def test_a_server_that_goes_meanwhile_leaves_the_ports_in_doubt_that_answered_nothing_large(archive: Path) -> None:
    hole, udp = 50, "50086-50149"  # so few that all are asked at first
    with lab(routed=True) as net, server(net.server, archive, "--udp", udp) as running:
        net.rules({"router forward": (f"{TO_HOLE} udp length > 1000 counter drop",)})
        checking = start_check(net.client, archive, net.server.ipv4)
        assert net.router
        net.router.wait_until_counted(hole * TRIES + hole + 1)  # the second pass over all has begun
        running.process.kill()
        seen = checking.finish()
    assert wrong(seen.report, {f"udp {HOLE}": "unknown no-control"}, plan=f"tcp 80,443,7881 udp {udp}") == []
    assert seen.report["verdict"] == "inconclusive"


def test_a_limit_on_packets_hides_no_rule_about_large_ones(archive: Path) -> None:
    limit = 'iifname "outside" meta l4proto udp limit rate over 1000/second burst 50 packets drop'
    with lab(routed=True) as net, server(net.server, archive, "--udp", "50000-52999"):
        net.rules({"router forward": (f"{TO_HOLE} {LARGE}", limit)})
        seen = check(net.client, archive, net.server.ipv4)
    assert any("packets a second" in note for note in seen.address["notes"])
    assert wrong(seen.report, {f"udp {HOLE}": "filtered before-server"}, plan="tcp 80,443,7881 udp 50000-52999") == []
