"""Whatever bytes come in, a decoder gives a value or raises DecodeError."""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.address import Family
from agent.model.kernel import Counters, Kernel
from agent.model.plan import Transport, build_plan
from agent.model.ports import PortRange
from agent.wire import DecodeError, control, first_bytes, framing, http_proof, stun
from agent.wire.shown import MOST, shown
from tests.model.values import ANY, gone_wrong

KEY, TRANSACTION, SESSION = b"k" * 64, bytes(range(12)), "0123456789abcdef"
PROBE = stun.encode_request(stun.Request(SESSION, TRANSACTION, 50000), KEY)
ANSWERS = [stun.encode_answer(TRANSACTION, ipaddress.ip_address(address), 4000, KEY)
           for address in ("192.0.2.1", "2001:db8::1")]  # fmt: skip
MESSAGES: list[control.Message] = [
    control.Hello(control.PROTOCOL, "0.1.0", Family.IPV6),
    control.Welcome(
        control.PROTOCOL, "0.1.0", SESSION, SESSION * 4, build_plan("plugnmeet"), True, True, "192.0.2.1", True, 7600
    ),
    control.Refusal("crowded", "too many", "wait"),
    control.Ask(control.About.SIGHTINGS, Transport.UDP, 1),
    control.Rows(((PortRange(1, 5), 3), (PortRange(7, 7), "busy")), None),
    control.AskKernel(),
    Kernel(7600, Counters(3, None, 2)),
    control.ReportPart("{}", True),
]
LINES = [control.encode(message)[:-1] for message in MESSAGES]
HTTP = http_proof.encode_request("meet.example.com", http_proof.make_token(SESSION, 80, "0" * 16, KEY))


def read_stun(data: bytes) -> None:
    message = stun.decode(data)
    stun.verified(message, KEY)
    for read in (stun.read_request, stun.mapped_address):
        try:
            read(message)
        except DecodeError:
            pass


def sealed(kind: stun.Kind, attributes: bytes) -> bytes:
    return stun.encode(kind, TRANSACTION, attributes, KEY)


DECODERS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "stun": (read_stun, [PROBE, *ANSWERS]),
    "control": (control.decode, LINES),
    "http": (http_proof.decode_request, [HTTP]),
    "frames": (lambda data: framing.Frames(stun.MAX_BYTES).feed(data), [framing.frame(PROBE) * 2]),
    "lines": (lambda data: framing.Lines().feed(data), [b"\n".join(LINES)]),
    "first bytes": (lambda data: data and first_bytes.tell(data), [PROBE, HTTP]),
}


@st.composite
def damaged(draw: st.DrawFn, sound: list[bytes]) -> bytes:
    """A sound message cut short, with bits flipped, or with other bytes in it."""
    data = bytearray(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(("cut", "flip", "put", "take")))
        if how == "cut":
            del data[at:]
        elif how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "put":
            data[at:at] = draw(st.binary(max_size=8))
        else:
            del data[at : at + draw(st.integers(1, 8))]
    return bytes(data)


@pytest.mark.parametrize("name", DECODERS)
@ANY
@given(st.data())
def test_damaged_messages(name: str, data: st.DataObject) -> None:
    decode, sound = DECODERS[name]
    try:
        decode(data.draw(st.binary(max_size=60) | damaged(sound)))
    except DecodeError:
        pass


@ANY
@given(
    st.sampled_from(stun.Kind), st.lists(st.tuples(st.sampled_from(stun.Attribute), st.binary(max_size=24)), max_size=6)
)
def test_stun_attributes_with_anything_in_them(kind: stun.Kind, attributes: list[tuple[stun.Attribute, bytes]]) -> None:
    try:
        read_stun(sealed(kind, b"".join(stun.encode_attribute(*one) for one in attributes)))
    except DecodeError:
        pass


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
    | damaged([PROBE, *ANSWERS])
    | st.builds(sealed, st.sampled_from(stun.Kind), damaged([sound[20:-32] for sound in (PROBE, *ANSWERS)]))
)


def probe_at_first_sight(data: bytes) -> stun.Request | None:
    try:
        return stun.read_probe(data, {SESSION: KEY}.get)
    except DecodeError:
        return None


def probe_on_reading(data: bytes) -> stun.Request | None:
    try:
        message = stun.decode(data)
        request = stun.read_request(message)
    except DecodeError:
        return None
    return request if request.username == SESSION and stun.verified(message, KEY) else None


def is_answer_on_reading(data: bytes) -> bool:
    try:
        message = stun.decode(data)
    except DecodeError:
        return False
    is_answer = message.kind == stun.Kind.SUCCESS and message.transaction == TRANSACTION
    return is_answer and stun.verified(message, KEY)


def agrees(data: bytes) -> bool:
    """Whether a message is taken at first sight for what it is taken for on reading all of it."""
    same_probe = probe_at_first_sight(data) == probe_on_reading(data)
    return same_probe and stun.proves(data, TRANSACTION, KEY) == is_answer_on_reading(data)


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
        control.decode(json.dumps(message).encode())
    except DecodeError:
        pass


@ANY
@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_what_a_stranger_shows_can_be_printed_on_a_line(data: bytes) -> None:
    text = shown(data)
    assert text.isascii()
    assert text.isprintable()
    assert text == text.strip()
    assert len(text) <= MOST


def test_first_bytes_of_an_answer_in_tls() -> None:
    assert all(map(first_bytes.answers_tls, (b"\x16\x03\x03\0\x7a", first_bytes.TLS_REFUSAL)))
    assert not any(map(first_bytes.answers_tls, (b"", b"\x16", b"\x17\x03\x03", b"SSH-2.0", b"\0\x16\x03")))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b" \r\n\t", ""),
        (b"SSH-2.0-OpenSSH_9.6p1\r\nmore", "SSH-2.0-OpenSSH_9.6p1"),
        (b"\r\nHTTP/1.1 302 Found\r\n", "HTTP/1.1 302 Found"),
        (b"\x1b[2Jgone\x07", "?[2Jgone?"),
        ("für".encode(), "f??r"),
        (b"x" * 100, "x" * MOST),
    ],
)
def test_what_a_stranger_shows_of_itself(data: bytes, text: str) -> None:
    assert shown(data) == text
