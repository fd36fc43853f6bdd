"""UDP from another address than the control channel's: of an honest client behind a NAT, and of whoever forges it."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from tests.lab import (
    FAR_CLIENT,
    PROGRAMS,
    ROUTER_INSIDE,
    Check,
    Host,
    check,
    crowd,
    lab,
    server,
    side_by_side,
    until,
    wrong,
)

ROOT = Path(__file__).parents[2]
HOLE, SHUT = "udp dport 53000-53999 drop", "udp 53000-53999"
FEW, UDP = "tcp 80,443,7881 udp 50000-50299", ("--udp", "50000-50299")
POOL = tuple(f"198.51.100.{number}" for number in range(240, 244))
TCP_FROM = f'oifname "inside" meta l4proto tcp snat ip to {ROUTER_INSIDE[0]}'


def udp_from(*pool: str) -> str:
    """Each flow from another address, by chance."""
    drawn = ", ".join(f"{number} : {address}" for number, address in enumerate(pool))
    return f'oifname "inside" meta l4proto udp snat ip to numgen random mod {len(pool)} map {{ {drawn} }}'


@dataclass(frozen=True, eq=False)
class Scenario:
    """From which addresses a router sends UDP."""

    fault: str
    pool: tuple[str, ...]
    hole: bool = False


SCENARIOS = (
    Scenario("another address and a hole", POOL[:1], hole=True),
    Scenario("another address", POOL[:1]),
    Scenario("a pool and a hole", POOL, hole=True),
    Scenario("a pool that has the control channels", (*POOL[:3], ROUTER_INSIDE[0])),
)


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], tuple[Check, int]]]:
    def run(scenario: Scenario) -> tuple[Check, int]:
        with lab(routed=True) as net:
            assert net.router
            for address in POOL:
                net.router.must("ip", "address", "add", f"{address}/24", "dev", "inside")
            net.server.set("sources", "type ipv4_addr; flags dynamic")
            net.rules({
                "server prerouting": ("meta l4proto udp add @sources { ip saddr }", *([HOLE] * scenario.hole)),
                "router postrouting nat": (udp_from(*scenario.pool), TCP_FROM),
            })  # fmt: skip
            with server(net.server, archive):
                return check(net.client, archive, net.server.ipv4), net.server.members("sources")

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_elsewhere(scenario: Scenario, outcome: Callable[[Scenario], tuple[Check, int]]) -> None:
    seen, sources = outcome(scenario)
    assert sources == len(scenario.pool)
    assert wrong(seen.report, {SHUT: "filtered server-host"} if scenario.hole else {}) == []
    assert seen.address["client"] == {"local": FAR_CLIENT[0], "mapped": ROUTER_INSIDE[0]}
    assert seen.address["loss"] == {"to_server": 0.0, "to_client": 0.0}


HOLDER = PROGRAMS / "hold_session.py"
FORGER = PROGRAMS / "forge_probes.py"


class Talk:
    """A program in a host of the network that answers each line by one of JSON."""

    def __init__(self, host: Host, code: Path, *args: str) -> None:
        self.process = host.popen([sys.executable, code, *args], stdin=-1, stdout=-1)

    def read(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def tell(self, line: str) -> Any:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.read()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()


def test_a_probe_is_answered_to_nobody_elses_address(archive: Path) -> None:
    """Whoever forges sits in a third host. What comes to its victim, and to the client, is counted there."""
    with contextlib.ExitStack() as stack:
        (client, stranger, victim), host, _ = stack.enter_context(crowd(3))
        for one in (client, victim):
            one.rules("input", f"ip saddr {host.ipv4} meta l4proto udp counter")
        stack.enter_context(server(host, archive, *UDP))
        holder = stack.enter_context(Talk(client, HOLDER, host.ipv4))
        forger = stack.enter_context(Talk(stranger, FORGER, host.ipv4, *holder.read()))

        def named() -> object:
            # Every turn the server reads one of each port, and two wait: by the third answer they are read.
            return [holder.tell("ping") for _ in range(3)][-1]

        def came() -> list[int]:
            return [client.counted(), victim.counted()]

        def forge(numbers: range, source: Host) -> None:
            for number in numbers:
                forger.tell(f"{50000 + number} {number} {source.ipv4}")

        forge(range(1, 101), client)  # whoever knows a session's secret is taken for its client
        assert named() == []
        until(lambda: came() == [100, 0], "the answers")
        for source in (victim, client):  # overheard, and sent again
            forge(range(1, 101), source)
        assert named() == []
        assert came() == [100, 0]
        forge(range(101, 201), victim)
        until(lambda: named() == [victim.ipv4], "the victim's name")
        holder.tell(f"confirm {client.ipv4}")
        assert came() == [100, 0]
        holder.tell(f"confirm {victim.ipv4}")
        forger.tell(f"50000 201 {victim.ipv4}")
        until(lambda: came() == [100, 1], "the answer")
        assert wrong(check(stranger, archive, host.ipv4).report, plan=FEW) == []
