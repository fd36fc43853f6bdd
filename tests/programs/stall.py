"""Open so many connections to each port, and say something of these in each, within TLS or in two parts.

The second part follows the beginning of an answer. Nothing else is read.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys

target, each, stalls = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
held = []
for number in range(each * 3):
    opened = socket.create_connection((target, (80, 443, 7881)[number % 3]), 10)
    held.append(opened)
    tls, *parts = stalls[number // 3 % len(stalls)]
    try:
        if tls:
            held[-1] = opened = context.wrap_socket(opened)
        opened.sendall(bytes.fromhex(parts[0]))
        for part in parts[1:]:
            if opened.recv(1):
                opened.sendall(bytes.fromhex(part))
    except OSError:  # it had to give way to others already
        pass
print("ready", flush=True)
signal.pause()
