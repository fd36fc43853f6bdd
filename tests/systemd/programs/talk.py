"""Send the bytes HEX to HOST PORT; print what comes back within SECONDS, as hex, or `closed`, or `silent`."""

from __future__ import annotations

import socket
import sys

host, port, data, seconds = sys.argv[1:]
connection = socket.create_connection((host, int(port)), 60)
connection.sendall(bytes.fromhex(data))
connection.settimeout(float(seconds))
try:
    print(connection.recv(100).hex() or "closed")
except socket.timeout:
    print("silent")
except ConnectionResetError:
    print("closed")
