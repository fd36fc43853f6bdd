"""Strangers that answer in the server's place, on the server or on the way: real programs, told apart and named."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, ContextManager, Iterator, Mapping

import pytest

from tests.lab import PROGRAMS, Check, Host, check, lab, need, program, server, side_by_side, until, wrong

# One port that nobody takes: for the control channel.
PLAN, PORTS = "tcp 80,443,7881,9443 udp 50000", ("--tcp", "80,443,7881,9443", "--udp", "50000")

PORTAL = PROGRAMS / "captive_portal.py"

MIDDLEBOX = PROGRAMS / "tls_middlebox.py"

TINYPROXY = """
Port 2222
Timeout 30
Allow {}
LogLevel Critical
"""

NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    server {{
        listen 2222;
        location / {{ return 404; }}
    }}
    server {{
        listen 8443 ssl;
        location / {{ {does}; }}
    }}
}}
"""
HANDS_ON = "proxy_pass https://127.0.0.1:443; proxy_ssl_verify off; proxy_set_header Host $host"
DOES_NOT = "return 404"

# As plugNmeet's installer has it.
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend http
  bind :2222
  http-request redirect scheme https code 301
frontend https
  bind *:8443 ssl crt {certificate}
  http-request return status 200 content-type text/html string "<html>plugNmeet</html>"
"""


@contextlib.contextmanager
def running(host: Host, port: int, *command: str | Path) -> Iterator[None]:
    """A program that serves this port."""
    need(str(command[0]))
    with host.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: host.must("ss", "-Htln", f"sport = :{port}"), f"{command[0]} on {port}")
            yield
        finally:
            process.terminate()  # nginx's workers end with it
            process.wait()


def portal(host: Host, folder: Path) -> ContextManager[object]:
    return program(host, PORTAL, str(certificate(folder, "/O=Hotel/CN=login.example")))


def middlebox(host: Host, folder: Path) -> ContextManager[object]:
    return program(host, MIDDLEBOX, str(certificate(folder, "/O=Zscaler Inc./CN=meet.example")), "198.51.100.1")


def tinyproxy(serves: str) -> Callable[[Host, Path], ContextManager[None]]:
    def start(host: Host, folder: Path) -> ContextManager[None]:
        settings = written(folder / "tinyproxy.conf", TINYPROXY.format(serves))
        return running(host, 2222, "tinyproxy", "-d", "-c", settings)

    return start


def nginx(does: str) -> Callable[[Host, Path], ContextManager[None]]:
    def start(host: Host, folder: Path) -> ContextManager[None]:
        text = NGINX.format(folder=folder, certificate=certificate(folder, "/CN=meet.example"), does=does)
        return running(host, 8443, "nginx", "-e", "stderr", "-p", folder, "-c", written(folder / "nginx.conf", text))

    return start


def haproxy(host: Host, folder: Path) -> ContextManager[None]:
    text = HAPROXY.format(certificate=certificate(folder, "/CN=meet.example"))
    return running(host, 8443, "haproxy", "-db", "-f", written(folder / "haproxy.cfg", text))


def sshd(host: Host, folder: Path) -> ContextManager[None]:
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, stdin=subprocess.DEVNULL)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it empties its rights there
    return running(host, 2222, "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", key, "-p", "2222")


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="ascii")
    return path


def certificate(folder: Path, subject: str) -> Path:
    need("openssl")
    path = folder / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*make, "-subj", subject, "-keyout", path, "-out", path], check=True, capture_output=True)
    return path


@dataclass(frozen=True, eq=False)
class Scenario:
    """A stranger, where he stands, to which of his ports what is led, and what he has to be called by port."""

    what: str
    start: Callable[[Host, Path], ContextManager[object]]
    ways: Mapping[int, int]
    kinds: Mapping[int, str]
    shown: Mapping[int, str]  # how it begins
    ends: str = ""  # and how that of 443 ends
    on_router: bool = False


SENT_ON = "302 Found, Server: hotspot, Location: http://login.example/?..."
SSH = "SSH-2.0-OpenSSH_"
ITS_OWN = "certificate for meet.example, issued by meet.example"

SCENARIOS = (
    Scenario("a captive portal", portal, {80: 8080, 443: 8443}, {80: "captive-portal", 443: "captive-portal"},
             {80: SENT_ON, 443: f"{SENT_ON}; certificate for login.example, issued by Hotel"}, on_router=True),
    Scenario("a proxy on the way", tinyproxy("127.0.0.1"), {80: 2222}, {80: "http-proxy"},
             {80: "403 Access denied, Server: tinyproxy/"}, on_router=True),
    Scenario("a proxy on the way that lets it through", tinyproxy("0.0.0.0/0"), {80: 2222}, {}, {}, on_router=True),
    Scenario("a middlebox on the way", middlebox, {443: 8443}, {443: "tls-middlebox"},
             {443: "200 OK; certificate for meet.example, issued by Zscaler Inc."}, on_router=True),
    Scenario("an nginx that hands on", nginx(HANDS_ON), {443: 8443}, {443: "tls-middlebox"},
             {443: "200 OK, Server: nginx"}, ends=ITS_OWN),
    Scenario("an nginx that does not", nginx(DOES_NOT), {80: 2222, 443: 8443, 7881: 2222},
             {80: "other-service", 443: "other-service", 7881: "other-service"},
             {80: "404 Not Found, Server: nginx/", 443: "404 Not Found, Server: nginx/",
              7881: "400 Bad Request, Server: nginx/"}, ends=ITS_OWN),
    Scenario("an nginx without TLS", nginx(DOES_NOT), {443: 2222}, {443: "other-service"},
             {443: "400 Bad Request, Server: nginx/"}),
    Scenario("a haproxy", haproxy, {80: 2222, 443: 8443, 7881: 2222},
             {80: "other-service", 443: "other-service", 7881: "other-service"},
             {80: "301 Moved Permanently, Location: https://198.51.100.1/...", 443: f"200 OK; {ITS_OWN}",
              7881: "400 Bad request"}),
    Scenario("an sshd", sshd, {80: 2222, 443: 2222, 7881: 2222},
             {80: "other-service", 443: "other-service", 7881: "other-service"}, {80: SSH, 443: SSH, 7881: SSH}),
    Scenario("an sshd on the way", sshd, {443: 2222, 7881: 2222}, {443: "other-service", 7881: "other-service"},
             {443: SSH, 7881: SSH}, on_router=True),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Scenario], Check]]:
    def run(scenario: Scenario) -> Check:
        with contextlib.ExitStack() as stack:
            net = stack.enter_context(lab(routed=True))
            assert net.router
            host = net.router if scenario.on_router else net.server
            ways = [f"tcp dport {port} redirect to :{to}" for port, to in scenario.ways.items()]
            host.rules("prerouting", *ways, kind="nat")
            stack.enter_context(scenario.start(host, tmp_path_factory.mktemp("stranger")))
            stack.enter_context(server(net.server, archive, *PORTS))
            return check(net.client, archive, net.server.ipv4, "--control", "9443")

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.what.replace(" ", "-"))
def test_stranger(scenario: Scenario, outcome: Callable[[Scenario], Check]) -> None:
    seen = outcome(scenario)
    expected = {f"tcp {port}": "intercepted" for port in scenario.kinds}
    assert wrong(seen.report, expected, plan=PLAN) == []
    found = {port: seen.finding("tcp", port) for port in scenario.kinds}
    assert {port: one["interceptor"] for port, one in found.items()} == scenario.kinds
    assert [one["shown"] for port, one in found.items() if not one["shown"].startswith(scenario.shown[port])] == []
    assert 443 not in found or found[443]["shown"].endswith(scenario.ends)
