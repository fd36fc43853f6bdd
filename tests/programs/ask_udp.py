"""Send HEX to HOST PORT by UDP, and print the answer in hex."""

from __future__ import annotations

import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
    opened.settimeout(10)
    opened.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[1], int(sys.argv[2])))
    print(opened.recv(2000).hex())
