"""agent/protocol/README.md: every message and key that the code knows is in it and no other, and its examples hold."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Iterator

import pytest

import build
from agent.core.address import Family
from agent.core.codec import Codec, Record
from agent.protocol import framing, http_proof, messages, pairing, stun
from agent.protocol.messages import Challenge, Hello, PortTable, Proof, ServiceProtocol

TEXT = (build.ROOT / "agent/protocol/README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `([a-z-]+)`\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
VECTORS = dict(re.findall(r"^([a-z0-9+]+) +(\S.*)$", "\n".join(TEXT.split("```")[1::2]), re.MULTILINE))
KEY = VECTORS["secret"].encode("ascii")


def words(text: str, head: str) -> list[str]:
    """The first column of the table under this head, as code words."""
    table = text[text.index(f"| {head} | ") :].split("\n\n", maxsplit=1)[0] if f"| {head} | " in text else ""
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def keys(codec: Codec[Any]) -> Iterator[str]:
    assert isinstance(codec, Record)
    for key, inner in codec.keys.items():
        yield from keys(inner) if inner.inline else (key,)


def test_every_message_is_there_and_no_other() -> None:
    assert list(SECTIONS) == list(messages.CODECS)
    table = "\n".join(
        re.findall(r"^\| (?:`|any).*$", TEXT.split("| client | server |")[1].split("\n\n")[0], re.MULTILINE)
    )
    assert set(re.findall("`([a-z-]+)`", table)) == set(messages.CODECS)


@pytest.mark.parametrize("name", messages.CODECS)
def test_every_key_is_there_in_its_order_and_no_other(name: str) -> None:
    assert words(SECTIONS[name], "key") == list(keys(messages.CODECS[name]))


def test_the_words_that_can_be_asked_about() -> None:
    assert words(SECTIONS["ask"], "about") == [table.value for table in PortTable]
    assert all(f"`{one.value}`" in SECTIONS["ask"] for one in ServiceProtocol)


def test_every_code_of_a_refusal_is_there() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (build.ROOT / "agent").rglob("*.py")
                        if path.parent.name in ("server", "protocol"))  # fmt: skip
    codes = set(re.findall(r"(?:Refusal|_refuse)\(\s*\"([a-z-]+)\"", sources)) | {messages.INTERCEPTED}
    assert codes == set(words(SECTIONS["refusal"], "code"))


@pytest.mark.parametrize(
    ("limit", "number"),
    [
        ("protocol", messages.PROTOCOL), ("bytes without its end", framing.MAX_LINE),
        ("rows `[first", messages.MAX_ROWS),
        ("rows `[transport", messages.MAX_REQUIREMENTS), ("characters; all but", messages.MAX_REPORT_PART),
        ("such addresses", messages.MAX_SOURCES), ("bytes of head", http_proof.MAX_REQUEST),
        ("bytes; several", stun.MAX_BYTES), ("PADDING", stun.PADDING), ("size", messages.MAX_REPLY_BYTES),
    ],
)  # fmt: skip
def test_limits_are_those_of_the_code(limit: str, number: int) -> None:
    (line, *_) = [line for line in TEXT.splitlines() if limit in line and f"{number:,}" in line] or [""]
    assert line, f"no line has {limit} and {number:,}"


def test_the_example_of_a_probe_and_its_answers() -> None:
    transaction = stun.make_transaction(7, bytes(range(8)))
    seen = ipaddress.ip_address("192.0.2.1"), 40000
    assert stun.encode_request(stun.Request(VECTORS["session"], transaction, 50000), KEY).hex() == VECTORS["probe"]
    assert stun.encode_answer(transaction, *seen, KEY).hex() == VECTORS["answer"]
    assert stun.encode_answer(transaction, *seen, KEY, nonce=VECTORS["nonce"]).hex() == VECTORS["answer+"]


def test_the_example_of_an_http_proof() -> None:
    token = http_proof.make_token(VECTORS["session"], 80, "0011223344556677", KEY)
    assert str(token) == VECTORS["token"]
    assert http_proof.make_proof(token, b"", KEY) == f"{token}.{VECTORS['plain']}"
    assert http_proof.make_proof(token, b"certificate", KEY) == f"{token}.{VECTORS['tls']}"


def test_the_example_of_pairing() -> None:
    hello, challenge = Hello(messages.PROTOCOL, "0.1.0", Family.IPV4, "00" * 16), Challenge("ff" * 16)
    assert messages.encode(hello).decode() == VECTORS["hello"] + "\n"
    assert messages.encode(challenge).decode() == VECTORS["challenge"] + "\n"
    made = messages.session_keys(VECTORS["pairing"], hello, challenge)
    assert (made.client.hex(), made.server.hex()) == (VECTORS["client"], VECTORS["server"])
    assert made.secret == VECTORS["secret2"]
    signed = pairing.RecordAuthenticator(made.client, made.server).sign(messages.encode(Proof("")))
    assert signed.decode() == VECTORS["signed"] + "\n"
