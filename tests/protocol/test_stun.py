from __future__ import annotations

import contextlib
import ipaddress
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import Address
from agent.core.errors import DecodeError
from agent.protocol import stun
from agent.protocol.stun import Attribute, Kind, Request
from tests.core.values import ADDRESSES, ANY, PORTS

# RFC 5769, sections 2.1 to 2.3: what a request and answers with short-term credentials look like.
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae 802200105354554e207465737420636c69656e74 002400046e0001ff"
    "80290008932ff9b151263b36 000600096576746a3a68367659202020 000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
ANSWER_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220 002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96"
)
ANSWER_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9 00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)
VECTORS = pytest.mark.parametrize("data", [REQUEST, ANSWER_IPV4, ANSWER_IPV6], ids=["2.1", "2.2", "2.3"])
FINGERPRINT = 8  # bytes, at the end

TRANSACTION = bytes(range(12))
KEY = b"k" * 64
SESSION = "0123456789abcdef"


def message(kind: Kind, *attributes: tuple[Attribute, bytes]) -> bytes:
    return stun.encode(kind, TRANSACTION, b"".join(stun.encode_attribute(*one) for one in attributes), KEY)


def with_length(data: bytes) -> bytes:
    """The message with the length in its header that it has."""
    return data[:2] + struct.pack("!H", len(data) - stun.HEADER.size) + data[4:]


def without_fingerprint(data: bytes) -> bytes:
    return with_length(data[:-FINGERPRINT])


def trusted(data: bytes) -> bool:
    try:
        return stun.verify(stun.decode(data), PASSWORD)
    except DecodeError:
        return False


@VECTORS
def test_the_rfcs_messages_are_read_and_verified(data: bytes) -> None:
    decoded = stun.decode(data)
    assert decoded.transaction.hex() == "b7e7a701bc34d686fa87dfae"
    assert stun.verify(decoded, PASSWORD)
    assert not stun.verify(decoded, PASSWORD[:-1])
    assert stun.verify(stun.decode(without_fingerprint(data)), PASSWORD)


def test_the_rfcs_request_says_who_asks() -> None:
    assert stun.decode_request(stun.decode(REQUEST)) == Request("evtj:h6vY", REQUEST[8:20], 0x6E0001FF)


@pytest.mark.parametrize(
    ("data", "address"), [(ANSWER_IPV4, "192.0.2.1"), (ANSWER_IPV6, "2001:db8:1234:5678:11:2233:4455:6677")]
)
def test_the_rfcs_answers_say_where_the_request_came_from(data: bytes, address: str) -> None:
    assert stun.mapped_address(stun.decode(data)) == (ipaddress.ip_address(address), 32853)


@VECTORS
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_a_flipped_bit_is_seen(data: bytes, bit: int) -> None:
    bare = without_fingerprint(data)
    for whole, end in (data, len(data) - FINGERPRINT), (bare, len(bare)):
        for at in range(end):
            assert not trusted(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]), at


@VECTORS
def test_a_flipped_bit_of_the_fingerprint_is_seen(data: bytes) -> None:
    for at in range(len(data) - FINGERPRINT + 2, len(data)):  # behind its type: another type is another attribute
        with pytest.raises(DecodeError):
            stun.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@VECTORS
def test_a_message_is_whole_and_alone(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            stun.decode(data[:length])
    for more in (b"\0", bytes(4), data):
        with pytest.raises(DecodeError):
            stun.decode(data + more)


def test_a_message_that_no_path_may_have_to_fragment() -> None:
    room = 1_232 - len(message(Kind.REQUEST, (Attribute.USERNAME, b"")))
    longest = message(Kind.REQUEST, (Attribute.USERNAME, bytes(room)))
    assert len(longest) == 1_232
    assert stun.decode(longest).raw == longest
    with pytest.raises(DecodeError):
        stun.decode(message(Kind.REQUEST, (Attribute.USERNAME, bytes(room + 1))))


def test_a_fingerprint_in_the_midst_is_refused() -> None:
    bare = without_fingerprint(REQUEST)
    last = bare + bytes(FINGERPRINT)
    for more, refused in ((b"", False), (last[-FINGERPRINT:], True)):
        covered = with_length(last + more)[: len(bare)]
        crc = struct.pack("!HHI", Attribute.FINGERPRINT, 4, zlib.crc32(covered) ^ 0x5354554E)
        with pytest.raises(DecodeError) if refused else contextlib.nullcontext():
            stun.decode(covered + crc + more)


@pytest.mark.parametrize("more", [b"\0", b"\0\6", b"\0\6\0"])
def test_bytes_that_are_no_whole_attribute_are_refused(more: bytes) -> None:
    with pytest.raises(DecodeError):
        stun.decode(with_length(without_fingerprint(REQUEST) + more))


@pytest.mark.parametrize("bit", [0x40, 0x80])
def test_a_type_that_no_stun_message_has_is_refused(bit: int) -> None:
    with pytest.raises(DecodeError):
        stun.decode(bytes([bit]) + without_fingerprint(REQUEST)[1:])


def test_a_probe_looks_like_a_check_of_ice() -> None:
    # RFC 8445, section 7.2.2, but for USE-CANDIDATE: firewalls that read along know this shape.
    kinds = [kind for kind, _ in stun.decode(stun.encode_request(Request(SESSION, TRANSACTION, 1), KEY)).attributes]
    assert kinds == [
        Attribute.USERNAME, Attribute.PRIORITY, Attribute.ICE_CONTROLLING, Attribute.MESSAGE_INTEGRITY,
        Attribute.FINGERPRINT,
    ]  # fmt: skip


@ANY
@given(PORTS, st.binary(min_size=12, max_size=12))
def test_a_probe_round_trips(port: int, transaction: bytes) -> None:
    for padding in (0, 4, stun.PADDING):
        request = Request(SESSION, transaction, port, padding)
        data = stun.encode_request(request, KEY)
        assert stun.decode_request(stun.decode(data)) == request == stun.decode_probe(data, lambda _: KEY)
        assert stun.verify(stun.decode(data), KEY)


def test_the_largest_probe_is_as_large_as_no_path_has_to_fragment() -> None:
    assert len(stun.encode_request(Request(SESSION, TRANSACTION, 1, stun.PADDING), KEY)) == 1_232


NONCE = "0123456789ab"


@ANY
@given(ADDRESSES, st.integers(0, 65535), st.binary(min_size=12, max_size=12))
def test_an_answer_round_trips_and_is_no_longer_than_its_probe(address: Address, port: int, transaction: bytes) -> None:
    for padding in (0, stun.PADDING):
        answer = stun.encode_answer(transaction, address, port, KEY, padding)
        assert stun.mapped_address(stun.decode(answer)) == (address, port)
        assert stun.is_answer(answer, transaction, KEY)
        assert stun.nonce_of(answer) == ""
        request = stun.encode_request(Request(SESSION, transaction, 1, padding), KEY)
        assert padding < len(answer) <= len(request)
        with_nonce = stun.encode_answer(transaction, address, port, KEY, padding, NONCE)
        assert stun.is_answer(with_nonce, transaction, KEY)
        assert stun.nonce_of(with_nonce) == NONCE
        assert len(with_nonce) <= len(request)


@ANY
@given(st.integers(0, 2**32 - 1), st.binary(min_size=8, max_size=8))
def test_a_transaction_tells_its_number_and_looks_like_chance(number: int, drawn: bytes) -> None:
    transaction = stun.make_transaction(number, drawn)
    assert (len(transaction), transaction[4:]) == (stun.TRANSACTION_BYTES, drawn)
    assert stun.probe_number(transaction) == number
    assert (transaction[:4] == number.to_bytes(4, "big")) == (drawn[:4] == bytes(4))


@pytest.mark.parametrize("nonce", ["0123456789aB", "0123456789a\n", "\x1b[31mred!!!!"])
def test_a_nonce_that_is_none_of_ours_is_not_handed_on(nonce: str) -> None:
    assert stun.nonce_of(stun.encode_answer(TRANSACTION, ADDRESS, 1, KEY, nonce=nonce)) == ""


ADDRESS = ipaddress.ip_address("192.0.2.1")
ANSWER = stun.encode_answer(TRANSACTION, ADDRESS, 1, KEY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ANSWER[:-1],
        stun.encode_answer(bytes(12), ADDRESS, 1, KEY),
        stun.encode_answer(TRANSACTION, ADDRESS, 1, KEY[:-1]),
        stun.encode_request(Request(SESSION, TRANSACTION, 1), KEY),
        message(Kind.ERROR),
    ],
    ids=["nothing", "cut", "another probe's", "of another key", "our own probe come back", "an error"],
)
def test_what_is_no_proof(data: bytes) -> None:
    assert stun.is_answer(ANSWER, TRANSACTION, KEY)
    assert not stun.is_answer(data, TRANSACTION, KEY)


USERNAME, PRIORITY = (Attribute.USERNAME, b"who"), (Attribute.PRIORITY, bytes(4))


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        (Kind.REQUEST, [USERNAME]),
        (Kind.REQUEST, [PRIORITY]),
        (Kind.REQUEST, [USERNAME, (Attribute.PRIORITY, bytes(3))]),
        (Kind.REQUEST, [(Attribute.USERNAME, b"\xff"), PRIORITY]),
        (Kind.SUCCESS, [USERNAME, PRIORITY]),
    ],
)
def test_a_message_that_is_no_probe(kind: Kind, attributes: list[tuple[Attribute, bytes]]) -> None:
    decoded = stun.decode(message(kind, *attributes))
    with pytest.raises(DecodeError):
        stun.decode_request(decoded)


@pytest.mark.parametrize("value", [b"", b"\0\1\0", b"\0\1\0\0\0\0\0", b"\0\2\0\0\0\0\0\0", b"\0\3\0\0\0\0\0\0"])
def test_a_mapped_address_that_is_none(value: bytes) -> None:
    decoded = stun.decode(message(Kind.SUCCESS, (Attribute.XOR_MAPPED_ADDRESS, value)))
    with pytest.raises(DecodeError):
        stun.mapped_address(decoded)


def test_the_first_of_two_alike_counts() -> None:
    twice = [(Attribute.USERNAME, b"first"), (Attribute.USERNAME, b"second"), PRIORITY]
    assert stun.decode_request(stun.decode(message(Kind.REQUEST, *twice))).username == "first"
