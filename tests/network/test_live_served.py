"""A server that stops nothing: ports that haproxy and LiveKit hold are tried through these, on a real kernel."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, ContextManager, Iterator, Mapping

import pytest

from tests.lab import PROGRAMS, Check, Host, Lab, check, lab, need, program, server, side_by_side, until, wrong
from tests.network.test_interception import DOES_NOT, certificate, middlebox, nginx, portal, tinyproxy, written

PLAN, PORTS = "tcp 80,443,7881 udp 443,50000-50049", ("--udp", "443,50000-50049", "--control", "9443", "--live")
LIVEKIT = Path(__file__).parent.parent / "standins" / "livekit.py"

# As plugNmeet's installer has it.
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend http
  bind :80
  acl acme path_beg /.well-known/acme-challenge/
  http-request redirect scheme https code 301 unless acme
  default_backend certbot
backend certbot
  server certbot 127.0.0.1:9080
frontend https
  mode tcp
  bind *:443 ssl crt {certificate}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req_ssl_hello_type 1 }}
  default_backend inside
backend inside
  mode tcp
  server local 127.0.0.1:81 send-proxy
frontend inner
  bind 127.0.0.1:81 accept-proxy
  acl livekit path_beg /livekit
  use_backend livekit if livekit
  default_backend plugnmeet
backend livekit
  http-request set-path "%[path,regsub(^/livekit/,/)]"
  server local 127.0.0.1:7880
backend plugnmeet
  server local 127.0.0.1:8080
"""

COTURN = ("turnserver", "-n", "-L", "0.0.0.0", "-p", "443", "--no-tcp", "--no-tls", "--no-dtls", "--no-cli",
          "--log-file", "/dev/null", "--pidfile", "/dev/null")  # fmt: skip

POLLER = PROGRAMS / "poll_service.py"

ECHO = PROGRAMS / "echo_proxied.py"


@contextlib.contextmanager
def services(host: Host, folder: Path, *livekit: str) -> Iterator[None]:
    """What runs on a plugNmeet server: haproxy and what stands in for LiveKit, with nobody in a call."""
    need("haproxy", "openssl")
    settings = written(folder / "haproxy.cfg", HAPROXY.format(certificate=certificate(folder, "/CN=meet.example")))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with host.popen([sys.executable, LIVEKIT, "--calls", "0", *livekit], stdout=subprocess.PIPE) as held:
        try:
            assert held.stdout
            assert held.stdout.readline()
            with host.popen(["haproxy", "-db", "-f", settings], **quiet) as proxy:
                try:
                    until(lambda: host.must("ss", "-Htln", "sport = :443"), "haproxy")
                    yield
                finally:
                    proxy.kill()
        finally:
            held.kill()


@contextlib.contextmanager
def coturn(host: Host) -> Iterator[None]:
    """A real TURN server at 443/udp."""
    need("turnserver")
    with host.popen(COTURN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: host.must("ss", "-Hlun", "sport = :443"), "coturn")
            yield
        finally:
            process.kill()


Start = Callable[[Host, Path], ContextManager[object]]


def echo(host: Host, folder: Path) -> ContextManager[object]:
    return program(host, ECHO)


@dataclass(frozen=True, eq=False)
class Scenario:
    """Rules by place in a routed network, who stands on its router, and what every port is that is not open."""

    what: str
    rules: Mapping[str, tuple[str, ...]]
    expected: Mapping[str, str]
    stranger: Start | None = None


def dropped(*rules: str) -> tuple[str, ...]:
    return tuple(f"{rule} drop" for rule in rules)


TO, FROM = ("tcp dport {80,443,7881}", "udp dport 443"), ("tcp sport {80,443,7881}", "udp sport 443")
TCP = "tcp 80,443,7881"
FORBIDDEN = "reject with icmpx type admin-prohibited"

SCENARIOS = (
    *(Scenario(f"a router drops {port}", {"router forward": dropped(port.replace(" ", " dport "))},
               {port: "filtered before-server"})
      for port in ("tcp 80", "tcp 443", "tcp 7881", "udp 443")),
    Scenario("the host drops", {"server input": ("iif lo accept", *dropped(*TO))},
             {TCP: "filtered server-host", "udp 443": "filtered server-host"}),
    # Whether the service would have answered what came, nobody knows: UDP services are silent as they please.
    Scenario("the host drops for itself too", {"server input": dropped(TO[1])}, {"udp 443": "untested busy"}),
    Scenario("a router drops answers", {"router forward": dropped(*FROM)},
             {TCP: "filtered return-path", "udp 443": "filtered return-path"}),
    Scenario("the host drops answers", {"server output": dropped(FROM[0])}, {TCP: "filtered server-host"}),
    Scenario("a router lets no data pass", {"router forward": dropped("tcp dport {80,443,7881} meta length > 80")},
             {TCP: "filtered before-server"}),
    Scenario("a router lets no answers to data pass",
             {"router forward": dropped("tcp sport {80,443,7881} ct original packets > 2")}, {TCP: "untested busy"}),
    Scenario("a router refuses", {"router forward": (f"{TO[0]} reject with tcp reset", f"{TO[1]} reject")},
             {TCP: "rejected before-server", "udp 443": "rejected before-server"}),
    Scenario("the host forbids", {"server input": tuple(f"{one} {FORBIDDEN}" for one in TO)},
             {TCP: "rejected server-host", "udp 443": "rejected server-host"}),
    # As it would be with the services just gone.
    Scenario("the host refuses", {"server input": (f"{TO[0]} reject with tcp reset", f"{TO[1]} reject")},
             {TCP: "untested busy", "udp 443": "untested busy"}),
    Scenario("a router resets what brings data",
             {"router forward": ("tcp dport {80,443,7881} meta length > 80 reject with tcp reset",)},
             {TCP: "untested busy"}),
    Scenario("an nginx on the router answers", {"router prerouting nat": (
        "tcp dport 80 redirect to :2222", "tcp dport 443 redirect to :8443", "tcp dport 7881 redirect to :2222")},
        {TCP: "intercepted"}, nginx(DOES_NOT)),
    Scenario("a captive portal", {"router prerouting nat": (
        "tcp dport 80 redirect to :8080", "tcp dport 443 redirect to :8443")}, {"tcp 80,443": "intercepted"}, portal),
    Scenario("a NAT", {"router postrouting nat": ("oif inside masquerade",)}, {}),
    Scenario("loss", {"router forward": ("numgen random mod 100 < 5 drop",)}, {}),
    # He comes to the server himself, as anybody may who is not this client by another address.
    Scenario("a proxy on the router hands on", {"router prerouting nat": ("tcp dport 80 redirect to :2222",)},
             {"tcp 80": "untested busy"}, tinyproxy("0.0.0.0/0")),
    Scenario("a middlebox on the router hands on", {"router prerouting nat": ("tcp dport 443 redirect to :8443",)},
             {"tcp 443": "untested busy"}, middlebox),
    Scenario("an echo on the router", {"router prerouting nat": ("udp dport 443 redirect to :3478",)},
             {"udp 443": "intercepted"}, echo),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Scenario], Check]]:
    def run(scenario: Scenario) -> Check:
        with contextlib.ExitStack() as stack:
            net = stack.enter_context(lab(routed=True))
            assert net.router
            stack.enter_context(services(net.server, tmp_path_factory.mktemp("services")))
            if scenario.stranger:
                stack.enter_context(scenario.stranger(net.router, tmp_path_factory.mktemp("stranger")))
            stack.enter_context(server(net.server, archive, *PORTS))
            net.rules(scenario.rules)
            return check(net.client, archive, net.server.ipv4, "--control", "9443")

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.what.replace(" ", "-"))
def test_what_is_stopped_between_the_client_and_the_services(
    scenario: Scenario, outcome: Callable[[Scenario], Check]
) -> None:
    seen = outcome(scenario)
    assert wrong(seen.report, scenario.expected, plan=PLAN) == []


THROUGH = {
    ("tcp", 80): "/ brings 301 Moved Permanently, Location: https://198.51.100.1/?...; what Let's Encrypt asks for, "
    "503 Service Unavailable",
    ("tcp", 443): "certificate for meet.example, issued by meet.example, good until ",
    ("tcp", 7881): "keeps a connection that brings STUN with a USERNAME, and ends one without, as LiveKit does",
    ("udp", 443): "answers STUN",
}


def test_all_is_open_and_who_polls_the_services_meets_no_trouble(net: Lab, archive: Path, tmp_path: Path) -> None:
    other = "198.51.100.7"
    net.client.also(other)
    with contextlib.ExitStack() as stack:
        stack.enter_context(services(net.server, tmp_path, "--turn", "3478"))
        stack.enter_context(coturn(net.server))
        running = stack.enter_context(server(net.server, archive, *PORTS))
        # From an address of its own, and from the client's, as others behind one NAT do.
        pollers = [stack.enter_context(program(net.client, POLLER, net.server.ipv4, one))
                   for one in (other, net.client.ipv4)]  # fmt: skip
        seen = check(net.client, archive, net.server.ipv4, "--control", "9443")
        assert wrong(seen.report, plan=PLAN) == []
        assert (seen.status, seen.report["verdict"]) == (0, "pass")
        told = {port: seen.finding(*port)["through"] for port in THROUGH}
        assert [port for port, words in THROUGH.items() if not told[port].startswith(words)] == [], told
        assert seen.finding("udp", 50000)["through"] is None
        assert "An upgrade to a WebSocket on 443/tcp reaches LiveKit's signalling." in seen.address["notes"]
        six = check(net.client, archive, net.server.ipv6, "--control", "9443")  # where haproxy and coturn do not listen
        assert wrong(six.report, plan=PLAN) == []
        assert [six.finding(*port)["through"] is not None for port in THROUGH] == [False, False, True, False]
        assert running.wait_for("report")["report"]["verdict"] == "pass"
        for poller in pollers:
            poller.terminate()
            assert poller.stdout
            count, failed = poller.stdout.readline().split(" ", 1)
            assert (int(count) > 10, failed) == (True, "[]\n")
