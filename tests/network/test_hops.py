"""The walk towards a port that something drops: the farthest router that still answers."""

from __future__ import annotations

import json
import sys
from typing import Iterator

import pytest

from tests.lab import FAR_OUTSIDE, PROGRAMS, ROUTER_OUTSIDE, Chain, chain

WALK = PROGRAMS / "trace_last_hop.py"
PORTS = "{ udp . 50000, tcp . 443 }"


REACH = PROGRAMS / "reach_closed_port.py"


@pytest.fixture(scope="module")
def network() -> Iterator[Chain]:
    with chain() as net:
        for address in (net.server.ipv4, net.server.ipv6):
            net.client.must(sys.executable, REACH, address)
        yield net


@pytest.fixture
def net(network: Chain) -> Iterator[Chain]:
    """That network, without the rules of an earlier test."""
    yield network
    for host in network:
        host.nft("flush ruleset")


def trace(net: Chain, version: int, transport: str) -> object:
    address = (net.server.ipv4, net.server.ipv6)[version]
    return json.loads(net.client.must(sys.executable, WALK, address, transport))


VERSIONS = pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])


@VERSIONS
@TRANSPORTS
def test_the_last_hop_before_what_drops_is_named(net: Chain, version: int, transport: str) -> None:
    drop = f"meta l4proto . th dport {PORTS} drop"
    net.far.rules("prerouting", drop)
    assert trace(net, version, transport) == [ROUTER_OUTSIDE[version], 1]


@VERSIONS
@TRANSPORTS
def test_a_router_that_drops_what_it_would_forward_answers_first(net: Chain, version: int, transport: str) -> None:
    """A router counts hops before it asks its rules for forwarding: what drops stands at the last hop or behind it."""
    drop = f"meta l4proto . th dport {PORTS} drop"
    net.far.rules("forward", drop)
    assert trace(net, version, transport) == [FAR_OUTSIDE[version], 2]


def test_nobody_answers_where_the_first_router_drops(net: Chain) -> None:
    net.near.rules("prerouting", f"meta l4proto . th dport {PORTS} drop")
    assert trace(net, 0, "udp") is None


@VERSIONS
@TRANSPORTS
def test_a_walk_sends_thirty_packets_at_most_and_all_of_them_to_that_port(
    net: Chain, version: int, transport: str
) -> None:
    net.client.rules(
        "output", f"meta l4proto . th dport {PORTS} counter accept", "meta l4proto {tcp, udp} counter drop"
    )
    net.server.rules("input", "meta l4proto { tcp, udp } drop")
    assert trace(net, version, transport) == [FAR_OUTSIDE[version], 2]
    assert net.client.counted() == 30
