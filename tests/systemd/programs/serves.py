"""Print which ports of a server serve: 80, 443 and 7881 take a TCP connection, 443/udp answers a STUN request."""

from __future__ import annotations

import json
import socket
import struct
import sys

# Where nothing listens, that is refused at once; on a busy computer an answer may take long.
SECONDS, TRIES = 20.0, 10
BINDING_REQUEST = struct.pack("!HHI", 1, 0, 0x2112A442) + b"transaction!"
BINDING_SUCCESS = b"\1\1"


def accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), SECONDS).close()
    except OSError:
        return False
    return True


def answers_stun(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as turn:
        turn.settimeout(1)
        turn.connect((host, port))
        for _ in range(TRIES):
            try:
                turn.send(BINDING_REQUEST)
                return turn.recv(100)[:2] == BINDING_SUCCESS
            except socket.timeout:
                continue
            except OSError:
                return False
    return False


def main() -> None:
    host = sys.argv[1]
    serves: list[object] = [port for port in (80, 443, 7881) if accepts(host, port)]
    if answers_stun(host, 443):
        serves.append("turn")
    print(json.dumps(serves))


if __name__ == "__main__":
    main()
