"""Whatever strangers send to the server's ports, it stays, says little, and serves the clients."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.lab import PROGRAMS, Host, Lab, check, program, server, wrong

FEW, UDP = "tcp 80,443,7881 udp 50000-50299", ("--udp", "50000-50299")

SAY = PROGRAMS / "say_bytes.py"

NOISE = PROGRAMS / "noise.py"


def say(host: Host, to: str, port: int, data: bytes, tls: bool = False) -> str:
    return host.must(sys.executable, SAY, to, str(port), "tls" if tls else "plain", data.hex())


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
