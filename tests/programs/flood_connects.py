"""Open connections as fast as possible until SIGTERM, and say nothing: some hundred are open at each port."""

from __future__ import annotations

import collections
import signal
import socket
import sys
import time

over: list[int] = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
opened: collections.deque[socket.socket] = collections.deque(maxlen=900)
begun, number = time.monotonic(), 0
print("ready", flush=True)
while not over:
    for port in (80, 443, 7881):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((sys.argv[1], port))
        opened.append(one)
        number += 1
print(f"{number} connects, {number / (time.monotonic() - begun):.0f} a second")
