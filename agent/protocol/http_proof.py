"""The proof over HTTP, in the shape of an ACME HTTP-01 challenge (RFC 8555, section 8.3).

The client asks for a token that says whose it is and which port it was sent to; the server answers with the token and
a proof that only the session's secret makes, bound to the certificate that carried it, as ACME binds an account's key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from ..core.errors import DecodeError

PATH = "/.well-known/acme-challenge/"
# What an honest request needs: a line, a host and a few headers.
MAX_REQUEST = 4096
# A proof takes 300 bytes; another program's page is read this far, enough for its status line and server's name.
MAX_ANSWER = 8192

_TOKEN = re.compile(r"([0-9a-f]{16})([0-9a-f]{4})([0-9a-f]{16})([0-9a-f]{32})")
_REQUEST = re.compile(rb"GET (?P<path>[!-~]{1,512}) HTTP/1\.[01]\r\n")
_END = b"\r\n\r\n"
_OK = re.compile(rb"HTTP/1\.[01] 200 ")


@dataclass(frozen=True)
class Token:
    """A session's id (16 hex digits), the port that it was sent to, a nonce (16 random hex digits), and a MAC."""

    session: str
    port: int
    nonce: str
    mac: str

    def __str__(self) -> str:
        return f"{self.session}{self.port:04x}{self.nonce}{self.mac}"


def make_token(session: str, port: int, nonce: str, key: bytes) -> Token:
    """Return the token of one probe; `nonce` are 16 hex digits."""
    return Token(session, port, nonce, _mac(key, b"asked", session, port, nonce)[:32])


def verify_token(token: Token, key: bytes) -> bool:
    """Return whether the token was made with this key."""
    made = make_token(token.session, token.port, token.nonce, key)
    return hmac.compare_digest(made.mac, token.mac)


def make_proof(token: Token, certificate: bytes, key: bytes) -> str:
    """Return the server's answer; `certificate` in DER is the one that the connection showed, empty without TLS."""
    digest = hashlib.sha256(certificate).digest() if certificate else b""
    return f"{token}.{_mac(key, b'proven' + digest, token.session, token.port, token.nonce)}"


def encode_request(host: str, token: Token) -> bytes:
    """Return the request for a token."""
    lines = (f"GET {PATH}{token} HTTP/1.1", f"Host: {host}", "User-Agent: pnmcheck", "Connection: close", "", "")
    return "\r\n".join(lines).encode("ascii", "replace")


def decode_request(data: bytes) -> Token | None:
    """Return the token that a request asks for, None while it is not whole; DecodeError for another, or a long one."""
    head, end, _ = data.partition(_END)
    if len(head) > MAX_REQUEST:
        raise DecodeError("a request too long")
    if not end:
        return None
    line = _REQUEST.match(head + end)
    path = line.group("path").decode("ascii") if line else ""
    token = _TOKEN.fullmatch(path[len(PATH) :]) if path.startswith(PATH) else None
    if not token:
        raise DecodeError("not a request for a proof")
    return Token(token.group(1), int(token.group(2), 16), token.group(3), token.group(4))


def encode_answer(body: str | None) -> bytes:
    """Return an answer with a proof; 404 where there is none."""
    status, text = ("200 OK", body) if body else ("404 Not Found", "Not Found\n")
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    return (head + text).encode("ascii")


def is_proof(data: bytes, expected: str) -> bool:
    """Return whether a whole answer is the expected proof; other headers, as proxies add them, do not matter."""
    head, _, body = data.partition(_END)
    return _OK.match(head) is not None and hmac.compare_digest(body.strip(), expected.encode())


def is_proof_for_other_certificate(data: bytes, expected: str) -> bool:
    """Return whether an answer is a proof for another certificate: our token, which the server alone completes.

    A page that quotes what it was asked for is none.
    """
    head, _, body = data.partition(_END)
    token, _, made = body.strip().partition(b".")
    same = token == expected.encode().partition(b".")[0] and re.fullmatch(rb"[0-9a-f]{64}", made) is not None
    return same and _OK.match(head) is not None


def may_become_proof(data: bytes, expected: str) -> bool:
    """Return whether an answer that is not whole yet may become a proof, of this certificate or another one."""
    if not _OK.match(data + b"HTTP/1.1 200 "[len(data) :]):
        return False
    body, token = data.partition(_END)[2].lstrip(), expected.encode().partition(b".")[0]
    return body[: len(token)] == token[: len(body)] and len(body) < len(expected)


def _mac(key: bytes, label: bytes, session: str, port: int, nonce: str) -> str:
    return hmac.new(key, b"%b %b %d %b" % (label, session.encode(), port, nonce.encode()), hashlib.sha256).hexdigest()
