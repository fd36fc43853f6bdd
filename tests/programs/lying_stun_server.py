"""Answer every STUN request wrongly, at each port in another way."""

from __future__ import annotations

import selectors
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from agent.protocol import stun


def made(kind: int, transaction: bytes, attributes: bytes) -> bytes:
    return stun.HEADER.pack(kind, len(attributes), stun.MAGIC_COOKIE, transaction) + attributes


mapped = stun.encode_attribute(stun.Attribute.XOR_MAPPED_ADDRESS, bytes((0, 1, 0, 9, 1, 2, 3, 4)))
WAYS = (
    lambda data: b"x" * 30,
    lambda data: b"",
    lambda data: data,
    lambda data: made(stun.Kind.SUCCESS, bytes(12), mapped),
    lambda data: made(stun.Kind.ERROR, data[8:20], mapped),
    lambda data: made(stun.Kind.SUCCESS, data[8:20], b""),
    lambda data: made(stun.Kind.SUCCESS, data[8:20], mapped[:4] + mapped[8:]),
    lambda data: made(stun.Kind.SUCCESS, data[8:20], mapped * 200),
    lambda data: made(stun.Kind.SUCCESS, data[8:20], mapped),  # of another address
)
selector = selectors.DefaultSelector()
for number, way in enumerate(WAYS):
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("0.0.0.0", 4478 + number))
    selector.register(opened, selectors.EVENT_READ, way)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        assert isinstance(key.fileobj, socket.socket)
        data, source = key.fileobj.recvfrom(2000)
        key.fileobj.sendto(key.data(data), source)
