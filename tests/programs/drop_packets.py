"""Send NUMBER packets, and more than the smallest buffer holds, to a socket that nobody reads from."""

from __future__ import annotations

import socket
import sys

deaf, flood = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
deaf.bind(("127.0.0.1", 0))
for _ in range(int(sys.argv[1]) + 100):
    flood.sendto(bytes(1000), deaf.getsockname())
print("ready", flush=True)
