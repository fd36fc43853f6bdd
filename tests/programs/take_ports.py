"""Bind ports as LiveKit does (pion/ice, listenUDPInPortRange), and print at the end what came of it.

It goes from one at random upwards to the first that is free, on one address. Calls begin and end all the time.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import sys
import time

address, first, last, most = sys.argv[1], *map(int, sys.argv[2:])
over: list[int] = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))


def lend() -> tuple[socket.socket | None, int]:
    start = random.randint(first, last)
    for tries in range(last - first + 1):
        opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.bind((address, first + (start - first + tries) % (last - first + 1)))
            return opened, tries + 1
        except OSError:
            opened.close()
    return None, tries + 1


calls: list[socket.socket] = []
tried: list[int] = []
failed, slowest = 0, 0.0
print("ready", flush=True)
while not over:
    began = time.perf_counter()
    call, tries = lend()
    slowest = max(slowest, time.perf_counter() - began)
    tried.append(tries)
    if call:
        calls.append(call)
    else:
        failed += 1
    if len(calls) > most:
        calls.pop(random.randrange(len(calls))).close()
    time.sleep(0.002)
print(
    json.dumps(
        {
            "lent": len(tried),
            "failed": failed,
            "tries": max(tried),
            "mean": sum(tried) / len(tried),
            "slowest_s": slowest,
        }
    ),
    flush=True,
)
