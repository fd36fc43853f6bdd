"""Print which of two ports that are in no plan are reached: with nothing behind them, packets are refused there."""

from __future__ import annotations

import socket
import sys

for kind, port in ((socket.SOCK_STREAM, 8081), (socket.SOCK_DGRAM, 40123)):
    with socket.socket(socket.AF_INET, kind) as one:
        one.settimeout(0.5)
        try:
            one.connect((sys.argv[1], port))
            one.send(b"?")
            one.recv(1)
        except ConnectionRefusedError:
            print(port)
        except OSError:
            pass
