"""Answer over UDP in the server's place."""

from __future__ import annotations

import socket

opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
opened.bind(("0.0.0.0", 3478))
print("ready", flush=True)
while True:
    data, source = opened.recvfrom(2048)
    opened.sendto(data, source)
