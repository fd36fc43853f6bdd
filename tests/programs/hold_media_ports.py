"""Hold ports of one address: `tcp 80 198.51.100.1`."""

from __future__ import annotations

import signal
import socket
import sys

held = []
for transport, port, address in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    held.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM))
    held[-1].bind((address, int(port)))
    if transport == "tcp":
        held[-1].listen()
print("ready", flush=True)
signal.pause()
