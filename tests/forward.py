"""Carries packets through a TUN device, each a constant time after it came: a program of its own, run on a router.

Its arguments are the device's name, the seconds, and the share that it loses; it says `ready` once the device is there.
"""

from __future__ import annotations

import collections
import fcntl
import os
import random
import select
import struct
import sys
import time

# From linux/if_tun.h.
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

LARGEST = 65535
BATCH = 64  # read at once; with more, those that are due would wait for it

Queue = collections.deque[tuple[float, bytes]]


def device(name: str) -> int:
    """A new TUN device, which is there as long as its descriptor is open."""
    number = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(number, TUNSETIFF, struct.pack("16sH22x", name.encode("ascii"), IFF_TUN | IFF_NO_PI))
    return number


def take(tun: int, queue: Queue, seconds: float, loss: float) -> None:
    """Read what has come. The delay is the same for all, so the queue stays in the order of what is due."""
    due = time.monotonic() + seconds
    try:
        for _ in range(BATCH):
            packet = os.read(tun, LARGEST)
            if not loss or random.random() >= loss:
                queue.append((due, packet))
    except BlockingIOError:
        pass  # that was all


def give(tun: int, queue: Queue) -> None:
    """Send what is due."""
    now = time.monotonic()
    while queue and queue[0][0] <= now:
        packet = queue.popleft()[1]
        try:
            os.write(tun, packet)
        except OSError:
            pass  # lost, as on any path


def main() -> None:
    name, seconds, loss = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    tun = device(name)
    print("ready", flush=True)
    queue: Queue = collections.deque()
    while True:
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        select.select([tun], [], [], wait)
        take(tun, queue, seconds, loss)
        give(tun, queue)


if __name__ == "__main__":
    main()
