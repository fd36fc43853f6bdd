"""Connect to port 7881 of a server many times; print how often which reply came, from whom."""

from __future__ import annotations

import collections
import socket
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from agent.net.connect import Target, race

family, address = socket.AddressFamily(int(sys.argv[1])), sys.argv[2]
target = Target(family, (address, 0) if family == socket.AF_INET else (address, 0, 0, 0))
found: collections.Counter[tuple[str, str | None]] = collections.Counter()


def connect() -> None:
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
