"""Open a session from each address, write the welcomes; then end those whose numbers come on stdin."""

from __future__ import annotations

import socket
import sys

held = []
for source in sys.argv[3:]:
    opened = socket.create_connection((sys.argv[1], 443), 10, (source, 0))
    opened.sendall(sys.argv[2].encode())
    held.append(opened)
    print(opened.makefile().readline(), end="", flush=True)
for number in sys.stdin:
    held[int(number)].close()
