"""Open a session that asks for partitions in this order, and write what comes back."""

from __future__ import annotations

import json
import socket
import sys

opened = socket.create_connection((sys.argv[1], 443), 10)
answers = opened.makefile()
opened.sendall(sys.argv[2].encode())
print(answers.readline(), end="")
for part in sys.argv[3:]:
    opened.sendall(json.dumps({"type": "take", "part": int(part)}).encode() + b"\n")
    print(answers.readline(), end="")
