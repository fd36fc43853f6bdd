"""STUN messages (RFC 8489): Binding Requests and their answers, with the attributes that ICE uses (RFC 8445)."""

from __future__ import annotations

import enum
import hashlib
import hmac
import ipaddress
import struct
import zlib
from dataclasses import dataclass

from ..model.address import Address
from . import DecodeError

MAGIC_COOKIE = 0x2112A442
HEADER = struct.Struct("!HHI12s")
TRANSACTION_BYTES = 12
# What fits a datagram that no path has to fragment (RFC 8489, section 6.1, IPv6's minimal MTU less its headers).
MAX_BYTES = 1232


class Kind(enum.IntEnum):
    """Message types of the method Binding (RFC 8489, section 5)."""

    REQUEST = 0x0001
    SUCCESS = 0x0101
    ERROR = 0x0111


class Attribute(enum.IntEnum):
    """The attributes spoken here (RFC 8489, section 18.3; RFC 8445, section 16.1)."""

    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    FINGERPRINT = 0x8028
    ICE_CONTROLLING = 0x802A


_ATTRIBUTE = struct.Struct("!HH")
_INTEGRITY_BYTES = hashlib.sha1().digest_size
_FINGERPRINT_XOR = 0x5354554E
_FAMILY_BITS = {1: 32, 2: 128}


@dataclass(frozen=True)
class Message:
    """A STUN message as it stands on the wire; `raw` are its bytes, for the check of its integrity."""

    kind: int
    transaction: bytes
    attributes: tuple[tuple[int, bytes], ...]
    raw: bytes

    def get(self, attribute: Attribute) -> bytes | None:
        """The first attribute of that type (RFC 8489, section 14: later ones are ignored)."""
        return next((value for kind, value in self.attributes if kind == attribute), None)


@dataclass(frozen=True)
class Request:
    """What a probe says: whose it is, and to which port it was sent."""

    username: str
    transaction: bytes
    port: int


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
        start = offset + _ATTRIBUTE.size
        offset = start + size + -size % 4
        if offset > len(data):
            raise DecodeError("an attribute longer than its message")
        if attribute == Attribute.FINGERPRINT:
            # It has to be the last (section 14.7).
            if offset != len(data) or data[start:] != _fingerprint(data[: start - _ATTRIBUTE.size]):
                raise DecodeError("a wrong fingerprint")
        attributes.append((attribute, data[start : start + size]))
    return Message(kind, transaction, tuple(attributes), bytes(data))


def encode(kind: Kind, transaction: bytes, attributes: list[tuple[Attribute, bytes]], key: bytes) -> bytes:
    """A message with MESSAGE-INTEGRITY, keyed with `key`, and FINGERPRINT behind the given attributes."""
    body = b"".join(_encode_attribute(*attribute) for attribute in attributes)
    integrity = _encode_attribute(
        Attribute.MESSAGE_INTEGRITY, _integrity(_header(kind, len(body), transaction) + body, key)
    )
    fingerprint_size = _ATTRIBUTE.size + 4
    data = _header(kind, len(body + integrity) + fingerprint_size, transaction) + body + integrity
    return data + _encode_attribute(Attribute.FINGERPRINT, _fingerprint(data))


def verified(message: Message, key: bytes) -> bool:
    """Whether the message has a MESSAGE-INTEGRITY of this key (section 14.5); what stands behind it is not covered."""
    offset = HEADER.size
    for attribute, value in message.attributes:
        if attribute == Attribute.MESSAGE_INTEGRITY:
            covered = _header(message.kind, offset - HEADER.size, message.transaction)
            covered += message.raw[HEADER.size : offset]
            return hmac.compare_digest(value, _integrity(covered, key))
        offset += _ATTRIBUTE.size + len(value) + -len(value) % 4
    return False


def encode_request(request: Request, key: bytes) -> bytes:
    """A probe: a Binding Request in the shape of an ICE check, with the port that it is sent to as its PRIORITY.

    The port tells the server whether somebody on the way, a port forwarding say, changed it.
    """
    return encode(
        Kind.REQUEST,
        request.transaction,
        [
            (Attribute.USERNAME, request.username.encode()),
            (Attribute.PRIORITY, struct.pack("!I", request.port)),
            (Attribute.ICE_CONTROLLING, request.transaction[:8]),
        ],
        key,
    )


def read_request(message: Message) -> Request:
    """What a probe says, before its integrity is checked; DecodeError where the message is no probe."""
    username, priority = message.get(Attribute.USERNAME), message.get(Attribute.PRIORITY)
    if message.kind != Kind.REQUEST or username is None or priority is None or len(priority) != 4:
        raise DecodeError("not a probe")
    try:
        return Request(username.decode("ascii"), message.transaction, struct.unpack("!I", priority)[0])
    except UnicodeDecodeError:
        raise DecodeError("not a probe's username") from None


def encode_answer(transaction: bytes, address: Address, port: int, key: bytes) -> bytes:
    """The answer to a probe that came from `address` and `port`; never longer than the probe."""
    mapped = _xor(struct.pack("!BBH", 0, 1 if address.version == 4 else 2, port) + address.packed, transaction)
    return encode(Kind.SUCCESS, transaction, [(Attribute.XOR_MAPPED_ADDRESS, mapped)], key)


def proves(data: bytes, transaction: bytes, key: bytes) -> bool:
    """Whether the bytes are the answer to that probe, made by who knows the key."""
    try:
        message = decode(data)
    except DecodeError:
        return False
    return message.kind == Kind.SUCCESS and message.transaction == transaction and verified(message, key)


def mapped_address(message: Message) -> tuple[Address, int]:
    """The XOR-MAPPED-ADDRESS (section 14.2); DecodeError where there is none that can be read."""
    value = message.get(Attribute.XOR_MAPPED_ADDRESS)
    if value is None or len(value) < 4 or len(value) * 8 - 32 != _FAMILY_BITS.get(value[1]):
        raise DecodeError("no mapped address")
    plain = _xor(value, message.transaction)
    port: int = struct.unpack_from("!H", plain, 2)[0]
    return ipaddress.ip_address(plain[4:]), port


def _xor(mapped: bytes, transaction: bytes) -> bytes:
    cookie = struct.pack("!I", MAGIC_COOKIE)
    pad = b"\0\0" + cookie[:2] + cookie + transaction
    return bytes(a ^ b for a, b in zip(mapped, pad))


def _header(kind: int, body: int, transaction: bytes) -> bytes:
    # The length counts the integrity attribute too, as if it ended the message (section 14.5).
    return HEADER.pack(kind, body, MAGIC_COOKIE, transaction)


def _encode_attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _integrity(covered: bytes, key: bytes) -> bytes:
    kind, body, _, transaction = HEADER.unpack_from(covered)
    counted = body + _ATTRIBUTE.size + _INTEGRITY_BYTES
    return hmac.new(key, _header(kind, counted, transaction) + covered[HEADER.size :], hashlib.sha1).digest()


def _fingerprint(covered: bytes) -> bytes:
    return struct.pack("!I", zlib.crc32(covered) ^ _FINGERPRINT_XOR)
