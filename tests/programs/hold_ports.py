"""Hold ports, given as pairs of transport and number, and say nothing to whoever comes."""

from __future__ import annotations

import signal
import socket
import sys

held = []
for transport, port in zip(sys.argv[1::2], sys.argv[2::2]):
    held.append(socket.socket(socket.AF_INET6, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM))
    held[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    held[-1].bind(("::", int(port)))
    if transport == "tcp":
        held[-1].listen()
print("ready", flush=True)
signal.pause()
