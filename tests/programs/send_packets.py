"""Send to TARGET what the Python statements of the next argument say, by `send` and `tagged`, and an end to 50009."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

target, statements, *more = sys.argv[1:]
STUN = struct.pack("!HHI", 1, 0, 0x2112A442) + bytes(12)


def send(port: int, data: bytes = STUN, *options: tuple[int, int, bytes]) -> None:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        for option in options:
            udp.setsockopt(*option)
        udp.sendto(data, (target, port))


def tagged(port: int, tag: int) -> None:
    """Send with a VLAN's tag, as a switch would (IEEE 802.1Q), to the neighbour whose address is the last argument."""
    here = Path("/sys/class/net/eth0/address").read_text(encoding="ascii").strip()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        datagram = struct.pack("!HHHH", 9, port, 8 + len(STUN), 0) + STUN
        addresses = socket.inet_aton("198.51.100.2"), socket.inet_aton(target)
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, *addresses)
        ends = bytes.fromhex(more[0].replace(":", "")) + bytes.fromhex(here.replace(":", ""))
        wire.send(ends + struct.pack("!HHH", 0x8100, tag, 0x0800) + head + datagram)


exec(statements)
send(50009)
print("done", flush=True)
