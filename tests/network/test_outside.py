"""What STUN servers and the DNS tell a server of itself: a real coturn, firewalls, a NAT, and wrong answers."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import pytest

from tests.lab import PROGRAMS, Host, Lab, lab, need, program, until

PORT, LIARS, WRONG = 3478, 4478, 8

ASK = PROGRAMS / "ask_outside.py"

LIAR = PROGRAMS / "lying_stun_server.py"


@contextlib.contextmanager
def stun_server(host: Host) -> Iterator[None]:
    """A coturn that answers STUN alone."""
    need("turnserver", "ss")
    command = ("turnserver", "-n", "-S", "--no-tls", "--no-dtls", "--no-cli", "--pidfile", "/dev/null", "-p", str(PORT),
               "-L", host.ipv4, "-L", host.ipv6)  # fmt: skip
    with host.popen(command, stdout=-3, stderr=-3) as process:
        try:
            until(lambda: host.run(["ss", "-Huln", "sport", "=", f":{PORT}"]).stdout, "coturn")
            yield
        finally:
            process.kill()


def liars(host: Host) -> contextlib.AbstractContextManager[object]:
    """A program that answers every request wrongly."""
    return program(host, LIAR)


def ask(
    host: Host, servers: Sequence[str] = (), domains: Sequence[str] = (), routes: Sequence[str] = ("ipv4", "ipv6")
) -> Mapping[str, Any]:
    """What the host is told, within the seconds that a note may take."""
    began = time.monotonic()
    told = host.must(sys.executable, ASK, json.dumps([servers, domains, routes]))
    assert time.monotonic() - began < 6
    found: Mapping[str, Any] = json.loads(told)
    return found


def both(host: Host) -> list[str]:
    return [f"{host.ipv4}:{PORT}", f"[{host.ipv6}]:{PORT}"]


def test_its_own_addresses(net: Lab) -> None:
    net.client.knows({})
    net.server.knows({"stun.example": [net.client.ipv4, net.client.ipv6], "turn.example": [net.server.ipv4]})
    own = {"ipv4": net.server.ipv4, "ipv6": net.server.ipv6}
    with stun_server(net.client):
        for servers in (both(net.client), [f"stun.example:{PORT}"], [*both(net.client), f"gone.example:{PORT}"]):
            told = ask(net.server, servers, ["turn.example", "gone.example"])
            assert told["egress"] == own
            assert told["unresolved"] == [one for one in servers if one.startswith("gone")]
            assert told["records"] == {"turn.example": [net.server.ipv4], "gone.example": None}
        assert ask(net.server, both(net.client), routes=["ipv4"])["egress"] == {"ipv4": net.server.ipv4}


def test_the_address_that_a_nat_gives() -> None:
    with lab(routed=True) as net:
        assert net.router
        net.router.rules("postrouting", 'oifname "outside" masquerade', kind="nat")
        with stun_server(net.client):
            told = ask(net.server, both(net.client))
        assert told["egress"] == {"ipv4": net.router.ipv4, "ipv6": net.router.ipv6}


@pytest.mark.parametrize(
    ("place", "rule", "egress"),
    [
        ("server output", f"udp dport {PORT} drop", {}),
        ("server output", f"udp dport {PORT} reject", {}),
        ("client input", f"udp dport {PORT} drop", {}),
        ("client output", f"udp sport {PORT} drop", {}),
        ("client input", f"ip version 4 udp dport {PORT} drop", {"ipv6": "2001:db8:1::1"}),
    ],
)
def test_udp_that_is_blocked(net: Lab, place: str, rule: str, egress: Mapping[str, str]) -> None:
    with stun_server(net.client):
        net.rules({place: (rule,)})
        assert ask(net.server, both(net.client))["egress"] == egress


def test_a_packet_that_is_lost(net: Lab) -> None:
    """Of three tries one suffices."""
    with stun_server(net.client):
        net.client.rules(
            "input", f"udp dport {PORT} limit rate over 1/hour burst 1 packets accept", f"udp dport {PORT} drop"
        )
        assert ask(net.server, both(net.client)[:1])["egress"] == {"ipv4": net.server.ipv4}


def test_servers_that_are_none(net: Lab) -> None:
    servers = ["noport", "stun.example:", "stun.example:99999", ":3478", "x y:1", "a" * 70 + ".example:3478", "é..é:1"]
    told = ask(net.server, servers)
    assert (told["unresolved"], told["egress"]) == (servers, {})


def test_nobody_is_asked(net: Lab) -> None:
    net.server.rules("output", "meta l4proto { tcp, udp } counter")  # the kernel has packets of its own
    assert ask(net.server) == {"unresolved": [], "egress": None, "records": {}}
    assert net.server.counted() == 0


def test_wrong_answers(net: Lab) -> None:
    with liars(net.client):
        net.client.rules("output", "counter")
        told = ask(net.server, [f"{net.client.ipv4}:{LIARS + number}" for number in range(WRONG)])
        assert (told["egress"], told["unresolved"]) == ({}, [])
        assert net.client.counted() >= WRONG


def test_who_stands_first_in_the_list_is_believed(net: Lab) -> None:
    """As LiveKit does, which asks one after another."""
    other, right = f"{net.client.ipv4}:{LIARS + WRONG}", f"{net.client.ipv4}:{PORT}"
    with stun_server(net.client), liars(net.client):
        assert ask(net.server, [right, other])["egress"] == {"ipv4": net.server.ipv4}
        assert ask(net.server, [other, right])["egress"]["ipv4"] != net.server.ipv4


def test_a_dns_that_does_not_answer(net: Lab) -> None:
    """The names of many servers are asked for at a time."""
    settings = Path("/etc/netns", net.server.name, "resolv.conf")
    settings.write_text(f"nameserver {net.client.ipv4}\n", encoding="ascii")
    net.client.rules("input", "udp dport 53 drop")
    servers = [f"stun{number}.example:{PORT}" for number in range(5)]
    told = ask(net.server, servers, ["turn.example"])
    assert (told["unresolved"], told["records"]) == (servers, {"turn.example": None})
