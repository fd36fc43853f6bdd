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

# Nonsense to every kind of port until it is killed; whatever comes back to a datagram is written. It has a session of
# its own, but for UDP it forgets the secret.
NOISE = """
import collections, json, os, random, socket, struct, sys, time, zlib
target, chance = sys.argv[1], random.Random(1)
family = socket.AF_INET6 if ":" in target else socket.AF_INET
control = socket.create_connection((target, 443))
control.sendall(b'{"type":"hello","protocol":3,"program":"x","family":"ipv4","nonce":null}\\n')
session = json.loads(control.makefile().readline())["session"].encode()

def stun(*attributes):
    body = b"".join(struct.pack("!HH", kind, len(value)) + value for kind, value in attributes)
    head = struct.pack("!HHI", 1, len(body) + 8, 0x2112A442) + os.urandom(12)
    return head + body + struct.pack("!HHI", 0x8028, 4, zlib.crc32(head + body) ^ 0x5354554E)

datagrams = [
    b"", b"x", b"\\xff" * 1400, bytes(20), b"ping\\n", stun(), stun((6, session)), stun((8, bytes(20))),
    stun((6, session * 30), (8, bytes(20))),
]

def forged(port):  # all but the secret
    probe = [(6, session), (0x24, struct.pack("!I", port)), (0x802A, bytes(8))]
    return chance.choice([stun(*probe), stun(*probe, (8, b"")), stun(*probe, (8, bytes(20)))])

halves = [
    b"", b"\\x16", b"\\x16\\x03\\x01\\x02\\x00\\x01\\x00", b"{", b'{"type":"hello"', b"\\x00", b"\\x00\\x14",
    b"\\x00\\x14" + stun()[:8], b"GET / HTTP/1.1\\r\\n",
]
wholes = [
    b"[" * 9000 + b"\\n", b"\\xff\\xff", b"GET / HTTP/1.1\\r\\n\\r\\n", b"POST " + b"a" * 9000, b"SSH-2.0-x\\r\\n",
    b'{"type":"hello","protocol":1e999,"program":NaN}\\n', b"\\n" * 5000, b"\\x00\\x1c" + stun(), b"{" * 70000,
]
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.setblocking(False)
stalled = collections.deque(maxlen=500)  # what falls out is closed

def connect(data):
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.settimeout(1)
    try:
        opened.connect((target, chance.choice((80, 443))))
        opened.sendall(data)
        stalled.append(opened)
    except OSError:
        opened.close()

def noise():
    for data in [*datagrams, os.urandom(chance.randrange(600)), None]:
        port = chance.randrange(50000, 50100)
        udp.sendto(forged(port) if data is None else data, (target, port))
    connect(chance.choice(halves))
    connect(chance.choice([*wholes, os.urandom(chance.randrange(600))]))
    try:
        print("an answer", udp.recv(2000), flush=True)
    except OSError:
        pass

for _ in range(300):
    connect(chance.choice(halves))
print("ready", flush=True)
while True:
    noise()
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
        assert running.wait_for("lost")["client"] == getattr(net.client, family)  # the noise's own session
        running.wait_for("report")
        assert len(running.of("report")) == 1


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
