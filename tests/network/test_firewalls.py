"""What stands between a client and a server, and what the check calls it: whole programs, real firewalls."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests.lab import PLAN, PROGRAMS, Check, check, lab, program, server, side_by_side, wrong

FEW = "tcp 80,443,7881 udp 50000-50299"

# What something that is not ours, on port 2222, says at once, or to the first bytes of whoever connects.
SSHD = ("at-once", b"SSH-2.0-OpenSSH_9.6p1 Ubuntu-3\r\n".hex())
PORTAL = ("after", b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n".hex())
MUTE = ()


@dataclass(frozen=True, eq=False)
class Scenario:
    """A fault: rules by host and hook, and what every port has to be called; the rest is open."""

    fault: str
    rules: Mapping[str, tuple[str, ...]]
    expected: Mapping[str, str]
    verdict: str = "fail"
    control: int = 443
    by_server: bool | None = False  # whether the server's host is who rejects; None where nobody may be named
    shown: str | None = None  # what those who intercept are said to have shown
    stranger: tuple[str, ...] | None = None  # what `stranger.py` is told to say
    plan: str = FEW
    ipv6: bool = False


def dropped(*rules: str) -> dict[str, tuple[str, ...]]:
    """By the server's own firewall."""
    return {"server input": rules}


def forwarded(*rules: str) -> dict[str, tuple[str, ...]]:
    """To another port, before the server's programs get to see them."""
    return {"server prerouting": rules}


RESET, PROHIBITED = "reject with tcp reset", "reject with icmpx type admin-prohibited"

SCENARIOS = (
    # Those that take longest come first: so the rest is done beside them.
    Scenario("somebody takes 443 and says nothing", forwarded("tcp dport 443 redirect to :2222"),
             {"tcp 443": "intercepted"}, stranger=MUTE, control=80),
    Scenario("7881 is forwarded to another port", forwarded("tcp dport 7881 redirect to :443"),
             {"tcp 7881": "intercepted"}, shown="443"),
    Scenario("an sshd answers on 7881", forwarded("tcp dport 7881 redirect to :2222"), {"tcp 7881": "intercepted"},
             shown="SSH-2.0-OpenSSH_9.6p1", stranger=SSHD),
    Scenario("a portal answers on 80", forwarded("tcp dport 80 redirect to :2222"), {"tcp 80": "intercepted"},
             shown="302 Found, Location: http://login.example/", stranger=PORTAL),
    Scenario("somebody takes 7881 and says nothing", forwarded("tcp dport 7881 redirect to :2222"),
             {"tcp 7881": "intercepted"}, stranger=MUTE),
    Scenario("7881 connects and passes no data", dropped("tcp dport 7881 meta length > 100 drop"),
             {"tcp 7881": "filtered"}),
    Scenario("the whole UDP range is shut", dropped("udp dport 50000-60000 drop"),
             {"udp 50000-60000": "filtered server-host"}, plan=PLAN),
    Scenario("holes at both ends and within", dropped("udp dport {50000, 53000-53999, 57001, 60000} drop"),
             {"udp 50000,53000-53999,57001,60000": "filtered server-host"}, plan=PLAN),
    Scenario("one UDP port is shut", dropped("udp dport 50123 drop"), {"udp 50123": "filtered server-host"}),
    Scenario("all UDP is shut", dropped("meta l4proto udp drop"), {"udp 50000-50299": "filtered server-host"}),
    Scenario("all UDP is shut for IPv6", dropped("meta l4proto udp drop"), {"udp 50000-50299": "filtered server-host"},
             ipv6=True),
    Scenario("a range one too short in rules that deny the rest",
             dropped("ct state established,related accept", "tcp dport {80, 443, 7881} accept",
                     "udp dport 50000-50298 accept", "meta l4proto {icmp, ipv6-icmp} accept", "drop"),
             {"udp 50299": "filtered server-host"}),
    Scenario("the UDP answers are stopped by the server's rules", {"server output": ("udp sport 50100-50149 drop",)},
             {"udp 50100-50149": "filtered server-host"}),
    Scenario("the UDP answers are lost on the way", {"client input": ("udp sport 50100-50149 drop",)},
             {"udp 50100-50149": "filtered return-path"}),
    Scenario("the UDP answers are lost on the way for IPv6", {"client input": ("udp sport 50100-50149 drop",)},
             {"udp 50100-50149": "filtered return-path"}, ipv6=True),
    Scenario("80 is dropped", dropped("tcp dport 80 drop"), {"tcp 80": "filtered"}),
    Scenario("7881 is dropped", dropped("tcp dport 7881 drop"), {"tcp 7881": "filtered"}),
    Scenario("443 is dropped", dropped("tcp dport 443 drop"), {"tcp 443": "filtered"}, control=80),
    Scenario("only 7881 is open for TCP", dropped("tcp dport {80, 443} drop"), {"tcp 80,443": "filtered"},
             control=7881),
    Scenario("the answers from 7881 are dropped", {"client input": ("tcp sport 7881 drop",)}, {"tcp 7881": "filtered"}),
    Scenario("80 is reset", dropped(f"tcp dport 80 {RESET}"), {"tcp 80": "rejected server-host"}, by_server=True),
    Scenario("7881 is reset for IPv6", dropped(f"tcp dport 7881 {RESET}"), {"tcp 7881": "rejected server-host"},
             by_server=True, ipv6=True),
    Scenario("443 is reset", dropped(f"tcp dport 443 {RESET}"), {"tcp 443": "rejected server-host"}, by_server=True,
             control=80),
    Scenario("80 is prohibited", dropped(f"tcp dport 80 {PROHIBITED}"), {"tcp 80": "rejected server-host"},
             by_server=True),
    Scenario("7881 is prohibited for IPv6", dropped(f"tcp dport 7881 {PROHIBITED}"),
             {"tcp 7881": "rejected server-host"}, by_server=True, ipv6=True),
    Scenario("80 and 443 are swapped", forwarded("tcp dport 80 redirect to :443", "tcp dport 443 redirect to :80"),
             {"tcp 80,443": "intercepted"}, shown="forwarded"),
    Scenario("a UDP port is forwarded to another one", forwarded("udp dport 50010 redirect to :50020"),
             {"udp 50010": "intercepted"}, shown="50020"),
    Scenario("all UDP is forwarded to one port", forwarded("udp dport 50000-50299 redirect to :50000"),
             {"udp 50001-50299": "intercepted"}, shown="50000"),
    Scenario("an sshd answers on 443", forwarded("tcp dport 443 redirect to :2222"), {"tcp 443": "intercepted"},
             stranger=SSHD, control=80),
    Scenario("443 connects and passes no data", dropped("tcp dport 443 meta length > 100 drop"),
             {"tcp 443": "filtered"}, control=80),
    Scenario("the client's own rules stop its probes", {"client output": ("udp dport 50100-50149 drop",)},
             {"udp 50100-50149": "unknown"}, verdict="inconclusive"),
    Scenario("UDP is rejected", dropped("udp dport 50100-50149 reject"),
             {"udp 50100-50149": "rejected server-host"}, by_server=True),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Check]]:
    def run(scenario: Scenario) -> Check:
        with contextlib.ExitStack() as stack:
            net = stack.enter_context(lab())
            for place, rules in scenario.rules.items():
                host, hook = place.split()
                kind = "nat" if hook == "prerouting" else "filter"
                (net.server if host == "server" else net.client).rules(hook, *rules, kind=kind)
            if scenario.stranger is not None:
                stack.enter_context(program(net.server, PROGRAMS / "stranger.py", *scenario.stranger))
            udp = () if scenario.plan == PLAN else ("--udp", scenario.plan.split()[-1])
            stack.enter_context(server(net.server, archive, *udp))
            return check(net.client, archive, net.server.ipv6 if scenario.ipv6 else net.server.ipv4)

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_fault(scenario: Scenario, outcome: Callable[[Scenario], Check]) -> None:
    seen = outcome(scenario)
    assert wrong(seen.report, scenario.expected, plan=scenario.plan) == []
    assert (seen.report["verdict"], seen.address["control"]["port"]) == (scenario.verdict, scenario.control)
    blocked = [one for one in seen.address["findings"] if one["state"] != "open"]
    if scenario.by_server is not None:
        assert {one["by"] for one in blocked} == {seen.address["address"] if scenario.by_server else None}
    assert scenario.shown is None or all(scenario.shown in one["shown"] for one in blocked), blocked
    assert len(seen.address["advice"]) >= 1
    silent = [one for one in blocked if one["state"] == "filtered" and one["transport"] == "udp"]
    assert all(one["evidence"]["chance"] is None or one["evidence"]["chance"] <= 1e-3 for one in silent), silent


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_router_prohibits_a_port_and_is_named(archive: Path, family: str) -> None:
    with lab(routed=True) as net, server(net.server, archive, "--udp", "50000"):
        assert net.router
        net.router.rules("forward", f"tcp dport 7881 {PROHIBITED}")
        seen = check(net.client, archive, getattr(net.server, family))
        assert wrong(seen.report, {"tcp 7881": "rejected before-server"}, plan="tcp 80,443,7881 udp 50000") == []
        assert seen.finding("tcp", 7881)["by"] == getattr(net.router, family)


@pytest.mark.parametrize(("family", "nobody"), [("ipv4", "198.51.100.77"), ("ipv6", "2001:db8:1::77")])
def test_a_router_finds_nobody_behind_a_port_and_says_so_late(archive: Path, family: str, nobody: str) -> None:
    """It looks for that neighbour first: its ICMP error meets a connect that has long begun."""
    with lab(routed=True) as net, server(net.server, archive, "--udp", "50000"):
        assert net.router
        net.router.rules("prerouting", "tcp dport 7881 meta mark set 1")
        net.router.must("ip", f"-{family[-1]}", "rule", "add", "fwmark", "1", "table", "100")
        net.router.must(
            "ip", f"-{family[-1]}", "route", "add", "default", "via", nobody, "dev", "inside", "table", "100"
        )
        seen = check(net.client, archive, getattr(net.server, family))
        assert wrong(seen.report, {"tcp 7881": "rejected before-server"}, plan="tcp 80,443,7881 udp 50000") == []
        assert seen.finding("tcp", 7881)["by"] == getattr(net.router, family)
