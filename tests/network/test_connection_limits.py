"""Limits on the new connections of one address: what lets users in is not blocked because a check made some more."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests import firewalls
from tests.lab import Check, Host, causes, chain, check, lab, need, server, side_by_side, wrong

UDP = "50000-50009"
PLAN, ALL = f"tcp 80,443,7881 udp {UDP}", "80,443,7881"
LIMITED = "unknown rate-limit"
EITHER = f"open or {LIMITED}"


def recent(ports: str, hits: int, then: str) -> tuple[str, ...]:
    """What `ufw limit` makes: who has come so often within 30 s does not come in, this time counted."""
    rule = f"iptables -A {{hook}} -p tcp -m multiport --dports {ports} -m conntrack --ctstate NEW -m recent"
    return f"{rule} --set", f"{rule} --update --seconds 30 --hitcount {hits} -j {then}"


def hashlimit(ports: str, burst: int) -> tuple[str, ...]:
    """So many at once, then two a minute."""
    rule = f"iptables -A {{hook}} -p tcp -m multiport --dports {ports} -m conntrack --ctstate NEW -m hashlimit"
    return (f"{rule} --hashlimit-above 2/min --hashlimit-burst {burst} --hashlimit-mode srcip --hashlimit-name lab "
            "-j DROP",)  # fmt: skip


def meter(ports: str, burst: int, then: str = "drop") -> tuple[str, ...]:
    """The same by nftables."""
    limit = f"limit rate over 2/minute burst {burst} packets"
    return (f"tcp dport {{ {ports} }} ct state new meter lab {{ ip saddr {limit} }} {then}",)


@dataclass(frozen=True, eq=False)
class Scenario:
    """A limit at a host, rules at another one beside it, and so many checks in a row.

    `first` is what ports have to be called in the first check, and `always` in every one, for that is what they are;
    of the rest that is not UDP each may also meet the limit.
    """

    limit: str
    rules: tuple[str, ...]
    first: Mapping[str, str] = field(default_factory=dict)
    always: Mapping[str, str] = field(default_factory=dict)
    checks: int = 1
    who: str = "server"
    beside: Mapping[str, str] = field(default_factory=dict)
    control: tuple[str, ...] = ()
    strikes: bool = True
    ufw: bool = False


UFW = (f"ufw allow {UDP.replace('-', ':')}/udp",)
HTTPS = {"tcp 80,7881": "open", "tcp 443": LIMITED}
SCENARIOS = (
    # One check alone.
    Scenario("none after the control channel", recent("443", 2, "REJECT"), HTTPS),
    Scenario("none after it, reset", recent("443", 2, "REJECT --reject-with tcp-reset"), HTTPS),
    Scenario("none after it, dropped", recent("443", 2, "DROP"), HTTPS),
    Scenario("none after it, dropped by a router", hashlimit("443", 1), HTTPS, who="near"),
    Scenario("none after it, refused by a router", meter("443", 1, "reject"), HTTPS, who="far"),
    Scenario("one at a time", ("tcp dport 443 ct state new ct count over 1 reject with tcp reset",), HTTPS),
    Scenario("one at a time, whatever its state", ("tcp dport 443 ct count over 1 drop",)),
    Scenario("one at a time of all", (f"tcp dport {{ {ALL} }} ct state new ct count over 1 reject",)),
    Scenario("none after it of all", meter(ALL, 1), {f"tcp {ALL}": LIMITED}),
    Scenario("none after it of all, on a port of its own", meter(f"{ALL},8443", 1, "reject"), {f"tcp {ALL}": LIMITED},
             control=("--control", "8443")),
    Scenario("one after it of all", meter(ALL, 2, "reject")),
    Scenario("two after it of all", recent(ALL, 4, "REJECT")),
    Scenario("two after it of all, dropped by a router", hashlimit(ALL, 3), who="far"),
    Scenario("one of 80 and 7881", recent("80,7881", 2, "REJECT"), {"tcp 443": "open"}),
    # What is blocked beside a limit.
    Scenario("refused, and 7881 is dropped", ("tcp dport 7881 drop", *meter("80,443", 1, "reject")),
             always={"tcp 7881": "filtered server-host"}),
    Scenario("dropped by a router that refuses 80", (*meter("443", 1), "tcp dport 80 reject"), {"tcp 443": LIMITED},
             {"tcp 80": "rejected before-server", "tcp 7881": "open"}, who="near"),
    Scenario("dropped by a router, and 7881 by the server", meter("443", 1), {"tcp 443": LIMITED},
             {"tcp 7881": "filtered server-host", "tcp 80": "open"}, who="near",
             beside={"server": "tcp dport 7881 drop"}),
    Scenario("dropped by the server, and 7881 by a router", meter("80,443", 1), {"tcp 443": LIMITED},
             {"tcp 7881": "filtered before-server"}, beside={"far": "tcp dport 7881 drop"}),
    Scenario("not met, and 7881 is refused as it would be", ("tcp dport 7881 reject", *meter("443", 9, "reject")),
             always={"tcp 7881": "rejected server-host", "tcp 80,443": "open"}, strikes=False),
    Scenario("not met, and 7881 is dropped as it would be", ("tcp dport 7881 drop", *meter("443", 9)),
             always={"tcp 7881": "filtered server-host", "tcp 80,443": "open"}, strikes=False),
    # Several checks in a row.
    Scenario("ufw's of HTTPS", (*UFW, "ufw allow 80,7881/tcp", "ufw limit 443/tcp"), checks=4, ufw=True),
    Scenario("ufw's of all", (*UFW, f"ufw limit {ALL}/tcp"), {f"tcp {ALL}": "open"}, checks=2, ufw=True),
    Scenario("ufw's of HTTPS, and 7881 is forgotten", (*UFW, "ufw allow 80/tcp", "ufw limit 443/tcp"),
             always={"tcp 7881": "filtered server-host"}, checks=4, ufw=True),
    Scenario("one of 7881", meter("7881", 1), {f"tcp {ALL}": "open"}, {"tcp 80,443": "open"}, checks=2),
    Scenario("one of 80, by a router", meter("80", 1, "reject"), {f"tcp {ALL}": "open"}, {"tcp 7881,443": "open"},
             checks=2, who="far"),
    Scenario("two of HTTPS", recent("443", 3, "REJECT"), {f"tcp {ALL}": "open"}, {"tcp 80,7881": "open"}, checks=3),
    Scenario("two of HTTPS, dropped by a router", meter("443", 2), {f"tcp {ALL}": "open"}, {"tcp 80,7881": "open"},
             checks=2, who="near"),
)  # fmt: skip


def load(host: Host, rules: tuple[str, ...]) -> None:
    """Rules of nft, and the commands of other tools."""
    hook = "input" if host.name.endswith("server") else "forward"
    for is_command, group in itertools.groupby(rules, lambda rule: rule.startswith(("iptables ", "ufw "))):
        if not is_command:
            host.rules(hook, *group)
            continue
        for command in group:
            host.must(*command.format(hook=hook.upper()).split())


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], list[Check]]]:
    def run(scenario: Scenario) -> list[Check]:
        with chain() as net, contextlib.ExitStack() as stack:
            if scenario.ufw:
                need("ufw")
                stack.enter_context(firewalls.ufw(net.server, stack.enter_context(firewalls.own_files(net.server))))
            for who, rules in (
                (scenario.who, scenario.rules),
                *((who, (rule,)) for who, rule in scenario.beside.items()),
            ):
                load(getattr(net, who), rules)
            stack.enter_context(server(net.server, archive, "--udp", UDP, *scenario.control))
            return [check(net.client, archive, net.server.ipv4, *scenario.control) for _ in range(scenario.checks)]

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.limit.replace(" ", "-"))
def test_what_a_limit_stops_is_not_blocked(scenario: Scenario, outcome: Callable[[Scenario], list[Check]]) -> None:
    seen = outcome(scenario)
    either = dict.fromkeys((f"tcp {port}" for port in ALL.split(",")), EITHER)
    for number, one in enumerate(seen):
        expected = {**either, **({} if number else scenario.first), **scenario.always}
        assert one.report["error"] is None
        assert wrong(one.report, expected, plan=PLAN) == []
    met = [cause for one in seen for cause in causes(one.report).values() if cause == LIMITED]
    assert bool(met) is scenario.strikes


def test_a_limit_of_all_control_ports_leaves_an_error_that_says_so(archive: Path) -> None:
    with lab() as net, server(net.server, archive, "--udp", UDP):
        load(net.server, recent(ALL, 5, "REJECT"))
        first, second = (check(net.client, archive, net.server.ipv4) for _ in range(2))
    assert wrong(first.report, plan=PLAN) == []
    error = second.report["error"]
    assert (second.status, error["code"], second.address["findings"]) == (3, "no-server", [])
    assert "may limit connections: wait a minute" in error["hint"]


def test_what_was_let_in_by_another_port_was_not_by_this_one(archive: Path) -> None:
    """The control channel came to the server's port 443, but by 80: nobody comes in by 443 itself."""
    with lab(routed=True) as net:
        net.server.rules("prerouting", "tcp dport 80 redirect to :443", kind="nat")
        net.rules({"router forward": ("tcp dport 443 drop",)})
        with server(net.server, archive, "--udp", UDP):
            seen = check(net.client, archive, net.server.ipv4)
    assert seen.address["control"]["port"] == 80
    expected = {"tcp 80": "intercepted", "tcp 443": "filtered"}
    assert wrong(seen.report, expected, plan=PLAN) == []
