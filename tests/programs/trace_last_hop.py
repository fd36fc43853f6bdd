"""Print the last hop on the way to ADDRESS over TRANSPORT that answers, and its distance."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from agent.client.traceroute import trace
from agent.core.plan import Transport
from agent.net.connect import Target

address, transport = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
target = Target(family, (address, 0, 0, 0) if family == socket.AF_INET6 else (address, 0))
hop = trace(target, Transport(transport), {"udp": 50000, "tcp": 443}[transport])
print(json.dumps(hop and [hop.address, hop.distance]))
