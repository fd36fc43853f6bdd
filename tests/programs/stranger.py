"""Serve port 2222, as something else would: say the bytes HEX `at-once`, or `after` the first bytes, or nothing."""

from __future__ import annotations

import socket
import sys

with socket.create_server(("", 2222)) as listener:
    print("ready", flush=True)
    opened = []
    while True:
        opened.append(listener.accept()[0])
        if "after" in sys.argv:
            opened[-1].recv(4096)
        if sys.argv[1:]:
            opened[-1].sendall(bytes.fromhex(sys.argv[2]))
