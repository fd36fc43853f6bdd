"""Try more than the plan with a session of its own; write what came of each try."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from agent.core.plan import Transport
from agent.protocol import framing, http_proof, messages, stun

target = sys.argv[1]
opened = socket.create_connection((target, 7881), 10)
lines = opened.makefile("rb")


def ask(message: Any) -> Any:
    opened.sendall(message if isinstance(message, bytes) else messages.encode(message))
    return messages.decode(lines.readline().rstrip())


welcome = ask(b'{"type":"hello","protocol":3,"program":"","family":"ipv4","nonce":null,"plan":"all"}\n')
key = welcome.secret.encode()


def probe(meant: int) -> bytes:
    return stun.encode_request(stun.Request(welcome.session, os.urandom(12), meant), key)


def udp(meant: int, to: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(0.3)
        one.sendto(probe(meant), (target, to))
        try:
            return len(one.recv(2000)) > 0
        except OSError:
            return False


def tcp(to: int, data: bytes) -> str:
    with socket.create_connection((target, to), 10) as one:
        one.settimeout(0.3)
        one.sendall(data)
        try:
            return one.recv(2000).split(b"\r\n")[0].decode("latin-1")
        except OSError:
            return ""


def http(meant: int, to: int) -> str:
    token = http_proof.make_token(welcome.session, meant, os.urandom(8).hex(), key)
    return tcp(to, http_proof.encode_request("x", token))


print(
    json.dumps(
        {
            "udp": [udp(50000, 50000), udp(50010, 50000), udp(443, 50000), udp(60001, 60001)],
            "http": [http(80, 80), http(81, 80), http(8080, 8080)],
            "framed": [bool(tcp(7881, framing.frame(probe(meant)))) for meant in (7881, 7882, 50000)],
            "sighted": {
                one.value: [
                    [run.first, run.last, count]
                    for about in ("sightings", "redirected", "at-interface")
                    for run, count in ask(messages.AskRows(messages.PortTable(about), one, 1)).rows
                ]
                for one in Transport
            },
        }
    )
)
