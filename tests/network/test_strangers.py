"""Whatever strangers send to the server's ports, it stays, says little, and serves the clients."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.lab import Host, Lab, check, program, server, wrong

FEW, UDP = "tcp 80,443,7881 udp 50000-50299", ("--udp", "50000-50299")

# Says what its last argument has in hex, and writes what comes until the other side closes.
SAY = """
import socket, ssl, sys
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
"""

# Nonsense to every kind of port until it is killed; whatever comes back to a datagram is written.
NOISE = """
import os, random, selectors, socket, struct, sys, time
target, chance = sys.argv[1], random.Random(1)
family = socket.AF_INET6 if ":" in target else socket.AF_INET
stun = struct.pack("!HHI", 1, 0, 0x2112A442)
datagrams = [b"", b"x", b"\\xff" * 1400, stun + bytes(12), stun + os.urandom(12), bytes(20), b"ping\\n"]
starts = [
    b"", b"\\x16", b"\\x16\\x03\\x01\\x02\\x00\\x01\\x00", b"{", b'{"type":"hello"', b"[" * 9000 + b"\\n", b"\\x00",
    b"\\x00\\x14", b"\\x00\\x14" + stun, b"\\xff\\xff", b"GET / HTTP/1.1\\r\\n", b"GET / HTTP/1.1\\r\\n\\r\\n",
    b"POST " + b"a" * 9000, b'{"type":"hello","protocol":1e999,"program":NaN}\\n', b"SSH-2.0-x\\r\\n", b"\\n" * 5000,
]
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.setblocking(False)
stalled = []

def connect(data):
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(1)
        opened.connect((target, chance.choice((80, 443, 7881))))
        opened.sendall(data)
        stalled.append(opened)
    except OSError:
        opened.close()

def noise():
    for _ in range(20):
        data = chance.choice(datagrams + [chance.randbytes(chance.randrange(600))])
        udp.sendto(data, (target, chance.randrange(50000, 50300)))
    connect(chance.choice(starts + [chance.randbytes(chance.randrange(600))]))
    try:
        print("an answer", udp.recv(2000), flush=True)
    except OSError:
        pass

for number in range(300):
    connect(starts[number % 9])
for _ in range(100):
    noise()
print("ready", flush=True)
while True:
    noise()
    while len(stalled) > 300:
        stalled.pop(chance.randrange(len(stalled))).close()
    time.sleep(0.005)
"""


def say(host: Host, to: str, port: int, data: bytes, tls: bool = False) -> str:
    return host.must(sys.executable, "-c", SAY, to, str(port), "tls" if tls else "plain", data.hex())


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_noise_before_and_during_a_check(net: Lab, archive: Path, family: str) -> None:
    target = getattr(net.server, family)
    net.server.rules("input", "udp dport 50100-50149 drop", "tcp dport 7881 reject with tcp reset")
    with server(net.server, archive, *UDP) as running, program(net.client, NOISE, target) as noise:
        seen = check(net.client, archive, target)
        assert wrong(seen.report, {"udp 50100-50149": "filtered", "tcp 7881": "rejected"}, plan=FEW) == []
        assert noise.poll() is None
        noise.kill()
        assert noise.stdout
        assert noise.stdout.read() == ""
        assert running.process.poll() is None
        assert running.of("lost") == []


def test_a_browser_gets_404(net: Lab, archive: Path) -> None:
    with server(net.server, archive, *UDP):
        for port in (80, 443, 7881):
            for path in (b"/", b"/.well-known/acme-challenge/x", b"/.well-known/acme-challenge/" + b"0" * 68):
                request = b"GET %b HTTP/1.1\r\nHost: meet.example\r\n\r\n" % path
                for tls in (False, True):
                    answer = say(net.client, net.server.ipv4, port, request, tls)
                    assert answer.startswith("HTTP/1.1 404 Not Found\n")
                    assert "pnmcheck" not in answer


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_client_of_another_protocol(net: Lab, archive: Path, tls: bool) -> None:
    with server(net.server, archive, *UDP) as running:
        hello = b'{"type":"hello","protocol":99,"program":"9.9","of":"a later day"}\n'
        refusal = json.loads(say(net.client, net.server.ipv4, 443, hello, tls))
        assert (refusal["type"], refusal["code"]) == ("refusal", "version")
        assert all(word in refusal["message"] for word in ("99", "9.9"))
        assert "pnmcheck.pyz" in refusal["hint"]
        assert running.wait_for("refused")["error"]["code"] == "version"
        assert wrong(check(net.client, archive, net.server.ipv4).report, plan=FEW) == []
