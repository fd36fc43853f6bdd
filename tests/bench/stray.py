"""Sends a datagram to a host ten times a second: a program of its own, run in a namespace.

On a real interface something comes by all the time. Masscan counts on it: at its end it waits for one more packet,
which in a network of two silent hosts takes up to half a minute.
"""

from __future__ import annotations

import socket
import sys
import time

DISCARD = 9


def main() -> None:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    print("ready", flush=True)
    while True:
        sender.sendto(b"", (sys.argv[1], DISCARD))
        time.sleep(0.1)


if __name__ == "__main__":
    main()
