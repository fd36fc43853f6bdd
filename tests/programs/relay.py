"""Hand on what is led to 8443 to where it was meant to go.

`inside` and `outside` say whether it speaks TLS with the client and with the server. Without both it opens nothing but
lines of the control channel in the clear; to one of them it does what `does` says: `line` is its number, of those that
`by` sends.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import threading
from typing import Iterator

does = json.loads(sys.argv[1])
onward = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
onward.check_hostname, onward.verify_mode = False, ssl.CERT_NONE
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])


def changed(by: str, lines: Iterator[bytes]) -> Iterator[bytes]:
    before = b""
    for number, line in enumerate(lines):
        mine = does.get("by") == by and does["line"] == number
        what = does["does"] if mine else ""
        if what == "repeat":
            yield line + line
        elif what == "replay":
            yield before
        elif what == "replace":
            assert does["old"].encode() in line
            yield line.replace(does["old"].encode(), does["new"].encode())
        elif what != "drop":
            yield line
        before = line


def carry(one: socket.socket, other: socket.socket, by: str, is_control: bool) -> None:
    try:
        pieces = iter(lambda: one.recv(65536), b"")
        for piece in changed(by, one.makefile("rb")) if is_control else pieces:
            other.sendall(piece)
    except OSError:
        pass
    try:
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client: socket.socket) -> None:
    _, port, address = struct.unpack("!HH4s8x", client.getsockopt(socket.SOL_IP, 80, 16))
    first = client.recv(1, socket.MSG_PEEK)
    speaks_tls = first == b"\x16"
    try:
        if speaks_tls and does.get("off"):
            client.close()
            return
        server = socket.create_connection((socket.inet_ntoa(address), port))
        if speaks_tls and does.get("inside"):
            client = context.wrap_socket(client, server_side=True)
        if does.get("outside") and (speaks_tls or first == b"{"):
            server = onward.wrap_socket(server)
    except OSError:
        return
    is_control = first == b"{" and not does.get("outside")
    threading.Thread(target=carry, args=(client, server, "client", is_control), daemon=True).start()
    carry(server, client, "server", is_control)


with socket.create_server(("", 8443), backlog=50) as listener:
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
