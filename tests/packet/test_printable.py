from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import parse_address
from agent.packet.printable import describe_reply
from agent.protocol import stun
from tests.core.values import ANY

KEY = b"k" * 64
PROBE = stun.encode_request(stun.Request("0123456789abcdef", b"t" * 12, 50000), KEY)
ANSWER = stun.encode_answer(b"t" * 12, parse_address("192.0.2.1"), 9, b"another key")


@pytest.mark.parametrize(
    ("data", "probe", "words"),
    [
        (PROBE, PROBE, "an echo of the probe"),
        (PROBE, b"", "a STUN answer that is not this server's"),
        (ANSWER, PROBE, "a STUN answer that is not this server's"),
        (PROBE[:-1], PROBE, "91 bytes that are no text"),
        (b"", b"", "0 bytes that are no text"),
        (b"\0\x01\x80\x01\0\0\0\0\0\0\0\0", PROBE, "12 bytes that are no text"),
        (b"SIP/2.0 400 Bad\x1b[2J Request\r\nVia: x", PROBE, "SIP/2.0 400 Bad?[2J Request"),
    ],
    ids=["echo", "no-echo", "stun", "cut", "empty", "dns", "text"],
)
def test_who_else_answers_is_told_safely(data: bytes, probe: bytes, words: str) -> None:
    assert describe_reply(data, probe) == words


@ANY
@given(st.binary(max_size=1_233), st.sampled_from((b"", PROBE)))
def test_whatever_comes_is_a_short_line(data: bytes, probe: bytes) -> None:
    words = describe_reply(data, probe)
    assert 0 < len(words) <= 60
    assert words.isprintable()
    assert words.isascii()
