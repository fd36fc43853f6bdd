"""UDP from another address than the control channel's: of an honest client behind a NAT, and of whoever forges it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.lab import (
    CLIENT,
    FAR_CLIENT,
    INTERFACE,
    ROUTER_INSIDE,
    Check,
    Lab,
    check,
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


# A session of its own, and its probes from whatever address it is told: `PORT NUMBER SOURCE`, or `ping`, `confirm`,
# with what the server names. It writes the kinds of what it gets.
FORGER = f"""
import json, socket, sys
sys.path.insert(0, {str(ROOT)!r})
from agent.wire import stun
target = sys.argv[1]
control = socket.create_connection((target, 443))
lines = control.makefile()

def ask(**question):
    control.sendall(json.dumps(question).encode() + b"\\n")
    return json.loads(lines.readline())

welcome = ask(type="hello", protocol=2, program="x", family="ipv4", nonce=None)
print("ready", flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] in ("ping", "confirm"):
        answer = ask(type="ask-kernel", mine=words[1:], nonces=[])
        print(json.dumps(answer["elsewhere"]), flush=True)
        continue
    port, number, source = int(words[0]), int(words[1]), words[2]
    request = stun.Request(welcome["session"], stun.make_transaction(number, bytes(range(8))), port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT: an address that is not ours
        udp.bind((source, 40000))
        udp.settimeout(0)
        udp.sendto(stun.encode_request(request, welcome["secret"].encode()), (target, port))
    print(json.dumps("sent"), flush=True)
"""
VICTIM = "198.51.100.66"


def test_a_probe_is_answered_to_nobody_elses_address(net: Lab, archive: Path) -> None:
    """What leaves is counted, and nothing comes in any more once all has been asked over the control channel."""
    net.server.rules("output", *(f"meta l4proto udp ip daddr {one} counter" for one in (CLIENT[0], VICTIM)))
    net.server.must("ip", "neigh", "add", VICTIM, "lladdr", "02:00:00:00:00:66", "dev", INTERFACE)

    def left() -> list[int]:
        ruleset = json.loads(net.server.must("nft", "-j", "list", "ruleset"))["nftables"]
        counters = [
            one["counter"] for entry in ruleset for one in entry.get("rule", {}).get("expr", ()) if "counter" in one
        ]
        return [one["packets"] for one in counters]

    with server(net.server, archive, *UDP):
        forger = net.client.popen([sys.executable, "-c", FORGER, net.server.ipv4], stdin=-1, stdout=-1)
        with forger:
            try:
                assert forger.stdin
                assert forger.stdout
                forger.stdout.readline()

                def tell(line: str) -> object:
                    assert forger.stdin
                    assert forger.stdout
                    forger.stdin.write(f"{line}\n")
                    forger.stdin.flush()
                    return json.loads(forger.stdout.readline())

                def named() -> object:
                    # Every turn the server reads one of each port, and two wait: by the third answer they are read.
                    return [tell("ping") for _ in range(3)][-1]

                for number in range(1, 101):
                    tell(f"{50000 + number} {number} {CLIENT[0]}")
                assert named() == []
                assert left() == [100, 0]
                for source in (VICTIM, CLIENT[0]):  # overheard, and sent again
                    for number in range(1, 101):
                        tell(f"{50000 + number} {number} {source}")
                assert named() == []
                assert left() == [100, 0]
                for number in range(101, 201):  # a client's own, with a victim's address
                    tell(f"{50000 + number} {number} {VICTIM}")
                until(lambda: named() == [VICTIM], 10, "the victim's name")
                tell(f"confirm {CLIENT[0]}")
                assert left() == [100, 0]
                tell(f"confirm {VICTIM}")
                tell(f"50000 201 {VICTIM}")
                until(lambda: left() == [100, 1], 10, "the answer")
            finally:
                forger.kill()
        assert wrong(check(net.client, archive, net.server.ipv4).report, plan=FEW) == []
