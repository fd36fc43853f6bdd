"""Answer, on a router, each UDP packet to the server by a forged ICMP error, and let the packet pass.

The error, "host prohibited", quotes the packet as it is, or the UDP header alone, or another transaction, or other
content.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

mode, client = sys.argv[1:]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
wire.bind(("outside", 0x0800))
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
print("ready", flush=True)


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


while True:
    data, (_, _, kind, *_) = wire.recvfrom(65535)
    if kind == socket.PACKET_OUTGOING or data[0] != 0x45 or data[9] != socket.IPPROTO_UDP:
        continue
    if mode == "other":
        data = data[:28] + os.urandom(len(data) - 28)
    elif mode == "another":
        data = data[:36] + os.urandom(12) + data[48:]
    elif mode == "short":
        data = data[:28]
    icmp = struct.pack("!BBHI", 3, 10, checksum(struct.pack("!BBHI", 3, 10, 0, 0) + data), 0) + data
    out.sendto(icmp, (client, 0))
