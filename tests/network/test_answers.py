"""Answers that are lost, doubled, or come from elsewhere than they were asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests.lab import CLIENT, INTERFACE, SERVER, Check, check, lab, server, side_by_side, wrong

SOME, THESE = "udp sport 55000-55499", "udp 55000-55499"
ALL, MANY = "udp sport 50000-60000", 500  # packets that the fault met, at least
LOST = {THESE: "filtered return-path"}
STOPPED = {THESE: "filtered server-host"}  # by its own rules: they never left as what they were


@dataclass(frozen=True, eq=False)
class Scenario:
    """Rules by place, and what comes of it; the rest is open."""

    fault: str
    rules: Mapping[str, tuple[str, ...]]
    expected: Mapping[str, str]
    routed: bool = False


def twice(to: str, of: str) -> tuple[str, ...]:
    """Each such packet, and the same one again."""
    return (f'{of} counter dup to {to} device "{INTERFACE}"',)


SCENARIOS = (
    Scenario("some are stopped by the server's rules", {"server output": (f"{SOME} counter drop",)}, STOPPED),
    Scenario("some are stopped by a router", {"router forward": (f"{SOME} counter drop",)}, LOST, routed=True),
    # No browser takes such an answer either.
    Scenario("some come from another address", {"server output": (f"{SOME} ip saddr set 198.51.100.9",),
                                                "client input": ("ip saddr 198.51.100.9 counter",)}, LOST),
    Scenario("some come from another port", {"server output": (f"{SOME} udp sport set 49999",),
                                             "client input": ("udp sport 49999 counter",)}, STOPPED),
    Scenario("all come twice", {"server output ip": twice(CLIENT[0], ALL)}, {}),
    Scenario("all are asked for twice", {"client output ip": twice(SERVER[0], "udp dport 50000-60000")}, {}),
    Scenario("all come twice and some are stopped",
             {"server output ip": twice(CLIENT[0], ALL), "client input": (f"{SOME} counter drop",)}, LOST),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A check, and how many packets the fault met in it."""

    check: Check
    met: int


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Outcome]]:
    def run(scenario: Scenario) -> Outcome:
        with lab(routed=scenario.routed) as net:
            net.rules(scenario.rules)
            with server(net.server, archive):
                return Outcome(check(net.client, archive, net.server.ipv4), net.counted())

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_answers(scenario: Scenario, outcome: Callable[[Scenario], Outcome]) -> None:
    seen, met = outcome(scenario).check, outcome(scenario).met
    assert met >= MANY
    assert wrong(seen.report, scenario.expected) == []


# Root, but for the right to watch interfaces (capabilities(7)).
BLIND = ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")


def test_answers_that_the_kernel_would_not_send_are_the_servers_own_affair_without_a_watch_too(archive: Path) -> None:
    with lab(routed=True) as net:
        net.rules({"server output": ("udp sport 50100-50149 drop",), "router forward": ("udp sport 50150-50199 drop",)})
        with server(net.server, archive, "--udp", "50000-50299", prefix=BLIND) as running:
            assert not running.listening["capture"]
            seen = check(net.client, archive, net.server.ipv4)
    expected = {"udp 50100-50149": "filtered server-host", "udp 50150-50199": "filtered return-path"}
    assert wrong(seen.report, expected, plan="tcp 80,443,7881 udp 50000-50299") == []
