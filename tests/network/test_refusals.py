"""Who refuses: reject rules of hosts and of routers, told of by ICMP errors, limited as they are."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.lab import (
    FAR_OUTSIDE,
    PROGRAMS,
    ROUTER_OUTSIDE,
    Chain,
    Check,
    Host,
    chain,
    check,
    lab,
    program,
    server,
    side_by_side,
    wrong,
)

PLAN = "tcp 80,443,7881 udp 50000-50299"
V4, V6 = "ipv4", "ipv6"

WORDS = {
    "icmp net-unreachable": "net unreachable (type 3, code 0)",
    "icmp host-unreachable": "host unreachable (type 3, code 1)",
    "icmp prot-unreachable": "protocol unreachable (type 3, code 2)",
    "icmp port-unreachable": "port unreachable (type 3, code 3)",
    "icmp net-prohibited": "net administratively prohibited (type 3, code 9)",
    "icmp host-prohibited": "host administratively prohibited (type 3, code 10)",
    "icmp admin-prohibited": "communication administratively prohibited (type 3, code 13)",
    "icmpv6 no-route": "no route to destination (type 1, code 0)",
    "icmpv6 admin-prohibited": "administratively prohibited (type 1, code 1)",
    "icmpv6 addr-unreachable": "address unreachable (type 1, code 3)",
    "icmpv6 port-unreachable": "port unreachable (type 1, code 4)",
    "icmpv6 policy-fail": "source address failed a policy (type 1, code 5)",
    "icmpv6 reject-route": "reject route (type 1, code 6)",
}
# By the name of the host that rejects in a chain, the address from which the client hears of it.
SENDERS = {"near": ROUTER_OUTSIDE, "far": FAR_OUTSIDE}


@dataclass(frozen=True, eq=False)
class Scenario:
    """Who rejects a part of the UDP range and 7881/tcp how; `free` lifts the limit of ICMP errors."""

    who: str
    how: str
    ports: str = "50100-50299"
    free: bool = False

    @property
    def version(self) -> int:
        return 1 if self.how.startswith("icmpv6") else 0

    @property
    def name(self) -> str:
        return f"{self.who}-{self.how}{'-unlimited' if self.free else ''}".replace(" ", "-")


SCENARIOS = (
    *(Scenario("server", how) for how in WORDS),
    *(Scenario("near", how) for how in ("icmp host-prohibited", "icmp net-unreachable", "icmpv6 no-route")),
    *(Scenario("far", how) for how in ("icmp admin-prohibited", "icmp host-unreachable", "icmpv6 admin-prohibited")),
    Scenario("far", "icmp host-prohibited", free=True),
    Scenario("server", "icmp port-unreachable", "50000-50299"),
)


def reject(host: Host, what: str, how: str) -> None:
    """Load a rule; the two codes that nft has no names for come by ip6tables."""
    hook = "input" if host.name.endswith("server") else "forward"
    kind, code = how.split()
    if code in ("policy-fail", "reject-route"):
        transport, _, ports = what.split()
        host.must("ip6tables", "-A", hook.upper(), "-p", transport, "--dport", ports.replace("-", ":"),
                  "-j", "REJECT", "--reject-with", f"icmp6-{code}")  # fmt: skip
    else:
        host.rules(hook, f"meta nfproto {'ipv6' if kind == 'icmpv6' else 'ipv4'} {what} reject with {kind} type {code}")


@contextlib.contextmanager
def guarded(archive: Path) -> Iterator[Chain]:
    with chain() as net, server(net.server, archive, "--udp", PLAN.rsplit(maxsplit=1)[-1]):
        yield net


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Check]]:
    def run(scenario: Scenario) -> Check:
        with guarded(archive) as net:
            host: Host = getattr(net, scenario.who)
            reject(host, f"udp dport {scenario.ports}", scenario.how)
            reject(host, "tcp dport 7881", scenario.how)
            if scenario.free:
                host.sysctl("net.ipv4.icmp_ratelimit", 0)
            return check(net.client, archive, (net.server.ipv4, net.server.ipv6)[scenario.version])

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_who_rejects_is_named(scenario: Scenario, outcome: Callable[[Scenario], Check]) -> None:
    seen = outcome(scenario)
    rejected = {f"udp {scenario.ports}": "rejected", "tcp 7881": "rejected"}
    assert wrong(seen.report, rejected, plan=PLAN) == []
    sender = SENDERS.get(scenario.who, (seen.address["address"],) * 2)[scenario.version]
    blocked = [one for one in seen.address["findings"] if one["state"] != "open"]
    assert [(one["by"], one["icmp"]) for one in blocked] == [(sender, WORDS[scenario.how])] * 2
    assert seen.finding("udp", 50200)["evidence"]["errors"] >= 2


def parts(seen: Check) -> list[tuple[int, int, str, str | None]]:
    """The UDP findings that are not open."""
    return [(one["first"], one["last"], one["state"], one["by"]) for one in seen.address["findings"]
            if one["transport"] == "udp" and one["state"] != "open"]  # fmt: skip


def test_a_dropped_run_is_not_joined_to_the_rejected_one_beside_it(archive: Path) -> None:
    with guarded(archive) as net:
        net.far.sysctl("net.ipv4.icmp_ratelimit", 0)
        net.far.rules(
            "forward", "udp dport 50100-50199 drop", "udp dport 50200-50249 reject with icmp type host-prohibited"
        )
        net.near.rules("forward", "udp dport 50250-50279 drop")
        seen = check(net.client, archive, net.server.ipv4)
    far = FAR_OUTSIDE[0]
    assert parts(seen) == [
        (50100, 50199, "filtered", None),
        (50200, 50249, "rejected", far),
        (50250, 50279, "filtered", None),
    ]


def test_lone_rejected_ports_in_a_dropped_run_stay_alone(archive: Path) -> None:
    with guarded(archive) as net:
        net.server.rules("input", "udp dport {50050, 50230} reject", "udp dport 50000-50299 drop")
        seen = check(net.client, archive, net.server.ipv4)
    server = net.server.ipv4
    rejected = [(50050, 50050, "rejected", server), (50230, 50230, "rejected", server)]
    assert [one for one in parts(seen) if one[2] == "rejected"] == rejected
    assert {one[2] for one in parts(seen)} == {"rejected", "filtered"}


def test_two_routers_that_reject_neighbours_are_told_apart(archive: Path) -> None:
    with guarded(archive) as net:
        for host, ports in ((net.near, "50100-50149"), (net.far, "50150-50199")):
            host.sysctl("net.ipv4.icmp_ratelimit", 0)
            reject(host, f"udp dport {ports}", "icmp host-prohibited")
        seen = check(net.client, archive, net.server.ipv4)
    near, far = ROUTER_OUTSIDE[0], FAR_OUTSIDE[0]
    assert parts(seen) == [(50100, 50149, "rejected", near), (50150, 50199, "rejected", far)]


FORGER = PROGRAMS / "forge_icmp.py"


@pytest.mark.parametrize(
    ("mode", "state"), [("whole", "rejected"), ("short", "rejected"), ("another", "filtered"), ("other", "filtered")]
)
def test_an_error_counts_where_it_quotes_a_probe_and_never_for_an_open_port(
    archive: Path, mode: str, state: str
) -> None:
    with guarded(archive) as net, program(net.near, FORGER, mode, net.client.ipv4):
        net.far.rules("forward", "udp dport 50100-50149 drop")
        net.client.rules("input", "icmp type destination-unreachable counter")
        seen = check(net.client, archive, net.server.ipv4)
        assert net.client.counted() >= 300
    assert parts(seen) == [(50100, 50149, state, ROUTER_OUTSIDE[0] if state == "rejected" else None)]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("echo", "an echo of the probe"),
        ("stun", "a STUN answer that is not this server's"),
        ("dns", "12 bytes that are no text"),
        ("sip", "SIP/2.0 400 Bad?[2J Request"),
    ],
)
def test_another_service_behind_a_udp_port_is_told(archive: Path, kind: str, shown: str) -> None:
    with lab() as net, server(net.server, archive, "--udp", "50000-50099"):
        net.server.rules("prerouting", "udp dport 50010 redirect to :2222", kind="nat")
        with program(net.server, PROGRAMS / "answer_udp.py", kind):
            seen = check(net.client, archive, net.server.ipv4)
    assert wrong(seen.report, {"udp 50010": "intercepted"}, plan="tcp 80,443,7881 udp 50000-50099") == []
    found = seen.finding("udp", 50010)
    assert (found["shown"], found["interceptor"], seen.status) == (shown, "other-service", 1)


def test_a_ban_that_refuses_is_no_rule_about_ports(archive: Path) -> None:
    """From the first UDP packet on the client is refused everywhere, but for connections that it has."""
    with lab(routed=True) as net:
        net.server.set("banned", "type ipv4_addr; flags dynamic")
        ban = "meta l4proto udp add @banned { ip saddr } counter reject"
        net.server.rules("input", "ct state established accept", "ip saddr @banned counter reject", ban)
        with server(net.server, archive, "--udp", "50000-50299"):
            seen = check(net.client, archive, net.server.ipv4)
        assert net.server.counted() >= 300
    expected = {"udp 50000-50299": "unknown scan-block"}
    assert wrong(seen.report, expected, plan="tcp 80,443,7881 udp 50000-50299") == []


def test_what_this_computers_own_rules_refuse_nobody_else_does(archive: Path) -> None:
    with lab(routed=True) as net:
        net.client.rules("output", "tcp dport 80 reject")
        with server(net.server, archive, "--udp", "50000-50299"):
            seen = check(net.client, archive, net.server.ipv4)
    assert wrong(seen.report, {"tcp 80": "unknown aborted"}, plan=PLAN) == []
    assert "this computer's own network" in seen.finding("tcp", 80)["shown"]


def test_a_bridge_refuses_in_the_servers_name(archive: Path) -> None:
    """What filters without routing has no address of its own, and answers with the one that was asked."""
    udp, tcp = "udp dport 50100-50149 reject", "tcp dport 7881 reject with icmp type admin-prohibited"
    with lab(routed=True) as net:
        head = "type filter hook ingress device outside priority 0"
        assert net.router
        net.router.nft(f"table netdev lab {{ chain in {{ {head}; {udp}; {tcp}; }}; }}\n")
        with server(net.server, archive, "--udp", "50000-50299"):
            seen = check(net.client, archive, net.server.ipv4)
    stopped = "rejected before-server"
    assert wrong(seen.report, {"udp 50100-50149": stopped, "tcp 7881": stopped}, plan=PLAN) == []
    assert [seen.finding(*one)["by"] for one in (("udp", 50100), ("tcp", 7881))] == [None, None]
