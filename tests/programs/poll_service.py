"""Connect to both of haproxy's ports over and over, and to LiveKit's; write at the end how often, and what failed."""

from __future__ import annotations

import signal
import socket
import ssl
import sys

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
target, source = sys.argv[1:]
counts, failed, going = {80: 0, 443: 0, 7881: 0}, [], [True]
signal.signal(signal.SIGTERM, lambda *_: going.clear())
print("ready", flush=True)
while going:
    for port in counts:
        try:
            with socket.create_connection((target, port), 10, (source, 0)) as plain:
                opened = context.wrap_socket(plain) if port == 443 else plain
                if port == 7881:
                    opened.sendall(b"\0\1x")
                    assert opened.recv(1) == b"", "LiveKit"
                else:
                    opened.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    assert opened.recv(4) == b"HTTP", "haproxy"
            counts[port] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            failed.append(f"{port}: {error!r}")
print(min(counts.values()), failed, flush=True)
