"""The connects of the client beneath its verdicts, often enough that a race shows."""

from __future__ import annotations

import sys

import pytest

from tests.lab import PROGRAMS, Host, Lab

CONNECTS = PROGRAMS / "race_connects.py"


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_an_icmp_error_is_never_taken_for_a_connection(net: Lab, family: str) -> None:
    # It wakes the client a moment before the socket itself has the error.
    net.server.rules("input", "tcp dport 7881 reject with icmpx type admin-prohibited")
    net.server.sysctl("net.ipv4.icmp_ratelimit", 0)
    net.server.sysctl("net.ipv6.icmp.ratelimit", 0)
    number, address = ("2", net.server.ipv4) if family == "IPv4" else ("10", net.server.ipv6)
    done = run(net.client, number, address)
    assert done == str({("UNREACHABLE", address): 200})


def run(client: Host, *arguments: str) -> str:
    done = client.run([sys.executable, CONNECTS, *arguments])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
