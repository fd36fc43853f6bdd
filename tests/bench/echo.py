"""Sends back every datagram that comes to one of a range of UDP ports: a program of its own, run in a namespace.

`FIRST-LAST` is its argument; it says `ready` once all ports are its own.
"""

from __future__ import annotations

import resource
import select
import socket
import sys

EVENTS = 512
SPARE_FILES = 100


def bound(port: int) -> socket.socket:
    """A socket that never waits: a datagram with a bad checksum is announced, and then is not there."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setblocking(False)
    one.bind(("", port))
    return one


def echo(one: socket.socket) -> None:
    try:
        data, sender = one.recvfrom(2048)
        one.sendto(data, sender)
    except OSError:
        pass  # lost, as on any path


def main() -> None:
    first, last = map(int, sys.argv[1].split("-"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = last - first + 1 + SPARE_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, hard)))
    poll = select.epoll()
    sockets = {}
    for port in range(first, last + 1):
        one = bound(port)
        sockets[one.fileno()] = one
        poll.register(one, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for number, _ in poll.poll(-1, EVENTS):
            echo(sockets[number])


if __name__ == "__main__":
    main()
