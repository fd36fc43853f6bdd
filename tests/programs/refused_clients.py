"""Connect NUMBER times to HOST with a version that the server refuses."""

from __future__ import annotations

import socket
import sys

print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    with socket.create_connection((sys.argv[1], 80)) as one:
        one.sendall(b'{"type":"hello","protocol":99,"program":"x"}\n')
        one.recv(1000)
print("done", flush=True)
