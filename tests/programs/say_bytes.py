"""Say HEX to HOST PORT, within TLS or not, and write what comes until the other side closes."""

from __future__ import annotations

import socket
import ssl
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as plain:
    opened = plain
    if sys.argv[3] == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        opened = context.wrap_socket(plain)
    opened.sendall(bytes.fromhex(sys.argv[4]))
    while True:
        data = opened.recv(65536)
        if not data:
            break
        sys.stdout.buffer.write(data)
