"""Names and addresses: IPv4 and IPv6 apart, several of them, wrong ones, and those where nobody is."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests.lab import FAR_CLIENT, INTERFACE, LONGEST, Check, Host, Lab, check, lab, server, side_by_side, wrong

FEW, UDP = "tcp 80,443,7881 udp 50000-50299", ("--udp", "50000-50299")
NAME = "meet.example"


def add(host: Host, address: str) -> str:
    """One more address, as `198.51.100.3/24`."""
    host.must("ip", "address", "add", address, "dev", INTERFACE, *(("nodad",) if ":" in address else ()))
    return address.partition("/")[0]


def test_everything_is_open(net: Lab, archive: Path) -> None:
    with server(net.server, archive) as running:
        for number, address in enumerate((net.server.ipv4, net.server.ipv6), 1):
            seen = check(net.client, archive, address)
            assert wrong(seen.report) == []
            assert (seen.status, seen.report["verdict"], seen.report["error"]) == (0, "pass", None)
            assert seen.address["control"] == {"port": 443, "tls": True, "paired": False}
            assert seen.address["loss"] == {"to_server": 0.0, "to_client": 0.0}
            assert seen.address["summary"] == {"tcp": {"open": 3}, "udp": {"open": 10002}}
            assert (seen.address["advice"], seen.address["notes"]) == ([], [])
            assert 0 < seen.address["rtt_ms"]["min"] <= seen.address["rtt_ms"]["median"] < 1000
            own = getattr(net.client, "ipv6" if ":" in address else "ipv4")
            assert seen.address["client"] == {"local": own, "mapped": own}
            assert seen.report["dns"] is None
            told = running.wait_for("report", number=number)["report"]
            assert told["addresses"][0].pop("server") == [net.server.ipv4, net.server.ipv6]  # for its operator alone
            assert seen.address.pop("server") is None
            assert told == seen.report
        assert running.listening["untested"] == []


@dataclass(frozen=True, eq=False)
class Scenario:
    """What a name leads to, and what has to come of it: each address's verdict, and the whole one's."""

    fault: str
    names: tuple[str, ...]
    rules: tuple[str, ...]
    verdicts: Mapping[str, tuple[str, ...]]
    whole: tuple[str, ...]
    options: tuple[str, ...] = ()
    without_ipv6: bool = False  # on the server


V4, V6, CLIENT_V6, ROUTER_V6 = "198.51.100.1", "2001:db8:1::1", "2001:db8:2::2", "2001:db8:2::1"
BAD, UNSURE = ("fail", "inconclusive"), ("inconclusive",)

SCENARIOS = (
    Scenario("nothing is wrong", (V4, V6), (), {V4: ("pass",), V6: ("pass",)}, ("pass",)),
    Scenario("IPv6 is dropped", (V4, V6), ("meta nfproto ipv6 meta l4proto {tcp, udp} drop",),
             {V4: ("pass",), V6: UNSURE}, UNSURE),
    Scenario("IPv6 is rejected", (V4, V6), ("meta nfproto ipv6 meta l4proto {tcp, udp} reject",),
             {V4: ("pass",), V6: BAD}, BAD),
    Scenario("UDP is dropped for IPv6", (V4, V6), ("meta nfproto ipv6 meta l4proto udp drop",),
             {V4: ("pass",), V6: ("fail",)}, ("fail",)),
    Scenario("TCP is dropped for IPv6", (V4, V6), ("meta nfproto ipv6 meta l4proto tcp drop",),
             {V4: ("pass",), V6: ("fail",)}, ("fail",)),
    Scenario("TCP is dropped for IPv4", (V4, V6), ("meta nfproto ipv4 meta l4proto tcp drop",),
             {V4: ("fail",), V6: ("pass",)}, ("fail",)),
    Scenario("the AAAA is another machine", (V4, ROUTER_V6), (), {V4: ("pass",), ROUTER_V6: ("fail",)}, ("fail",)),
    Scenario("the AAAA is nobody", (V4, "2001:db8:1::99"), (), {V4: ("pass",), "2001:db8:1::99": UNSURE}, UNSURE),
    Scenario("IPv6 is dropped and not asked for", (V4, V6), ("meta nfproto ipv6 meta l4proto {tcp, udp} drop",),
             {V4: ("pass",)}, ("pass",), ("-4",)),
    Scenario("IPv4 is dropped and not asked for", (V4, V6), ("meta nfproto ipv4 meta l4proto {tcp, udp} drop",),
             {V6: ("pass",)}, ("pass",), ("-6",)),
    Scenario("the server has no IPv6", (V4, V6), (), {V4: ("pass",), V6: UNSURE}, UNSURE, without_ipv6=True),
    Scenario("the server has no IPv6, nor is it asked for", (V4,), (), {V4: ("pass",)}, ("pass",), without_ipv6=True),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Check]]:
    def run(scenario: Scenario) -> Check:
        with contextlib.ExitStack() as stack:
            net = stack.enter_context(lab(routed=True))
            net.client.knows({NAME: scenario.names})
            net.server.rules("input", *scenario.rules)
            if scenario.without_ipv6:
                net.server.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
            stack.enter_context(server(net.server, archive, *UDP))
            return check(net.client, archive, NAME, *scenario.options)

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_a_name(scenario: Scenario, outcome: Callable[[Scenario], Check]) -> None:
    seen = outcome(scenario)
    entries = {one["address"]: one for one in seen.report["addresses"]}
    assert seen.report["dns"] == list(entries) == list(scenario.verdicts)
    for address, verdicts in scenario.verdicts.items():
        assert entries[address]["verdict"] in verdicts
        assert entries[address]["family"] == ("ipv6" if ":" in address else "ipv4")
        if verdicts == ("pass",):
            assert wrong(seen.report, address=address, plan=FEW) == []
        elif entries[address]["findings"]:
            assert any(one["state"] != "open" for one in entries[address]["findings"])
        else:
            assert entries[address]["error"]["hint"]
    assert seen.report["verdict"] in scenario.whole
    assert (seen.report["host"], seen.report["error"]) == (NAME, None)


@pytest.mark.parametrize("addresses", [("10.0.0.1/24", "10.0.0.2/24"), ("fd00::1/64", "fd00::2/64")], ids=str)
def test_a_private_address_is_said_to_be_none_of_the_users(net: Lab, archive: Path, addresses: tuple[str, str]) -> None:
    here, _ = add(net.server, addresses[0]), add(net.client, addresses[1])
    with server(net.server, archive, *UDP):
        seen = check(net.client, archive, here)
    assert wrong(seen.report, plan=FEW) == []
    assert ["private network" in one for one in seen.address["notes"]] == [True]


@pytest.mark.parametrize(
    ("address", "options"),
    [("198.51.100.3/24", ()), ("198.51.100.3/24", ("--bind", "0.0.0.0")), ("2001:db8:1::3/64", ())],
    ids=["IPv4", "IPv4-alone", "IPv6"],
)
def test_a_second_address_is_asked_and_answers(net: Lab, archive: Path, address: str, options: tuple[str, ...]) -> None:
    second = add(net.server, address)
    with server(net.server, archive, *UDP, *options):
        for one in (second, net.server.ipv6 if ":" in second else net.server.ipv4):
            assert wrong(check(net.client, archive, one).report, plan=FEW) == []


def test_the_server_listens_on_one_address_alone(net: Lab, archive: Path) -> None:
    second = add(net.server, "198.51.100.3/24")
    with server(net.server, archive, *UDP, "--bind", second):
        assert wrong(check(net.client, archive, second).report, plan=FEW) == []
        seen = check(net.client, archive, net.server.ipv4)
        assert (seen.status, seen.report["error"]["code"], seen.address["findings"]) == (3, "no-server", [])
    with server(net.server, archive, *UDP, "--bind", net.server.ipv6):
        assert wrong(check(net.client, archive, net.server.ipv6).report, plan=FEW) == []
    failed = net.server.run([sys.executable, archive, "server", "--bind", FAR_CLIENT[0]])
    assert (failed.returncode, failed.stdout) == (3, "")
    assert FAR_CLIENT[0] in failed.stderr


@pytest.mark.parametrize(
    ("target", "options", "rule", "code"),
    [
        pytest.param(V4, (), None, "no-server", id="nobody-is-there"),
        pytest.param(V6, (), None, "no-server", id="nobody-is-there-for-IPv6"),
        pytest.param(V4, (), "drop", "no-server", id="silence"),
        pytest.param(V4, (), "reject", "no-server", id="all-is-rejected"),
        pytest.param("203.0.113.9", (), None, "unreachable", id="no-route"),
        pytest.param("2001:db8:9::9", (), None, "unreachable", id="no-route-for-IPv6"),
        pytest.param("no-such-name.example", (), None, "name-not-found", id="no-such-name"),
        pytest.param("only-ipv4.example", ("-6",), None, "name-not-found", id="no-AAAA"),
    ],
)
def test_there_is_no_server(
    net: Lab, archive: Path, target: str, options: tuple[str, ...], rule: str | None, code: str
) -> None:
    net.client.knows({"only-ipv4.example": (V4,)})
    if rule:
        net.server.rules("input", f"meta l4proto {{tcp, udp}} {rule}")
    seen = check(net.client, archive, target, *options)
    assert (seen.status, seen.report["verdict"], seen.report["error"]["code"]) == (3, "inconclusive", code)
    assert all(one["findings"] == [] and one["verdict"] == "inconclusive" for one in seen.report["addresses"])
    assert seen.report["error"]["message"]
    assert code != "no-server" or "--control" in seen.report["error"]["hint"]
    assert seen.report["error"]["hint"]
    assert target in seen.stderr
    assert seen.report["elapsed_s"] < LONGEST


@pytest.mark.parametrize("target", ["198.51.100.77", "2001:db8:1::77"], ids=["IPv4", "IPv6"])
def test_nobody_has_the_address_and_the_router_says_so(archive: Path, target: str) -> None:
    with lab(routed=True) as net:
        assert net.router
        seen = check(net.client, archive, target)
        assert (seen.status, seen.report["error"]["code"], seen.address["findings"]) == (3, "no-server", [])
        # The router sends few ICMP errors a second: not each port need get one.
        assert (
            f"unreachable, says {net.router.ipv6 if ':' in target else net.router.ipv4}"
            in seen.report["error"]["message"]
        )
        assert "connects" not in seen.report["error"]["message"]
