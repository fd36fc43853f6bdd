"""Who refuses: reject rules of hosts and of routers, told of by ICMP errors, limited as they are."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.lab import (
    FAR_OUTSIDE,
    ROUTER_OUTSIDE,
    Chain,
    Check,
    Host,
    chain,
    check,
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
