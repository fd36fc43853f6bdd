"""Ports that other programs hold, and programs that stand between."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab import Host, Lab, check, hold, need, server, until, wrong

FEW, UDP = "tcp 80,443,7881 udp 50000-50299", ("--udp", "50000-50299")
NAME = "meet.example"

# As plugNmeet's installer has it: IPv4 alone, HTTP sent on to HTTPS.
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend http
  bind :80
  http-request redirect scheme https code 301
frontend https
  bind *:443 ssl crt {certificate}
  default_backend web
backend web
  http-request return status 200 content-type text/plain string "plugNmeet"
"""

# Takes TLS off and puts it on again, with a certificate of its own.
MIDDLEBOX = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend outside
  bind :8443 ssl crt {certificate}
  default_backend inside
backend inside
  server inside 127.0.0.1:443 ssl verify none
"""


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    need("haproxy", "openssl")
    path = tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=meet.example"
    subprocess.run([*make.split(), "-keyout", path, "-out", path], check=True, capture_output=True)
    return path


@contextlib.contextmanager
def haproxy(host: Host, settings: str, certificate: Path, port: int) -> Iterator[int]:
    """A haproxy that listens; its process id."""
    file = certificate.with_name("haproxy.cfg")
    file.write_text(settings.format(certificate=certificate), encoding="ascii")
    with host.popen(["haproxy", "-db", "-f", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: host.must("ss", "-Htln", f"sport = :{port}"), f"haproxy on {port}")
            yield process.pid
        finally:
            process.kill()


def row(transport: str, port: int, owner: str, family: str | None) -> dict[str, object]:
    return {"transport": transport, "first": port, "last": port, "reason": "busy", "owner": owner, "family": family}


def test_haproxy_holds_80_and_443_and_others_hold_ports(net: Lab, archive: Path, certificate: Path) -> None:
    net.client.knows({NAME: (net.server.ipv4, net.server.ipv6)})
    with contextlib.ExitStack() as stack:
        pid = stack.enter_context(haproxy(net.server, HAPROXY, certificate, 443))
        holder = stack.enter_context(hold(net.server, "udp 50123"))
        running = stack.enter_context(server(net.server, archive, *UDP))
        owners = f"haproxy (pid {pid})", f"{name_of(holder.pid)} (pid {holder.pid})"
        assert running.listening["untested"] == [
            row("tcp", 80, owners[0], "ipv4"),
            row("tcp", 443, owners[0], "ipv4"),
            row("udp", 50123, owners[1], None),
        ]
        assert running.listening["control"] == 7881
        seen = check(net.client, archive, NAME)
        ipv4, ipv6 = net.server.ipv4, net.server.ipv6
        busy = {"tcp 80,443 udp 50123": "untested busy"}
        assert wrong(seen.report, busy, plan=FEW, address=ipv4) == []
        assert wrong(seen.report, {"udp 50123": "untested busy"}, plan=FEW, address=ipv6) == []
        assert (seen.status, seen.report["verdict"]) == (3, "inconclusive")
        for transport, port, owner in (("tcp", 80, owners[0]), ("tcp", 443, owners[0]), ("udp", 50123, owners[1])):
            assert seen.finding(transport, port, ipv4)["owner"] is None
            shown = seen._replace(report=running.wait_for("report")["report"])
            assert shown.finding(transport, port, ipv4)["owner"] == owner
        assert [one["control"]["port"] for one in seen.report["addresses"]] == [7881, 443]


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()


def test_every_tcp_port_is_busy(net: Lab, archive: Path) -> None:
    with hold(net.server, "tcp 80,443,7881") as holder:
        failed = net.server.run([sys.executable, archive, "server", *UDP])
        assert (failed.returncode, failed.stdout) == (3, "")
        assert "Traceback" not in failed.stderr
        assert "--control" in failed.stderr
        assert f"(pid {holder.pid})" in failed.stderr
        with server(net.server, archive, *UDP, "--control", "9443") as running:
            assert running.listening["control"] == 9443
            seen = check(net.client, archive, net.server.ipv4, "--control", "9443")
            assert wrong(seen.report, {"tcp 80,443,7881": "untested busy"}, plan=FEW) == []
            assert (seen.status, seen.address["control"]["port"]) == (3, 9443)
        taken = net.server.run([sys.executable, archive, "server", *UDP, "--control", "443", "--json"])
        assert (taken.returncode, '"no-control-port"' in taken.stdout, "443" in taken.stderr) == (3, True, True)


def test_a_port_is_freed_while_the_server_runs(net: Lab, archive: Path) -> None:
    net.server.rules("input", "udp dport 50000 drop")  # the first check takes longer than the server lets a port rest
    with hold(net.server, "udp 50123 tcp 7881") as holder, server(net.server, archive, *UDP) as running:
        shut, busy = {"udp 50000": "filtered"}, {"udp 50123 tcp 7881": "untested busy"}
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, {**shut, **busy}, plan=FEW) == []
        holder.kill()
        holder.wait()
        assert wrong(check(net.client, archive, net.server.ipv4).report, shut, plan=FEW) == []
        assert running.wait_for("listening", number=2)["untested"] == []


def test_a_middlebox_takes_tls_off_and_puts_it_on(net: Lab, archive: Path, certificate: Path) -> None:
    net.server.rules("prerouting", "tcp dport 443 redirect to :8443", kind="nat")
    with haproxy(net.server, MIDDLEBOX, certificate, 8443), server(net.server, archive, *UDP):
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, {"tcp 443": "intercepted"}, plan=FEW) == []
        found = seen.finding("tcp", 443)
        assert (seen.status, found["interceptor"]) == (1, "tls-middlebox")
        assert found["shown"] == f"200 OK; certificate for {NAME}, issued by {NAME}"
