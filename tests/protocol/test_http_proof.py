from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import DecodeError
from agent.protocol import http_proof
from agent.protocol.http_proof import PATH, Token
from tests.core.values import ANY, PORTS

SESSION, NONCE, KEY, CERTIFICATE = "0123456789abcdef", "fedcba9876543210", b"k" * 64, b"DER"
TOKEN = http_proof.make_token(SESSION, 80, NONCE, KEY)
REQUEST = http_proof.encode_request("meet.example.com", TOKEN)
PROOF = http_proof.make_proof(TOKEN, CERTIFICATE, KEY)


@ANY
@given(PORTS, st.binary(min_size=8, max_size=8), st.binary(max_size=30))
def test_a_request_round_trips_once_it_is_whole(port: int, nonce: bytes, more: bytes) -> None:
    token = http_proof.make_token(SESSION, port, nonce.hex(), KEY)
    data = http_proof.encode_request("meet.example.com", token)
    assert all(http_proof.decode_request(data[:length]) is None for length in range(len(data)))
    assert http_proof.decode_request(data + more) == token
    assert http_proof.verify_token(token, KEY)


def test_a_proxys_headers_do_not_matter() -> None:
    line, _, headers = REQUEST.partition(b"\r\n")
    forwarded = line.replace(b"1.1", b"1.0") + b"\r\nX-Forwarded-For: 192.0.2.1\r\nVia: 1.1 proxy\r\n" + headers
    assert http_proof.decode_request(forwarded) == TOKEN


@pytest.mark.parametrize(
    "token",
    [
        Token(SESSION, 81, NONCE, TOKEN.mac),
        Token(SESSION[::-1], 80, NONCE, TOKEN.mac),
        Token(SESSION, 80, NONCE[::-1], TOKEN.mac),
        Token(SESSION, 80, NONCE, TOKEN.mac[::-1]),
        http_proof.make_token(SESSION, 80, NONCE, KEY[:-1]),
    ],
    ids=["another port", "another session", "another nonce", "another proof", "another key"],
)
def test_a_token_that_another_made(token: Token) -> None:
    assert http_proof.verify_token(TOKEN, KEY)
    assert not http_proof.verify_token(token, KEY)


ACME = PATH.encode()
ASKED = str(TOKEN).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1",
        b"GET " + ACME + b" HTTP/1.1",
        b"GET " + ACME + ASKED[:-1] + b" HTTP/1.1",
        b"GET " + ACME + ASKED + b"0 HTTP/1.1",
        b"GET " + ACME + ASKED.upper() + b" HTTP/1.1",
        b"GET " + ACME[1:] + ASKED + b" HTTP/1.1",
        b"GET " + ACME.upper() + ASKED + b" HTTP/1.1",
        b"GET " + ACME + ASKED + b" HTTP/2.0",
        b"GET " + ACME + ASKED,
        b"GET " + ACME + ASKED + b"\xff HTTP/1.1",
        b"POST " + ACME + ASKED + b" HTTP/1.1",
        b" GET " + ACME + ASKED + b" HTTP/1.1",
        b"",
    ],
)
def test_a_request_for_something_else(line: bytes) -> None:
    with pytest.raises(DecodeError):
        http_proof.decode_request(line + b"\r\nHost: meet.example.com\r\n\r\n")


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_request_too_long(end: bytes) -> None:
    line = REQUEST[: REQUEST.index(b"\r\n")] + b"\r\nCookie: "
    http_proof.decode_request(line.ljust(4_096, b"x") + end)
    with pytest.raises(DecodeError):
        http_proof.decode_request(line.ljust(4_097, b"x") + end)


@pytest.mark.parametrize("body", [PROOF, None])
def test_an_answer_says_how_long_it_is(body: str | None) -> None:
    head, _, text = http_proof.encode_answer(body).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n" if body else b"HTTP/1.1 404 Not Found\r\n")
    assert f"\r\nContent-Length: {len(text)}\r\n".encode() in head
    assert text == (body.encode() if body else b"Not Found\n")


@pytest.mark.parametrize(
    "answer",
    [
        http_proof.encode_answer(PROOF),
        http_proof.encode_answer(PROOF) + b"\r\n",
        b"HTTP/1.0 200 whatever\r\nVia: 1.1 proxy\r\nSet-Cookie: seen=1\r\n\r\n" + PROOF.encode(),
    ],
)
def test_the_proof_counts_whatever_a_proxy_adds(answer: bytes) -> None:
    assert http_proof.is_proof(answer, PROOF)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        http_proof.encode_answer(None),
        http_proof.encode_answer(PROOF)[:-1],
        http_proof.encode_answer(str(TOKEN)),
        http_proof.encode_answer(http_proof.make_proof(TOKEN, CERTIFICATE, KEY[:-1])),
        http_proof.encode_answer(http_proof.make_proof(TOKEN, b"another DER", KEY)),
        http_proof.encode_answer(http_proof.make_proof(TOKEN, b"", KEY)),
        http_proof.encode_answer(
            http_proof.make_proof(http_proof.make_token(SESSION, 443, NONCE, KEY), CERTIFICATE, KEY)
        ),
        b"HTTP/1.1 302 Found\r\n\r\n" + PROOF.encode(),
        PROOF.encode(),
        b"HTTP/1.1 200 OK\r\n\r\n<html>" + PROOF.encode(),
        b"HTTP/1.1 200 OK\r\n\r\n" + "é".encode(),
    ],
    ids=[
        "nothing", "not found", "cut", "an echo", "another key", "another certificate", "no certificate",
        "another port", "a redirect", "no HTTP", "a page around it", "no ASCII",
    ],
)  # fmt: skip
def test_what_is_no_proof(answer: bytes) -> None:
    assert not http_proof.is_proof(answer, PROOF)


OTHERS = http_proof.make_proof(TOKEN, b"another DER", KEY)


@pytest.mark.parametrize(
    ("answer", "ours"),
    [
        (http_proof.encode_answer(PROOF), True),
        (http_proof.encode_answer(OTHERS), True),
        (http_proof.encode_answer(OTHERS).replace(b"\r\n", b"\r\nVia: 1.1 gate\r\n", 1), True),
        (http_proof.encode_answer(None), False),
        (http_proof.encode_answer(f"{TOKEN}"), False),
        (http_proof.encode_answer(f"{TOKEN}."), False),
        (http_proof.encode_answer(OTHERS[:-1]), False),
        (http_proof.encode_answer(OTHERS + "0"), False),
        (http_proof.encode_answer(f"<p>{OTHERS}"), False),
        (
            http_proof.encode_answer(http_proof.make_proof(Token(SESSION, 81, NONCE, TOKEN.mac), CERTIFICATE, KEY)),
            False,
        ),
        (b"HTTP/1.1 404 Not Found\r\n\r\n" + OTHERS.encode(), False),
        (f"HTTP/1.1 302 Found\r\nLocation: https://meet.example{PATH}{TOKEN}\r\n\r\n".encode(), False),
        (b"", False),
    ],
)
def test_a_proof_made_for_another_certificate(answer: bytes, ours: bool) -> None:
    assert http_proof.is_proof_for_other_certificate(answer, PROOF) is ours


@pytest.mark.parametrize("status", [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 Fine"])
def test_an_answer_may_prove_until_it_is_whole(status: bytes) -> None:
    whole = status + b"\r\nVia: 1.1 gate\r\n\r\n" + PROOF.encode()
    assert [length for length in range(len(whole)) if not http_proof.may_become_proof(whole[:length], PROOF)] == []
    assert not http_proof.may_become_proof(whole, PROOF)


@pytest.mark.parametrize(
    "answer",
    [
        b"S", b"SSH-2.0-x\r\n", b"HTTP/1.1 3", b"HTTP/1.1 302 Found\r\n", b"HTTP/2", b"\0", b"\n",
        b"HTTP/1.1 200 OK\r\n\r\n<", b"HTTP/1.1 200 OK\r\n\r\n" + ASKED[:-1] + b"x",
        http_proof.encode_answer(OTHERS),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_prove_any_more(answer: bytes) -> None:
    assert not http_proof.may_become_proof(answer, PROOF)
