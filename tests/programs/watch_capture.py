"""Say what the capture sees until it has seen a packet to the last port."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import ipaddress
import select

from agent.core.errors import DecodeError
from agent.core.plan import build_plan
from agent.core.ports import parse_ports
from agent.packet import ip
from agent.server.capture import Capture

capture = Capture(build_plan("plugnmeet", (), parse_ports("80"), parse_ports("50000-50009")))
print("ready", flush=True)
ends = False
while not ends:
    select.select([capture], [], [])
    for data, leaves, _ in capture.read(100):
        try:
            seen = ip.decode(data)
        except DecodeError:  # a fragment, or what neighbours say to each other behind an extension header
            continue
        ends |= seen.port == 50009
        print(
            "out" if leaves else "in",
            ipaddress.ip_address(seen.source),
            seen.transport.value,
            seen.port,
            len(seen.payload),
            flush=True,
        )
print("missed", capture.drops, flush=True)
