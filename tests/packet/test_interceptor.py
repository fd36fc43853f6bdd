"""Strangers that answer in the server's place: what real ones said, and whatever else they may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.observation import Interceptor
from agent.packet.interceptor import Identity, identify
from agent.protocol import http_proof
from tests.core.values import ANY
from tests.packet.test_x509 import EMPTY, NOBODY, certificate, item, name

HOST = "meet.example"
PORTAL, PROXY, MIDDLEBOX, CDN, OTHER = (
    Interceptor.CAPTIVE_PORTAL,
    Interceptor.HTTP_PROXY,
    Interceptor.TLS_MIDDLEBOX,
    Interceptor.CDN,
    Interceptor.OTHER_SERVICE,
)
ASKED = http_proof.PATH + "0" * 68


def http(status: str, *headers: str, body: str = "") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, "", body)).encode()


def of(subject: str, issuer: str) -> bytes:
    """A certificate with these names."""
    return certificate(item(2, b"\1"), EMPTY, name(12, issuer.encode()), EMPTY, name(12, subject.encode()), EMPTY)


def to(location: str, status: str = "302 Found") -> bytes:
    return http(status, f"Location: {location}")


# tinyproxy 1.11.1, nginx 1.22.1, haproxy 2.6 and sshd 9.2 as they answered the client's own request, or framed STUN.
TINYPROXY = http(
    "500 Unable to connect", "Server: tinyproxy/1.11.1", "Content-Type: text/html", "Connection: close",
    body='<?xml version="1.0" encoding="UTF-8" ?>\n<html>\n<head><title>500 Unable to connect</title></head>\n',
)  # fmt: skip
NGINX = http(
    "404 Not Found", "Server: nginx/1.22.1", "Date: Tue, 24 Nov 2026 15:45:42 GMT", "Content-Type: text/html",
    "Content-Length: 153", "Connection: close", body="<html>\r\n<head><title>404 Not Found</title></head>\r\n",
)  # fmt: skip
HAPROXY = http(
    "301 Moved Permanently", "content-length: 0", f"location: https://{HOST}{ASKED}", "connection: close"
)  # fmt: skip
HAPROXY_400 = http("400 Bad request", "Content-length: 90", "Cache-Control: no-cache", "Connection: close")
SSHD = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\nInvalid SSH identification string.\r\n"


@pytest.mark.parametrize(
    ("answer", "kind", "shown"),
    [
        (TINYPROXY, PROXY, "500 Unable to connect, Server: tinyproxy/1.11.1"),
        (NGINX, OTHER, "404 Not Found, Server: nginx/1.22.1"),
        (HAPROXY, OTHER, f"301 Moved Permanently, Location: https://{HOST}/..."),
        (HAPROXY_400, OTHER, "400 Bad request"),
        (SSHD, OTHER, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10"),
        (b"220 mail.example ESMTP Postfix\r\n", OTHER, "220 mail.example ESMTP Postfix"),
        (b"\x15\x03\x01\x00\x02\x02\x46", OTHER, "TLS alert 70"),
        (b"\x15\x03\x01\x00\x02\x02", OTHER, "??????"),
        (b"J\0\0\0\n8.0.36\0", OTHER, "J???"),
        (b"", OTHER, "nothing to read"),
        (b"HTTP/1.1 200", OTHER, "200"),
        (b"HTTP/2 abc", OTHER, "HTTP/2 abc"),
        (http("503 Service Unavailable", "X-Squid-Error: ERR_DNS_FAIL 0", "Via: 1.1 gate (squid/5.7)"), PROXY,
         "503 Service Unavailable, X-Squid-Error: ERR_DNS_FAIL 0, Via: 1.1 gate (squid/5.7)"),
        (http("502 Bad Gateway", "Server: nginx"), OTHER, "502 Bad Gateway, Server: nginx"),
        (http("407 Go away"), PROXY, "407 Go away"),
        (http("403 Forbidden", "Proxy-Connection: close"), PROXY, "403 Forbidden, with Proxy-Connection"),
        (http("403 Forbidden", "CF-RAY: 8a-FRA", "Server: cloudflare"), CDN,
         "403 Forbidden, with Cf-Ray, Server: cloudflare"),
        (http("403 Forbidden", "X-Amz-Cf-Id: x", "Via: 1.1 x.cloudfront.net (CloudFront)"), CDN,
         "403 Forbidden, with X-Amz-Cf-Id, Via: 1.1 x.cloudfront.net (CloudFront)"),
        (http("400 Bad Request", "Server: AkamaiGHost"), CDN, "400 Bad Request, Server: AkamaiGHost"),
        (http("404 Not Found", "X-Served-By: cache-fra-1", "Via: 1.1 varnish"), CDN,
         "404 Not Found, Via: 1.1 varnish"),
        (http("404 Not Found", "X-Served-By: node7", "X-Cache: HIT", "Age: 3"), OTHER, "404 Not Found"),
        (http("404 Not Found", "Via: 1.1 varnish"), PROXY, "404 Not Found, Via: 1.1 varnish"),
        (http("302 Found", "CF-RAY: 8a", "Location: https://elsewhere.example/"), CDN,
         "302 Found, with Cf-Ray, Location: https://elsewhere.example/"),
        (http("511 Network Authentication Required"), PORTAL, "511 Network Authentication Required"),
        (http("302 Found", "Via: 1.1 gate", "Location: http://login.example/"), PORTAL,
         "302 Found, Via: 1.1 gate, Location: http://login.example/"),
        (http("200 OK", *(f"X-{number}: x" for number in range(64)), "Server: squid"), OTHER, "200 OK"),
        (http("200 OK", "Server: one\x1b[2J", "Server: squid"), OTHER, "200 OK, Server: one?[2J"),
    ],
)  # fmt: skip
def test_what_strangers_say(answer: bytes, kind: Interceptor, shown: str) -> None:
    assert identify(answer, HOST) == Identity(kind, shown)


@pytest.mark.parametrize(
    ("answer", "kind", "shown"),
    [
        (to("http://login.example/"), PORTAL, "http://login.example/"),
        (to("http://login.example/?mac=00:00:5e:00:53:01&url=x"), PORTAL, "http://login.example/?..."),
        (to("//login.example:8080", "307 Temporary Redirect"), PORTAL, "//login.example:8080"),
        (to("http://meet.example@login.example/"), PORTAL, "http://meet.example@login.example/"),
        (to("http://[2001:db8::1]/login"), PORTAL, "http://[2001:db8::1]/login"),
        (to("http://notmeet.example/"), PORTAL, "http://notmeet.example/"),
        (to(f"http://login.example/?{ASKED}"), PORTAL, "http://login.example/?..."),
        (to("https://login.example/", "301 Moved Permanently"), OTHER, "https://login.example/"),
        (to("https://login.example/", "308 Permanent Redirect"), OTHER, "https://login.example/"),
        (to("https://MEET.example.:8443/x"), OTHER, "https://MEET.example.:8443/x"),
        (to("https://www.meet.example/"), OTHER, "https://www.meet.example/"),
        (to("/login"), OTHER, "/login"),
        (to("http:///"), OTHER, "http:///"),
        (to(f"https://{'long-name.' * 6}example{ASKED}"), OTHER, f"https://{'long-name.' * 5}lo"),
    ],
)
def test_where_strangers_send(answer: bytes, kind: Interceptor, shown: str) -> None:
    found = identify(answer, HOST)
    assert (found.kind, found.shown.partition("Location: ")[2]) == (kind, shown)


def test_from_a_name_below_to_the_one_above() -> None:
    assert identify(to("https://example/"), HOST).kind is OTHER
    assert identify(to("https://[2001:db8::1]/"), "2001:db8::1").kind is OTHER


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<html>Welcome to the Hotspot of the hotel</html>", PORTAL),
        ("<!-- <WISPAccessGatewayParam> -->", PORTAL),
        ("<p>Free Wi-Fi</p>", PORTAL),
        ('<meta http-equiv="refresh" content="0; url=http://login.example/">', PORTAL),
        ('<script>window.location.href = "https://login.example/"</script>', PORTAL),
        ("<script>location='/login'</script>", OTHER),
        ('<meta http-equiv="refresh" content="0; url=/app">', OTHER),
        ('<html><title>plugNmeet</title><div id="root"></div></html>', OTHER),
        ("", OTHER),
    ],
)
def test_pages_in_answer_to_anything(body: str, kind: Interceptor) -> None:
    assert identify(http("200 OK", body=body), HOST).kind is kind
    assert identify(http("404 Not Found", body=body), HOST).kind is OTHER


@pytest.mark.parametrize(
    ("whose", "kind", "shown"),
    [
        (of("example.com", "Cloudflare Inc"), CDN, "certificate for example.com, issued by Cloudflare Inc"),
        (of("CloudFlare Origin Certificate", "CloudFlare, Inc."), OTHER,
         "certificate for CloudFlare Origin Certificate, issued by CloudFlare, Inc."),
        (of(HOST, "Zscaler Inc."), MIDDLEBOX, "certificate for meet.example, issued by Zscaler Inc."),
        (of(HOST, "Let's Encrypt"), OTHER, "certificate for meet.example, issued by Let's Encrypt"),
        (certificate(*NOBODY, EMPTY, EMPTY), OTHER, "certificate for no name, issued by no name"),
        (b"nonsense", OTHER, "certificate for no name, issued by no name"),
    ],
)  # fmt: skip
def test_certificates(whose: bytes, kind: Interceptor, shown: str) -> None:
    assert identify(b"", HOST, whose) == Identity(kind, shown)
    assert identify(NGINX, HOST, whose) == Identity(kind, f"404 Not Found, Server: nginx/1.22.1; {shown}")
    behind = identify(http("200 OK"), HOST, whose, ours=True)
    assert behind == Identity(CDN if kind is CDN else MIDDLEBOX, f"200 OK; {shown}")


def test_a_delivery_network_hands_on_our_answer() -> None:
    assert identify(http("200 OK", "CF-RAY: 8a"), HOST, of(HOST, "Let's Encrypt"), ours=True).kind is CDN


def test_the_certificate_is_shown_beside_however_long_an_answer() -> None:
    answer = http("200 " + "x" * 100, *(f"{one}: {'y' * 300}" for one in ("Server", "Via", "Location")))
    shown = identify(answer, HOST, of("s" * 100, "i" * 100)).shown
    assert len(shown) <= 200
    assert shown.endswith(f"; certificate for {'s' * 60}, issued by {'i' * 60}")


WORDS = st.sampled_from(
    (b"HTTP/1.1 302 Found\r\n", b"HTTP/1.1 200 OK\r\n", b"Location:", b" http://", b"//[", b"\r\n\r\n", b"Via:", b"\n",
     b"Server: \x1b[2J", b"location = '", b"\x15\x03\x01", "für".encode(), b"?", b":", b"SSH-2.0-")
)  # fmt: skip


@ANY
@given(st.lists(WORDS | st.binary(max_size=12), max_size=12), st.text(), st.binary(max_size=20), st.booleans())
def test_any_bytes(pieces: list[bytes], host: str, whose: bytes, ours: bool) -> None:
    found = identify(b"".join(pieces), host, whose, ours)
    assert found.shown.isascii()
    assert found.shown.isprintable()
    assert 0 < len(found.shown) <= 200
