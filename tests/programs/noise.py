"""Send nonsense to every kind of port until killed; write whatever comes back to a datagram.

It has a session of its own, but for UDP it forgets the secret.
"""

from __future__ import annotations

import collections
import json
import os
import random
import socket
import struct
import sys
import time
import zlib

target, chance = sys.argv[1], random.Random(1)
family = socket.AF_INET6 if ":" in target else socket.AF_INET
control = socket.create_connection((target, 443))
control.sendall(b'{"type":"hello","protocol":3,"program":"x","family":"ipv4","nonce":null}\n')
session = json.loads(control.makefile().readline())["session"].encode()


def stun(*attributes: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("!HH", kind, len(value)) + value for kind, value in attributes)
    head = struct.pack("!HHI", 1, len(body) + 8, 0x2112A442) + os.urandom(12)
    return head + body + struct.pack("!HHI", 0x8028, 4, zlib.crc32(head + body) ^ 0x5354554E)


datagrams = [
    b"",
    b"x",
    b"\xff" * 1400,
    bytes(20),
    b"ping\n",
    stun(),
    stun((6, session)),
    stun((8, bytes(20))),
    stun((6, session * 30), (8, bytes(20))),
]


def forged(port: int) -> bytes:  # all but the secret
    probe = [(6, session), (0x24, struct.pack("!I", port)), (0x802A, bytes(8))]
    return chance.choice([stun(*probe), stun(*probe, (8, b"")), stun(*probe, (8, bytes(20)))])


halves = [
    b"",
    b"\x16",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"{",
    b'{"type":"hello"',
    b"\x00",
    b"\x00\x14",
    b"\x00\x14" + stun()[:8],
    b"GET / HTTP/1.1\r\n",
]
wholes = [
    b"[" * 9000 + b"\n",
    b"\xff\xff",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST " + b"a" * 9000,
    b"SSH-2.0-x\r\n",
    b'{"type":"hello","protocol":1e999,"program":NaN}\n',
    b"\n" * 5000,
    b"\x00\x1c" + stun(),
    b"{" * 70000,
]
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.setblocking(False)
stalled: collections.deque[socket.socket] = collections.deque(maxlen=500)  # what falls out is closed


def connect(data: bytes) -> None:
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.settimeout(1)
    try:
        opened.connect((target, chance.choice((80, 443))))
        opened.sendall(data)
        stalled.append(opened)
    except OSError:
        opened.close()


def noise() -> None:
    for data in [*datagrams, os.urandom(chance.randrange(600)), None]:
        port = chance.randrange(50000, 50100)
        udp.sendto(forged(port) if data is None else data, (target, port))
    connect(chance.choice(halves))
    connect(chance.choice([*wholes, os.urandom(chance.randrange(600))]))
    try:
        print("an answer", udp.recv(2000), flush=True)
    except OSError:
        pass


for _ in range(300):
    connect(chance.choice(halves))
print("ready", flush=True)
while True:
    noise()
    time.sleep(0.005)
