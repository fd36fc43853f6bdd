"""Send probes of another's session, each with the source that a line names: `PORT NUMBER SOURCE`."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from agent.protocol import stun

target, session, secret = sys.argv[1:]
for line in sys.stdin:
    port, number, source = line.split()
    request = stun.Request(session, stun.make_transaction(int(number), bytes(range(8))), int(port))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT: an address that is not ours
        udp.bind((source, 40000))
        udp.sendto(stun.encode_request(request, secret.encode()), (target, int(port)))
    print(json.dumps("sent"), flush=True)
