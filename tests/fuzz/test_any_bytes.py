"""Whatever bytes come in, a decoder gives a value or raises its one exception, and is soon done with them."""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import DecodeError
from agent.packet.printable import first_line
from agent.protocol import first_bytes, messages, stun
from tests.core.values import ANY, gone_wrong
from tests.fuzz.drawn import damaged, inputs
from tests.fuzz.seeds import ANSWERS, KEY, LINES, PROBE, TRANSACTION
from tests.fuzz.targets import TARGETS, agrees, attempt, probe_at_first_sight, probe_on_reading

# Limits, by their numbers: who changes one changes it here too.
MAX_CHARACTERS = 60


@pytest.mark.parametrize("name", TARGETS)
def test_sound_messages(name: str) -> None:
    for sound in TARGETS[name].seeds:
        TARGETS[name].read(sound)


@pytest.mark.parametrize("name", TARGETS)
@ANY
@given(st.data())
def test_damaged_messages(name: str, data: st.DataObject) -> None:
    attempt(TARGETS[name], data.draw(inputs(TARGETS[name])))


LONG = (
    *(b"[", b"{", b'"', b'{"a":', b"[]", b"\\", b"9", b" ", b"\n", b"\r\n\r\n"),
    *(b"A", b"\0", b"\xff", b"\x30\x82", b"a:b\n"),
)


@pytest.mark.parametrize("name", TARGETS)
def test_long_inputs_take_no_long_and_little_memory(name: str) -> None:
    target = TARGETS[name]
    most = min(target.most, 128 * 1024)
    for unit in (*LONG, *target.seeds[:3]):
        data = unit * (most // len(unit))
        begun = time.process_time()
        attempt(target, data)
        assert time.process_time() - begun < 10, f"{unit[:20]!r}: half a second, on a machine that is idle"
        tracemalloc.start()
        attempt(target, data[:65536])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * 1024 * 1024, unit[:20]


def sealed(kind: stun.Kind, attributes: bytes) -> bytes:
    return stun.encode(kind, TRANSACTION, attributes, KEY)


@ANY
@given(
    st.sampled_from(stun.Kind), st.lists(st.tuples(st.sampled_from(stun.Attribute), st.binary(max_size=24)), max_size=6)
)
def test_stun_attributes_with_anything_in_them(kind: stun.Kind, attributes: list[tuple[stun.Attribute, bytes]]) -> None:
    attempt(TARGETS["stun"], sealed(kind, b"".join(itertools.starmap(stun.encode_attribute, attributes))))


# Messages with a true integrity in which one bit is another than this program makes it, and those without.
ONE_BIT = [
    message
    for kind, sound in ((stun.Kind.REQUEST, PROBE), *((stun.Kind.SUCCESS, answer) for answer in ANSWERS))
    for bit in range(8 * len(sound))
    for flipped in [(int.from_bytes(sound, "big") ^ 1 << bit).to_bytes(len(sound), "big")]
    for message in (flipped, sealed(kind, flipped[20:-32]))
]
STUN = (
    st.binary(max_size=100)
    | damaged((PROBE, *ANSWERS))
    | st.builds(sealed, st.sampled_from(stun.Kind), damaged(tuple(sound[20:-32] for sound in (PROBE, *ANSWERS))))
)


@ANY
@given(STUN)
def test_the_first_sight_of_any_bytes_is_right(data: bytes) -> None:
    assert agrees(data)


def test_the_first_sight_of_a_bit_changed_is_right() -> None:
    assert probe_at_first_sight(PROBE) == probe_on_reading(PROBE) is not None
    assert [data.hex() for data in [*ANSWERS, *ONE_BIT] if not agrees(data)] == []


@ANY
@given(st.sampled_from(LINES).flatmap(lambda line: gone_wrong(json.loads(line))))
def test_control_messages_with_a_field_gone_wrong(message: Any) -> None:
    try:
        messages.decode(json.dumps(message).encode())
    except DecodeError:
        pass


@ANY
@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_what_a_stranger_shows_can_be_printed_on_a_line(data: bytes) -> None:
    text = first_line(data)
    assert text.isascii()
    assert text.isprintable()
    assert text == text.strip()
    assert len(text) <= MAX_CHARACTERS


def test_first_bytes_of_an_answer_in_tls() -> None:
    assert all(map(first_bytes.is_tls, (b"\x16\x03\x03\0\x7a", first_bytes.TLS_REFUSAL)))
    assert not any(map(first_bytes.is_tls, (b"", b"\x16", b"\x17\x03\x03", b"SSH-2.0", b"\0\x16\x03")))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b" \r\n\t", ""),
        (b"SSH-2.0-OpenSSH_9.6p1\r\nmore", "SSH-2.0-OpenSSH_9.6p1"),
        (b"\r\nHTTP/1.1 302 Found\r\n", "HTTP/1.1 302 Found"),
        (b"\x1b[2Jgone\x07", "?[2Jgone?"),
        ("für".encode(), "f??r"),
        (b"x" * 100, "x" * MAX_CHARACTERS),
    ],
)
def test_what_a_stranger_shows_of_itself(data: bytes, text: str) -> None:
    assert first_line(data) == text
