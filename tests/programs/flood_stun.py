"""Send STUN requests of an unknown key to port 50000 of a HOST, as fast as one core can."""

from __future__ import annotations

import socket
import struct
import sys

one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.connect((sys.argv[1], 50000))
data = struct.pack("!HHI", 1, 12, 0x2112A442) + bytes(24)
print("ready", flush=True)
while True:
    try:
        one.send(data)
    except OSError:
        pass
