"""End TLS with a certificate of its own, and hand on to the real server, with TLS, what was read."""

from __future__ import annotations

import socket
import ssl
import sys
import threading

context, onward = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_cert_chain(sys.argv[1])
onward.check_hostname, onward.verify_mode = False, ssl.CERT_NONE


def carry(one: socket.socket, other: socket.socket) -> None:
    try:
        while True:
            data = one.recv(65536)
            if not data:
                break
            other.sendall(data)
    except OSError:
        pass
    try:
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(plain: socket.socket) -> None:
    try:
        inside = context.wrap_socket(plain, server_side=True)
        outside = onward.wrap_socket(socket.create_connection((sys.argv[2], 443)))
    except OSError:
        return
    threading.Thread(target=carry, args=(inside, outside), daemon=True).start()
    carry(outside, inside)


with socket.create_server(("", 8443), backlog=50) as listener:
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
