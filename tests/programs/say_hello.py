"""Say HELLO to every port of HOST, within TLS and not, and write all that comes; to one PORT alone, in the clear."""

from __future__ import annotations

import socket
import ssl
import sys

host, hello, *only = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for port in map(int, only or ("80", "443", "7881")):
    for tls in (False,) if only else (True, False):
        with socket.create_connection((host, port), 60) as plain:
            opened = context.wrap_socket(plain) if tls else plain
            opened.sendall(hello.encode())
            lines = opened.makefile()
            print(lines.readline() if only else lines.read(), end="")
