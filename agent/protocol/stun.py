"""STUN messages (RFC 8489): Binding Requests and their answers, with the attributes that ICE uses (RFC 8445)."""

from __future__ import annotations

import enum
import functools
import hashlib
import hmac
import ipaddress
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Callable, NamedTuple

from ..core.address import Address
from ..core.errors import DecodeError

MAGIC_COOKIE = 0x2112A442
HEADER = struct.Struct("!HHI12s")
TRANSACTION_BYTES = 12
RANDOM_BYTES = 8  # of a transaction, beside a probe's number
# What fits a datagram that no path has to fragment (RFC 8489, section 6.1, IPv6's minimal MTU less its headers).
MAX_BYTES = 1232


class Kind(enum.IntEnum):
    """Message types of the method Binding (RFC 8489, section 5)."""

    REQUEST = 0x0001
    SUCCESS = 0x0101
    ERROR = 0x0111


class Attribute(enum.IntEnum):
    """The attributes spoken here (RFC 8489, section 18.3; RFC 8445, section 16.1; RFC 5780, section 7.6)."""

    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    NONCE = 0x0015
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    PADDING = 0x0026
    FINGERPRINT = 0x8028
    ICE_CONTROLLING = 0x802A


_START = struct.Struct("!HHI")  # a header without its transaction
_ATTRIBUTE = struct.Struct("!HH")
_FINGERPRINT_XOR = 0x5354554E

# The heads of the attributes made here, packed once: looking up the names of an enumeration is slow.
_DIGEST_BYTES = hashlib.sha1().digest_size
_INTEGRITY_HEAD = _ATTRIBUTE.pack(Attribute.MESSAGE_INTEGRITY, _DIGEST_BYTES)
_FINGERPRINT_HEAD = _ATTRIBUTE.pack(Attribute.FINGERPRINT, 4)
_INTEGRITY_BYTES = len(_INTEGRITY_HEAD) + _DIGEST_BYTES
_SEAL_BYTES = _INTEGRITY_BYTES + len(_FINGERPRINT_HEAD) + 4
# A nonce has twice as many hex digits: with it an answer to IPv6, too, is just as long as its probe.
NONCE_BYTES = 6
_NONCE_HEAD = _ATTRIBUTE.pack(Attribute.NONCE, 2 * NONCE_BYTES)
_NONCE = re.compile(re.escape(_NONCE_HEAD) + rb"([0-9a-f]{12})")
_MAPPED_HEADS = {size: _ATTRIBUTE.pack(Attribute.XOR_MAPPED_ADDRESS, size) for size in (8, 20)}
# The attributes of a probe, each behind its head: a session's id, which has 16 hex digits, a port, a tie-breaker.
_PROBE = struct.Struct("!4s16s4sI4s8s")
_USERNAME_HEAD = _ATTRIBUTE.pack(Attribute.USERNAME, 16)
_PRIORITY_HEAD = _ATTRIBUTE.pack(Attribute.PRIORITY, 4)
_CONTROLLING_HEAD = _ATTRIBUTE.pack(Attribute.ICE_CONTROLLING, 8)
_PROBE_BYTES = HEADER.size + _PROBE.size + _SEAL_BYTES
# What makes a probe as large as the largest packets of a call: DTLS and media have 1,228 to 1,260 bytes with IPv4.
PADDING = MAX_BYTES - _PROBE_BYTES - _ATTRIBUTE.size
# With which the id of a session begins: the digits are the server's own, the same for all of its sessions.
TAG_DIGITS = 8
_COOKIE, _TAGGED = MAGIC_COOKIE.to_bytes(4, "big"), slice(HEADER.size, HEADER.size + len(_USERNAME_HEAD) + TAG_DIGITS)
PROBE_START = _START.pack(Kind.REQUEST, _PROBE_BYTES - HEADER.size, MAGIC_COOKIE)  # with which every probe begins

_FAMILY_BITS = {1: 32, 2: 128}


@dataclass(frozen=True)
class Message:
    """A STUN message as it stands on the wire; `raw` are its bytes, for the check of its integrity."""

    kind: int
    transaction: bytes
    attributes: tuple[tuple[int, bytes], ...]
    raw: bytes

    def get(self, attribute: Attribute) -> bytes | None:
        """Return the first attribute of that type (RFC 8489, section 14: later ones are ignored)."""
        return next((value for kind, value in self.attributes if kind == attribute), None)


class Request(NamedTuple):
    """What a probe says: whose it is, and to which port it was sent."""

    username: str  # a session's id, 16 hex digits
    transaction: bytes
    port: int
    padding: int = 0  # bytes that only make it larger, and its answer too; a multiple of four


def make_transaction(number: int, drawn: bytes) -> bytes:
    """Return the transaction of a session's probe of that number, below 2**32, with RANDOM_BYTES of randomness.

    UDP probes count from 1, so that none is answered twice. To who does not know that it looks random, as RFC 8489,
    section 5, has it. A probe by TCP needs no number: 0.
    """
    return (number ^ int.from_bytes(drawn[:4], "big")).to_bytes(4, "big") + drawn


def probe_number(transaction: bytes) -> int:
    """Return which of its session's UDP probes that is."""
    return int.from_bytes(transaction[:4], "big") ^ int.from_bytes(transaction[4:8], "big")


def decode(data: bytes) -> Message:
    """Read one whole message; DecodeError for anything else. A FINGERPRINT, where there is one, must be right."""
    if not HEADER.size <= len(data) <= MAX_BYTES:
        raise DecodeError("not the length of a STUN message")
    kind, length, cookie, transaction = HEADER.unpack_from(data)
    if kind & 0xC000 or cookie != MAGIC_COOKIE or length % 4 or HEADER.size + length != len(data):
        raise DecodeError("not the header of a STUN message")
    attributes: list[tuple[int, bytes]] = []
    offset = HEADER.size
    while offset < len(data):
        attribute, size = _ATTRIBUTE.unpack_from(data, offset)
        head, start = offset, offset + _ATTRIBUTE.size
        offset = start + size + -size % 4
        if offset > len(data):
            raise DecodeError("an attribute longer than its message")
        if attribute == Attribute.FINGERPRINT:
            if offset != len(data) or data[head:] != _fingerprint(data[:head]):  # it is the last (section 14.7)
                raise DecodeError("a wrong fingerprint")
        attributes.append((attribute, data[start : start + size]))
    return Message(kind, transaction, tuple(attributes), bytes(data))


def encode(kind: Kind, transaction: bytes, attributes: bytes, key: bytes) -> bytes:
    """Return a message with MESSAGE-INTEGRITY by `key` and FINGERPRINT behind the given attributes."""
    content = transaction + attributes
    head = _START.pack(kind, len(attributes) + _SEAL_BYTES, MAGIC_COOKIE)
    data = head + content + _INTEGRITY_HEAD + _integrity(kind, content, key)
    return data + _fingerprint(data)


def encode_attribute(kind: Attribute, value: bytes) -> bytes:
    """Return one attribute, to be put in a message (section 14)."""
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def verify(message: Message, key: bytes) -> bool:
    """Return whether the message has a MESSAGE-INTEGRITY of this key (section 14.5); what follows it is not covered."""
    offset = HEADER.size
    for attribute, value in message.attributes:
        if attribute == Attribute.MESSAGE_INTEGRITY:
            return hmac.compare_digest(value, _integrity(message.kind, message.raw[_START.size : offset], key))
        offset += _ATTRIBUTE.size + len(value) + -len(value) % 4
    return False


def encode_request(request: Request, key: bytes) -> bytes:
    """Return a probe: a Binding Request in the shape of an ICE check, with the port that it is sent to as PRIORITY.

    The port tells the server whether somebody on the way, a port forwarding say, changed it.
    """
    username, transaction, port, size = request
    parts = (_USERNAME_HEAD, username.encode(), _PRIORITY_HEAD, port, _CONTROLLING_HEAD, transaction[:8])
    padding = encode_attribute(Attribute.PADDING, bytes(size)) if size else b""
    return encode(Kind.REQUEST, transaction, _PROBE.pack(*parts) + padding, key)


def has_tag(data: bytes, tag: str) -> bool:
    """Return whether bytes begin as a probe to the server of that tag does: cheap to see, and no proof of anything."""
    head = data[:2] == b"\0\1" and data[4:8] == _COOKIE
    return head and data[_TAGGED] == _USERNAME_HEAD + tag.encode()


def decode_probe(data: bytes, key_of: Callable[[str], bytes | None]) -> Request:
    """Return the probe that the bytes are, verified with the key of the session that it names; DecodeError."""
    if len(data) == _PROBE_BYTES:
        # Nearly always it is what `encode_request` makes, to the byte: making that anew takes half the time of reading.
        request = Request(data[24:40].decode("latin-1"), data[8:20], int.from_bytes(data[44:48], "big"))
        key = key_of(request.username)
        if key and hmac.compare_digest(data, encode_request(request, key)):
            return request
    message = decode(data)
    request = decode_request(message)
    key = key_of(request.username)
    if key is None or not verify(message, key):
        raise DecodeError("a probe of nobody known")
    return request


def decode_request(message: Message) -> Request:
    """Return what a probe says, before its integrity is checked; DecodeError where the message is no probe."""
    username, priority = message.get(Attribute.USERNAME), message.get(Attribute.PRIORITY)
    if message.kind != Kind.REQUEST or username is None or priority is None or len(priority) != 4:
        raise DecodeError("not a probe")
    try:
        padding = len(message.get(Attribute.PADDING) or b"")
        return Request(username.decode("ascii"), message.transaction, struct.unpack("!I", priority)[0], padding)
    except UnicodeDecodeError:
        raise DecodeError("not a probe's username") from None


def encode_answer(
    transaction: bytes, address: Address, port: int, key: bytes, padding: int = 0, nonce: str = ""
) -> bytes:
    """Return the answer to a probe, never longer than it with its padding; who hands the nonce back, got the answer."""
    mapped = _xor(struct.pack("!BBH", 0, 1 if address.version == 4 else 2, port) + address.packed, transaction)
    more = encode_attribute(Attribute.PADDING, bytes(padding)) if padding else b""
    more += _NONCE_HEAD + nonce.encode() if nonce else b""
    return _encode_answer(transaction, mapped, key, more)


def _encode_answer(transaction: bytes, mapped: bytes, key: bytes, more: bytes = b"") -> bytes:
    return encode(Kind.SUCCESS, transaction, _MAPPED_HEADS[len(mapped)] + mapped + more, key)


def nonce_of(answer: bytes) -> str:
    """Return the nonce of an answer that was verified; "" where it has none."""
    match = _NONCE.fullmatch(answer[-_SEAL_BYTES - len(_NONCE_HEAD) - 2 * NONCE_BYTES : -_SEAL_BYTES])
    return match[1].decode() if match else ""


def is_answer(data: bytes, transaction: bytes, key: bytes) -> bool:
    """Return whether the bytes are the answer to that probe, made with this key."""
    mapped = data[24:-32]
    # Here too: nearly always it is what `encode_answer` makes, to the byte.
    if len(mapped) in _MAPPED_HEADS and hmac.compare_digest(data, _encode_answer(transaction, mapped, key)):
        return True
    try:
        message = decode(data)
    except DecodeError:
        return False
    return message.kind == Kind.SUCCESS and message.transaction == transaction and verify(message, key)


def mapped_address(message: Message) -> tuple[Address, int]:
    """Return the XOR-MAPPED-ADDRESS (section 14.2); DecodeError where there is none that can be read."""
    value = message.get(Attribute.XOR_MAPPED_ADDRESS)
    if value is None or len(value) < 4 or len(value) * 8 - 32 != _FAMILY_BITS.get(value[1]):
        raise DecodeError("no mapped address")
    plain = _xor(value, message.transaction)
    port: int = struct.unpack_from("!H", plain, 2)[0]
    return ipaddress.ip_address(plain[4:]), port


def _xor(mapped: bytes, transaction: bytes) -> bytes:
    cookie = MAGIC_COOKIE.to_bytes(4, "big")
    pad = (b"\0\0" + cookie[:2] + cookie + transaction)[: len(mapped)]
    return (int.from_bytes(mapped, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(mapped), "big")


def _integrity(kind: int, content: bytes, key: bytes) -> bytes:
    # The length counts the integrity attribute too, as if it ended the message (section 14.5).
    size = len(content) - TRANSACTION_BYTES + _INTEGRITY_BYTES
    mac = _keyed(key).copy()
    mac.update(_START.pack(kind, size, MAGIC_COOKIE) + content)
    return mac.digest()


@functools.lru_cache(maxsize=64)  # as many as a server has sessions
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod=hashlib.sha1)


def _fingerprint(covered: bytes) -> bytes:
    return _FINGERPRINT_HEAD + (zlib.crc32(covered) ^ _FINGERPRINT_XOR).to_bytes(4, "big")
