"""Send datagrams to a port that nobody has: its error comes once all neighbours have found each other."""

from __future__ import annotations

import socket
import sys

with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) as opened:
    opened.settimeout(0.2)
    opened.connect((sys.argv[1], 9))
    for _ in range(50):
        try:
            opened.send(b"")
            opened.recv(1)
        except ConnectionRefusedError:
            sys.exit(0)
        except TimeoutError:
            pass
sys.exit("nobody there")
