"""Sides that sleep, or move to another address, in the middle of a check."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, ContextManager, Iterator

import pytest

from tests.lab import CLIENT, INTERFACE, Check, Checking, Lab, Server, lab, server, side_by_side, start_check, wrong

HOLE, SHUT = "udp dport 53000-53999 drop", "udp 53000-53999"
SEEN = "meta l4proto udp add @clients { ip saddr } counter"
OTHER_CLIENT = "198.51.100.3"
# When something happens: between so many probes and so many. A check begins with one probe for each port; then come
# passes over the ports of a hole, and some that are open.
FIRST_PASS, LATER_PASSES = (1000, 10_000), (10_050, 12_500)

# Before and after its `yield`; what happens has begun there.
Happening = Callable[[Lab, Server, Checking], ContextManager[None]]


def client_sleeps(seconds: float) -> Happening:
    return lambda net, running, checking: _asleep(checking.process, seconds)


def server_sleeps(seconds: float) -> Happening:
    return lambda net, running, checking: _asleep(running.process, seconds)


@contextlib.contextmanager
def _asleep(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    """As a computer whose lid is closed."""
    process.send_signal(signal.SIGSTOP)
    yield
    time.sleep(seconds)  # this is the fault
    process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def moves(net: Lab, running: Server, checking: Checking) -> Iterator[None]:
    """The client gets another address, and then loses the old one."""
    net.client.sysctl(f"net.ipv4.conf.{INTERFACE}.promote_secondaries", 1)
    net.client.must("ip", "address", "add", f"{OTHER_CLIENT}/24", "dev", INTERFACE)
    net.client.must("ip", "address", "del", f"{CLIENT[0]}/24", "dev", INTERFACE)
    yield


@contextlib.contextmanager
def roams(net: Lab, running: Server, checking: Checking) -> Iterator[None]:
    """The client loses its address, and then gets another one."""
    net.client.must("ip", "address", "del", f"{CLIENT[0]}/24", "dev", INTERFACE)
    yield
    net.client.must("ip", "address", "add", f"{OTHER_CLIENT}/24", "dev", INTERFACE)


@dataclass(frozen=True, eq=False)
class Scenario:
    """What happens to a check, the server's rules, and what every port may be called."""

    fault: str
    happens: Happening
    hole: bool = False
    when: tuple[int, int] = FIRST_PASS
    seconds: float = 0  # that the check takes at least
    clients: int = 1  # addresses of the client that the server saw
    or_else: str = ""  # what else may be said, since the control channel is gone

    def expected(self, of: str) -> str:
        """What may be said of a port that is `of` in truth."""
        return f"{of} or {self.or_else}" if self.or_else else of


GONE = "unknown aborted or unknown no-control"

SCENARIOS = (
    Scenario("the client sleeps for 10 s", client_sleeps(10), seconds=10),
    Scenario("the client sleeps for 5 s and a hole", client_sleeps(5), hole=True, seconds=5),
    Scenario("the client sleeps for 5 s later", client_sleeps(5), hole=True, when=LATER_PASSES, seconds=5),
    Scenario("the server sleeps for 3 s", server_sleeps(3), seconds=3),
    Scenario("the server sleeps for 3 s and a hole", server_sleeps(3), hole=True, seconds=3),
    Scenario("the server sleeps for 3 s later", server_sleeps(3), hole=True, when=LATER_PASSES, seconds=3),
    Scenario("the client moves", moves, clients=2, or_else=GONE),
    Scenario("the client moves and a hole", moves, hole=True, clients=2, or_else=GONE),
    Scenario("the client roams", roams, clients=2, or_else=GONE),
    Scenario("the client roams and a hole", roams, hole=True, clients=2, or_else=GONE),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A check, and how many addresses its probes came from."""

    check: Check
    clients: int


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Outcome]]:
    def run(scenario: Scenario) -> Outcome:
        with lab() as net:
            net.server.set("clients", "type ipv4_addr; flags dynamic")
            net.server.rules("prerouting", SEEN, *([HOLE] * scenario.hole))
            with server(net.server, archive) as running:
                checking = start_check(net.client, archive, net.server.ipv4)
                first, last = scenario.when
                net.server.wait_until_counted(first)
                with scenario.happens(net, running, checking):
                    assert net.server.counted() < last, "it happened too late"
                return Outcome(checking.finish(), net.server.members("clients"))

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_roaming(scenario: Scenario, outcome: Callable[[Scenario], Outcome]) -> None:
    seen, clients = outcome(scenario).check, outcome(scenario).clients
    assert (seen.report["elapsed_s"] >= scenario.seconds, clients) == (True, scenario.clients)
    shut = {SHUT: scenario.expected("filtered server-host")} if scenario.hole else {}
    assert wrong(seen.report, shut, rest=scenario.expected("open")) == []
