"""Send NUMBER datagrams at once to HOST, and print for every answer its number and how long it took."""

from __future__ import annotations

import socket
import sys
import time

asking = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
asking.setsockopt(socket.SOL_SOCKET, 33, 1 << 20)  # SO_RCVBUFFORCE, so that whatever is lost is lost on the way
asking.settimeout(1)
sent = []
for number in range(int(sys.argv[2])):
    sent.append(time.monotonic())
    asking.sendto(str(number).encode(), (sys.argv[1], 7))
try:
    for _ in sent:
        number = int(asking.recv(100))
        print(number, time.monotonic() - sent[number])
except socket.timeout:
    pass
