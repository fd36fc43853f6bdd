"""Answer UDP packets to port 2222 as another service would, of the KIND that is named."""

from __future__ import annotations

import socket
import sys
from typing import Callable

ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "echo": lambda data: data,
    "stun": lambda data: b"\1\1\0\0" + data[4:20],
    "dns": lambda data: data[:2] + b"\x80\1" + bytes(8),
    "sip": lambda data: b"SIP/2.0 400 Bad\x1b[2J Request\r\n",
}

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
    opened.bind(("", 2222))
    print("ready", flush=True)
    while True:
        packet, source = opened.recvfrom(4096)
        opened.sendto(ANSWERS[sys.argv[1]](packet), source)
