"""Send every datagram to port 7 back."""

from __future__ import annotations

import socket

echo = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
echo.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
echo.setsockopt(socket.SOL_SOCKET, 33, 1 << 20)
echo.bind(("::", 7))
print("ready", flush=True)
while True:
    echo.sendto(*echo.recvfrom(100))
