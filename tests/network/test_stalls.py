"""Connections that stall in the middle of a request, a thousand to each port: the next check is right, and soon."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

import pytest

from tests.lab import PROGRAMS, Check, Crowd, Usage, check, crowd, program, server, until, wrong
from tests.sessions import HELLO

# Limits, by their numbers: who changes one changes it here too.
HELLO_SECONDS = 10.0

pytestmark = pytest.mark.alone

FEW, UDP = "tcp 80,443,7881 udp 50000-50299", ("--udp", "50000-50299")
PORTS, EACH = (80, 443, 7881), 1000

# The server keeps fewer than come, since it has other uses for its descriptors; each takes 75 KiB where TLS has begun.
MOST_DESCRIPTORS, MOST_MEMORY = 600, 64 * 1024
# What a check may take more while the server is busy with farewells: once it may have to connect again.
SLOWER_SECONDS, SLOWER = 3.0, 2  # seconds, or so many times what it takes alone, whichever is more
LATER_SECONDS = 20.0  # than their time some are shut, where the machine is busy

STALL = PROGRAMS / "stall.py"

ASK = b'{"type":"ask","about":"sightings","transport":"udp","start":1}\n'
REQUEST = b"GET / HTTP/1.1\r\nHost: meet.example\r\n\r\n"
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
FRAME = b"\x00\x5c\x00\x01\x00\x48\x21\x12\xa4\x42"


class Stall(NamedTuple):
    """One way to stall: what is said, in parts, and whether within TLS."""

    name: str
    said: tuple[bytes, ...]
    tls: bool = False


HALVES = (
    Stall("nothing", (b"",)),
    Stall("half a TLS hello", (TLS_HELLO,)),
    Stall("TLS, and then nothing", (b"",), tls=True),
    Stall("half an HTTP request", (REQUEST[:-2],)),
    Stall("half an HTTP request within TLS", (REQUEST[:-2],), tls=True),
    Stall("an HTTP request, and no look at the answer", (REQUEST,)),
    Stall("half a frame", (FRAME,)),
    Stall("half a hello", (HELLO[:-1].encode(),)),
)
SESSIONS = (
    Stall("a hello, and then nothing", (HELLO.encode(),)),
    Stall("a hello and a question, and no look at the answer", (HELLO.encode(), ASK)),
    Stall("a hello within TLS, and then nothing", (HELLO.encode(),), tls=True),
)


class Stalled(NamedTuple):
    """What a check came to beside connections that stall."""

    check: Check
    alone: float  # seconds that a check takes with nothing beside it
    seconds: float  # what it took more than that
    more: Usage  # what the server takes more
    idle: Usage  # what it took before


@contextlib.contextmanager
def stalled(net: Crowd, archive: Path, stalls: Sequence[Stall]) -> Iterator[Stalled]:
    """A thousand connections to each port that stall in these ways by turns, from another address than the check's."""
    target, (staller, client) = net.server.ipv4, net.clients
    begun = time.monotonic()
    assert wrong(check(client, archive, target).report, plan=FEW) == []
    alone, before = time.monotonic() - begun, net.server.usage()
    ways = [[one.tls, *(part.hex() for part in one.said)] for one in stalls]
    with program(staller, STALL, target, str(EACH), json.dumps(ways)):
        begun, held = time.monotonic(), net.server.usage()
        seen = check(client, archive, target)
        seconds, later = time.monotonic() - begun - alone, net.server.usage()
        more = [max(now) - was for *now, was in zip(held, later, before)]
        print(f"{EACH} to each of {len(PORTS)} ports that stall: a check takes {alone:.1f} s, and {seconds:.1f} s more "
              f"beside them; the server {more[1]} descriptors and {more[0]:,} KiB more")  # fmt: skip
        yield Stalled(seen, alone, seconds, Usage(*more), before)
    # Whoever stalled is gone, and nothing of it is left.
    until(lambda: net.server.usage().descriptors <= before.descriptors, "the server to shut them", within=LATER_SECONDS)


def assert_small(found: Stalled) -> None:
    """The server stayed small and quick, and the check is right."""
    assert wrong(found.check.report, plan=FEW) == []
    assert found.more.descriptors < MOST_DESCRIPTORS
    assert found.more.memory < MOST_MEMORY
    assert found.seconds < max(SLOWER_SECONDS, SLOWER * found.alone)


def test_a_thousand_stall_at_each_port_in_the_middle_of_a_request(archive: Path) -> None:
    with crowd(2) as net, server(net.server, archive, *UDP), stalled(net, archive, HALVES) as found:
        assert_small(found)
        until(
            lambda: net.server.usage().descriptors <= found.idle.descriptors,
            "their end",
            within=HELLO_SECONDS + LATER_SECONDS,
        )


def test_a_thousand_stall_at_each_port_behind_a_hello(archive: Path) -> None:
    with crowd(2) as net, server(net.server, archive, *UDP), stalled(net, archive, SESSIONS) as found:
        assert_small(found)
