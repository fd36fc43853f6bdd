"""`server --live`: services go on running, and the ports of a media range are held by halves while a check runs."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from pathlib import Path
from typing import Any, Iterator

from tests.lab import Host, Lab, causes, check, program, server, until

FIRST, LAST = 50000, 60000
HALF = (LAST - FIRST + 2) // 2
UDP = f"udp 443,{FIRST}-{LAST}"
PLAN = f"tcp 80,443,7881 {UDP}"
# Ports of ours that are in a row, at worst: LiveKit's allocator tries them all.
MOST_TRIES = 1000

# Lends ports as LiveKit does (pion/ice, listenUDPInPortRange): from one at random upwards to the first that is free, on
# one address. Calls begin and end all the time. What came of it is told at the end.
LENDER = """
import json, random, signal, socket, sys, time
address, first, last, most = sys.argv[1], *map(int, sys.argv[2:])
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))

def lend():
    start = random.randint(first, last)
    for tries in range(last - first + 1):
        opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.bind((address, first + (start - first + tries) % (last - first + 1)))
            return opened, tries + 1
        except OSError:
            opened.close()
    return None, tries + 1

calls, tried, failed, slowest = [], [], 0, 0.0
print("ready", flush=True)
while not over:
    began = time.perf_counter()
    call, tries = lend()
    slowest = max(slowest, time.perf_counter() - began)
    tried.append(tries)
    failed += call is None
    calls.append(call)
    if len(calls) > most:
        calls.pop(random.randrange(len(calls))).close()
    time.sleep(0.002)
print(json.dumps({"lent": len(tried), "failed": failed, "tries": max(tried), "mean": sum(tried) / len(tried),
                  "slowest_s": slowest}), flush=True)
"""

# How many ports of the range are held on all addresses, as the server holds them: at most, and every time it changed.
WATCHER = """
import json, signal, sys, time
first, last = map(int, sys.argv[1:])
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
seen = []
print("ready", flush=True)
while not over:
    held = set()
    for name in ("udp", "udp6"):
        for line in open("/proc/net/" + name).readlines()[1:]:
            address, _, port = line.split()[1].partition(":")
            if not address.strip("0") and first <= int(port, 16) <= last:
                held.add(int(port, 16))
    if not seen or seen[-1] != len(held):
        seen.append(len(held))
    time.sleep(0.005)
print(json.dumps(seen), flush=True)
"""


class Told:
    """What a program told at its end."""

    value: Any = None


@contextlib.contextmanager
def telling(host: Host, code: str, *args: object) -> Iterator[Told]:
    told = Told()
    with program(host, code, *map(str, args)) as process:
        yield told
        assert process.stdout
        process.send_signal(signal.SIGTERM)
        told.value = json.loads(process.stdout.readline())


def held(host: Host) -> int:
    """How many ports of the range the server holds now."""
    listed = host.must("ss", "-Hulna")
    return len(set(re.findall(r" (?:\*|0\.0\.0\.0|\[::\]):([56]\d{4}) ", listed)))


def lending(net: Lab, most: int = 300) -> contextlib.AbstractContextManager[Told]:
    return telling(net.server, LENDER, net.server.ipv4, FIRST, LAST, most)


def watching(net: Lab) -> contextlib.AbstractContextManager[Told]:
    return telling(net.server, WATCHER, FIRST, LAST)


def test_ports_are_lent_and_half_is_never_exceeded_while_a_check_runs(net: Lab, archive: Path) -> None:
    with lending(net) as lent, watching(net) as watched, server(net.server, archive, "--live") as running:
        assert running.listening["live"]
        assert running.listening["halves"] == [{"transport": "udp", "first": FIRST, "last": LAST}]
        assert held(net.server) == 0
        seen = check(net.client, archive, net.server.ipv4)
        running.wait_for("report")
        until(lambda: held(net.server) == 0, 5, "the ports to be given back")
    found = causes(seen.report)
    assert {cause for (transport, _), cause in found.items() if transport == "tcp"} == {"open"}
    assert {cause for (transport, _), cause in found.items() if transport == "udp"} == {"open", "untested busy"}
    assert sum(cause == "untested busy" for cause in found.values()) < 600
    print(lent.value, max(watched.value), seen.report["elapsed_s"])
    assert lent.value["failed"] == 0
    assert lent.value["tries"] <= MOST_TRIES
    assert max(watched.value) <= HALF
    assert watched.value[0] == watched.value[-1] == 0
