"""Print how many ports of a range are held on all addresses, as the server holds them, each time that changed."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

first, last = map(int, sys.argv[1:])
over: list[int] = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
seen: list[int] = []
print("ready", flush=True)
while not over:
    held = set()
    for name in ("udp", "udp6"):
        for line in Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]:
            address, _, port = line.split()[1].partition(":")
            if not address.strip("0") and first <= int(port, 16) <= last:
                held.add(int(port, 16))
    if not seen or seen[-1] != len(held):
        seen.append(len(held))
    time.sleep(0.1)  # reading 10,000 lines twice takes as long
print(json.dumps(seen), flush=True)
