"""Send one line to port 443 of HOST, and print the line that comes back."""

from __future__ import annotations

import socket
import sys

with socket.create_connection((sys.argv[1], 443), 10) as opened:
    opened.sendall(sys.argv[2].encode())
    print(opened.makefile().readline())
