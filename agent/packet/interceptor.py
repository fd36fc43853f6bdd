"""Identify what answers in the server's place by what it shows, and describe it in a line to print.

Nothing here is proof: anybody can show anything. But what people meet says what it is, and where nothing
tells, it is another service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping

from ..core.errors import DecodeError
from ..core.observation import Interceptor
from ..protocol import http_proof
from . import x509
from .printable import MAX_CHARACTERS, first_line

# A status line, a server's name, a redirect, and a certificate's two names; the report takes no more.
MAX_SHOWN = 200
# Of an answer: what comes after that names nobody.
MAX_HEADERS = 64

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?: ([^\r\n]*))?")
_TLS_ALERT = re.compile(rb"\x15\x03[\x00-\x04]\x00\x02[\x01\x02](.)", re.DOTALL)  # RFC 8446, section 6

# Headers that are shown with their values: what it is, where it sends people, and what it could not do.
_TELLING = ("server", "via", "location", "x-squid-error", "proxy-authenticate")

# Headers and names that delivery networks are known by. An Age, an X-Cache or an X-Served-By alone is any cache's.
_CDN_HEADERS = re.compile(
    r"cf-ray|cf-cache-status|x-amz-cf-(id|pop)|x-akamai-.*|akamai-.*|x-fastly-.*|x-azure-ref|x-sucuri-id|x-iinfo|"
    r"cdn-requestid|x-cdn|x-edge-location"
)
_CDN = re.compile(
    r"cloudflare|cloudfront|akamai|fastly|edgecast|ecacc|bunnycdn|cdn77|keycdn|incapsula|imperva|sucuri|stackpath|gcore|"
    r"azure ?front ?door|1\.1 google\b",
    re.I,
)
# Cloudflare makes these for the servers that it fetches from: who shows one is such a server, reached past it.
_CDN_ORIGIN = re.compile("cloudflare origin", re.I)
_CACHE_NODE = re.compile("cache-", re.I)  # how Fastly names its machines in X-Served-By

_PROXY_HEADERS = re.compile(r"via|x-squid-error|proxy-.*|x-bluecoat-via|x-cache-lookup")
_PROXY = re.compile(
    r"squid|tinyproxy|privoxy|polipo|ccproxy|wingate|mikrotik httpproxy|blue ?coat|ironport|zscaler|web ?gateway|"
    r"forti(proxy|gate)|apachetrafficserver|\bats/",
    re.I,
)
# Products that make certificates for other people's names, to read the traffic.
_TLS_INSPECTION = re.compile(
    r"zscaler|netskope|forti(net|gate|proxy)|palo alto|blue ?coat|cisco (umbrella|secure)|sophos|check ?point|"
    r"barracuda|mcafee|skyhigh|iboss|websense|forcepoint|mitmproxy|untangle|kaspersky|eset ssl|avast|bitdefender|"
    r"lightspeed|securly|watchguard|sonicwall",
    re.I,
)
# On a page that comes with 200: hotspots say so, for people and for their phones (WISPr).
_HOTSPOT = re.compile(rb"wispaccessgateway|captive|hotspot|(guest|free|public) wi-?fi", re.I)
_PAGE_SENDS_ON = re.compile(
    rb"""http-equiv=["']?refresh["']?[^>]*url=["']?([^"'>\s]+)|location(?:\.href)? *= *["']([^"']+)""", re.I
)
_HOST = re.compile(r"(?:https?:)?//(?:[^/?#@]*@)?(\[[^]/?#]*\]|[^/?#:]*)", re.I)

# Browsers keep these for ever (RFC 9110, section 15.4): so servers send people to their right name, no portal does.
_PERMANENT = (301, 308)
_LOGIN_NEEDED = 511  # RFC 6585, section 6: made for portals
_PROXY_LOGIN_NEEDED = 407


@dataclass(frozen=True)
class Identity:
    """What kind it is of, and what it showed: one line of at most MAX_SHOWN printable ASCII characters."""

    kind: Interceptor
    shown: str


@dataclass(frozen=True)
class _Http:
    status: int
    reason: str
    headers: Mapping[str, str]  # names in lower case; of several the first
    body: bytes


def identify(answer: bytes, host: str, certificate: bytes = b"", ours: bool = False) -> Identity:
    """Return what answers a probe so.

    `host` is the server as dialled; `certificate` in DER is what TLS showed; `ours` says that the server's own answer
    came through behind it. Whatever the bytes, there is an answer.
    """
    http, names = _read(answer), _names(certificate)
    whose = f"certificate for {names.subject or 'no name'}, issued by {names.issuer or 'no name'}" if names else ""
    alert = _TLS_ALERT.match(answer)
    said = _describe(http) if http else f"TLS alert {alert[1][0]}" if alert else first_line(answer)
    shown = "; ".join(filter(None, (said[: MAX_SHOWN - len(whose) - 2], whose)))
    return Identity(_kind(http, names, host, ours), shown or "nothing to read")


def _kind(http: _Http | None, names: x509.Names | None, host: str, ours: bool) -> Interceptor:
    # The surest comes first: a delivery network's redirect is its own, and a portal may well run on a proxy.
    if _is_cdn(http, names):
        return Interceptor.CDN
    if ours:
        return Interceptor.TLS_MIDDLEBOX
    if http and _is_portal(http, host):
        return Interceptor.CAPTIVE_PORTAL
    if http and _is_proxy(http):
        return Interceptor.HTTP_PROXY
    if names and _TLS_INSPECTION.search(names.issuer):
        return Interceptor.TLS_MIDDLEBOX
    return Interceptor.OTHER_SERVICE


def _is_cdn(http: _Http | None, names: x509.Names | None) -> bool:
    if http:
        headers = http.headers
        named = f"{headers.get('server', '')} {headers.get('via', '')}"
        if any(map(_CDN_HEADERS.fullmatch, headers)) or _CDN.search(named):
            return True
        if _CACHE_NODE.match(headers.get("x-served-by", "")):
            return True
    text = f"{names.subject} {names.issuer}" if names else ""
    return _CDN.search(text) is not None and not _CDN_ORIGIN.search(text)


def _is_portal(http: _Http, host: str) -> bool:
    if http.status == _LOGIN_NEEDED:
        return True
    if 300 <= http.status < 400 and http.status not in _PERMANENT:
        return _leads_away(http.headers.get("location", ""), host)
    if http.status != 200:
        return False
    # Many web applications answer any path with their page: of a page alone, one that leads away or says so is it.
    away = _PAGE_SENDS_ON.search(http.body)
    target = next(filter(None, away.groups())).decode("ascii", "replace") if away else ""
    return _leads_away(target, host) or _HOTSPOT.search(http.body) is not None


def _leads_away(location: str, host: str) -> bool:
    """Return whether a redirect goes to another host, and to something else than was asked for.

    From a name to one below or above it is a site's own business, and so is the same page under the site's right name.
    """
    match = _HOST.match(location)
    if not match or http_proof.PATH in location[match.end() :].partition("?")[0]:
        return False
    there, here = (name.strip("[]").lower().rstrip(".") for name in (match.group(1), host))
    return bool(there) and not f".{there}".endswith(f".{here}") and not f".{here}".endswith(f".{there}")


def _is_proxy(http: _Http) -> bool:
    named = _PROXY.search(http.headers.get("server", "")) is not None
    return named or http.status == _PROXY_LOGIN_NEEDED or any(map(_PROXY_HEADERS.fullmatch, http.headers))


def _read(answer: bytes) -> _Http | None:
    """Read an answer in HTTP, as far as it came."""
    match = _STATUS.match(answer)
    if not match:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    headers: dict[str, str] = {}
    for line in head.split(b"\n")[1 : MAX_HEADERS + 1]:
        name, _, value = line.partition(b":")
        headers.setdefault(first_line(name).lower(), first_line(value, MAX_SHOWN))
    return _Http(int(match.group(1)), first_line(match.group(2) or b""), headers, body)


def _describe(http: _Http) -> str:
    parts = [f"{http.status} {http.reason}".strip()]
    for name, value in http.headers.items():
        if name in _TELLING:
            parts.append(f"{name.title()}: {(_place(value) if name == 'location' else value)[:MAX_CHARACTERS]}")
        elif _CDN_HEADERS.fullmatch(name) or _PROXY_HEADERS.fullmatch(name):
            parts.append(f"with {name.title()}")
    return ", ".join(parts)


def _place(location: str) -> str:
    """Return where a redirect leads, without what it says of the user, and without what was asked for."""
    path, *query = location.split("?")
    begin, *asked = path.split(http_proof.PATH)
    return f"{begin}{'/...' if asked else ''}{'?...' if query else ''}"


def _names(certificate: bytes) -> x509.Names | None:
    try:
        return x509.names(certificate) if certificate else None
    except DecodeError:
        return x509.Names("", "")
