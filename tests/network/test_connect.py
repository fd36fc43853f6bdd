"""The connects of the client beneath its verdicts, often enough that a race shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import build
from tests.lab import Host, Lab

# Prints how often which reply came, from whom.
CONNECTS = """
import collections, socket, sys, threading
from agent.net.connect import Target, race
family, address = socket.AddressFamily(int(sys.argv[1])), sys.argv[2]
target = Target(family, (address, 0) if family == socket.AF_INET else (address, 0, 0, 0))
found = collections.Counter()
def connect():
    for _ in range(50):
        for attempt in race(target, [7881], 0.1, 5.0, hurry=True):
            found[attempt.reply.name, attempt.by] += 1
            if attempt.socket:
                attempt.socket.close()
threads = [threading.Thread(target=connect) for _ in range(4)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print(dict(found))
"""


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
    done = client.run([sys.executable, "-c", CONNECTS, *arguments], cwd=Path(build.ROOT))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
