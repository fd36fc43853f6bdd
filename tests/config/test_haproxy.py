from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from agent.config.haproxy import Bind, parse_haproxy
from agent.core.errors import UserError
from agent.core.ports import PortRange
from tests.config import mutations

INSTALLED = (Path(__file__).parent / "installed" / "haproxy.cfg").read_text(encoding="utf-8")


def binds(text: str) -> list[str]:
    return [f"{bind.ports}{' ssl' if bind.ssl else ''}" for bind in parse_haproxy(text, "it.cfg")]


def test_the_shape_that_the_installer_writes() -> None:
    web, tls, rtmp = parse_haproxy(INSTALLED, "it.cfg")
    assert web == Bind(PortRange(80, 80), 12, False, (), frozenset((9080,)))
    assert tls.backend_ports == {5349, 81, 7880, 8080, 8089}
    assert (tls.ports, tls.ssl, tls.certificates) == (PortRange(443, 443), True, ("/etc/haproxy/ssl/",))
    assert (rtmp.ports, rtmp.backend_ports) == (PortRange(1935, 1935), frozenset((1936,)))


@pytest.mark.parametrize(
    ("line", "ports"),
    [
        ("bind :80", ["80"]),
        ("bind *:443 ssl crt /x", ["443 ssl"]),
        ("bind 192.0.2.1:80", ["80"]),
        ("bind ipv4@:80,ipv4@192.0.2.1:81", ["80", "81"]),
        ("bind [::]:443 v4v6", ["443"]),
        ("bind :::443", ["443"]),
        ("bind ipv6@2001:db8::1:443", ["443"]),
        ("bind tcp4@*:1000-2000", ["1000-2000"]),
        ("bind :80,[::]:80 # :81", ["80", "80"]),
        ("   bind\t:80\t", ["80"]),
        ("bind 127.0.0.1:80,localhost:81,[::1]:82,::1:83", []),
        ("bind /run/x.sock mode 660", []),
        ("bind unix@/run/x,abns@x,fd@3,quic4@:443,udp6@:1,rhttp@x,mptcp4@:1", []),
        ("bind *:81 accept-proxy", []),
        ("# bind :80", []),
        ("bindx :80", []),
    ],
)
def test_where_it_listens(line: str, ports: list[str]) -> None:
    assert binds(f"frontend x\n{line}\nbackend y\n") == ports


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("bind SECRET", "address"),
        ("bind ${SECRET}:80", "address"),
        ("bind :${SECRET}", "address"),
        ("bind :0", "address"),
        ("bind :65536", "address"),
        ("bind :99999999", "address"),
        ("bind :90-80", "address"),
        ("bind :80,", "address"),
        ("bind ipv4@:99999999", "address"),
        ("bind", "nothing after"),
        ("bind # :80", "nothing after"),
        ("server 'SECRET", "an unclosed quote"),
        ("server SECRET\\", "an unclosed quote"),
        (".if defined(SECRET)", "a condition"),
    ],
)
def test_what_is_refused(line: str, kind: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_haproxy(f"frontend x\n {line}\n", "it.cfg")
    assert raised.value.what == "it.cfg is not understood"
    assert raised.value.why.startswith("line 2: ")
    assert kind in raised.value.why
    assert "SECRET" not in raised.value.message


def test_certificates_stand_below_their_base() -> None:
    text = "global\n crt-base /etc/private\nfrontend x\n bind :443 ssl crt a.pem crt /b.pem alpn h2\n"
    (bind,) = parse_haproxy(text, "it.cfg")
    assert bind.certificates == ("/etc/private/a.pem", "/b.pem")


def test_where_a_bind_leads_is_followed_to_its_end() -> None:
    text = """
frontend a
 bind :1
 use_backend b if { always_true }
 use_backend %[path] if x
 default_backend none
backend b
 server one 127.0.0.1:2 check
 server two meet.internal:3
 server three 127.0.0.1
 server four
listen c
 bind 127.0.0.1:2 accept-proxy
 server back 127.0.0.1:1
 server on [::1]:4
"""
    assert parse_haproxy(text, "it.cfg") == (Bind(PortRange(1, 1), 3, False, (), frozenset((1, 2, 3, 4))),)


def test_a_file_that_ends_in_a_line() -> None:
    with pytest.raises(UserError) as raised:
        binds("frontend x\n bind :80")
    assert "may be incomplete" in raised.value.why


def test_no_more_than_can_be_followed() -> None:
    text = "frontend x\n" + "bind :80\n" * 500
    assert len(binds(text)) == 500
    with pytest.raises(UserError, match="not understood"):
        binds(text + "bind :81\n")


@pytest.mark.drawn
def test_what_went_wrong_is_read_or_refused() -> None:
    read, begun = 0, time.monotonic()
    for changed in mutations.of(INSTALLED, random.Random(1), 1000):
        try:
            parse_haproxy(changed, "it.cfg")
            read += 1
        except UserError as error:
            if error.what != "it.cfg is not understood":
                raise
    assert 500 < read < 1000
    assert time.monotonic() - begun < 60
