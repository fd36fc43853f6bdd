"""Whose a certificate is, who issued it, until when: the little of X.509 (RFC 5280) that is shown, from DER (X.690)."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from typing import Iterator, Tuple

from ..core.errors import DecodeError
from .printable import MAX_CHARACTERS, first_line

# A certificate with hundreds of names has some 10 KB; TLS itself could carry 16 MB, which nobody has to read.
MAX_CERTIFICATE = 64 * 1024
MAX_NAME = 253  # of the DNS (RFC 1035, section 2.3.4)

_Item = Tuple[int, bytes]  # its tag, and its content

_OCTETS, _OID, _SEQUENCE, _SET = 0x04, 0x06, 0x30, 0x31
_VERSION, _EXTENSIONS = b"\xa0", 0xA3  # fields of a certificate, by their tags: [0] and [3]
_DNS_NAME = 0x82  # of GeneralName, [2]
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"  # 2.5.4.3 and 2.5.4.10
_ALTERNATIVE_NAME = b"\x55\x1d\x11"  # 2.5.29.17

# UTCTime and GeneralizedTime as section 4.1.2.5 has them: with seconds, and in UTC.
_TIMES = {
    tag: re.compile(year + rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")
    for tag, year in ((0x17, rb"(\d\d)"), (0x18, rb"(\d{4})"))
}

# The string types of DirectoryString and its older kin, by tag, and how Python calls their encodings.
_STRINGS = {0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1A: "ascii",
            0x1C: "utf-32-be", 0x1E: "utf-16-be"}  # fmt: skip


@dataclass(frozen=True)
class Names:
    """Short names, in printable ASCII; empty where the certificate has none that can be read."""

    subject: str
    issuer: str


def names(certificate: bytes) -> Names:
    """Return the names in a certificate in DER; DecodeError.

    The subject's is its common name, else its organization, else its first DNS name (some authorities fill in no
    other), else whatever comes first. The issuer's organization tells more than what it calls one of its keys.
    """
    issuer, _validity, subject, _key, *more = _fields(certificate)
    alternative = [name[:MAX_CHARACTERS] for name in _dns_names(more)]
    return Names(
        _best(subject, (_COMMON_NAME, _ORGANIZATION), alternative), _best(issuer, (_ORGANIZATION, _COMMON_NAME), [])
    )


def validity(certificate: bytes) -> tuple[int, tuple[str, ...]]:
    """Return until when a certificate in DER is valid, in Unix seconds, and its DNS names; DecodeError."""
    _issuer, validity, _subject, _key, *more = _fields(certificate)
    (tag, text) = _some(_expect(validity, _SEQUENCE), 2)[1]
    match = tag in _TIMES and _TIMES[tag].fullmatch(text)
    if not match:
        raise DecodeError("no time")
    year, *rest = map(int, match.groups())
    if tag == 0x17:  # two digits of a year from 1950 on
        year += 1900 if year >= 50 else 2000
    try:
        return calendar.timegm((year, *rest)), tuple(_dns_names(more))
    except ValueError:
        raise DecodeError("no day of any year") from None


def _fields(certificate: bytes) -> list[_Item]:
    """Return the fields of a certificate, from its issuer on."""
    if len(certificate) > MAX_CERTIFICATE:
        raise DecodeError("a certificate too long")
    signed, *_ = _some(_only(certificate, _SEQUENCE), 3)  # and its signature: the algorithm and the bits
    content = _expect(signed, _SEQUENCE)
    has_version = content[:1] == _VERSION  # the first version leaves it out
    return _some(content, 6 + has_version)[2 + has_version :]


def _best(name: _Item, order: tuple[bytes, ...], alternative: list[str]) -> str:
    """Return the most telling attribute of a distinguished name, by the order of their types."""
    attributes = []
    for members in _items(_expect(name, _SEQUENCE)):
        for member in _items(_expect(members, _SET)):
            kind, (tag, value), *_ = _some(_expect(member, _SEQUENCE), 2)
            text = value.decode(_STRINGS[tag], "replace").encode("ascii", "replace") if tag in _STRINGS else b""
            attributes.append((_expect(kind, _OID), first_line(text)))
    candidates = [text for wanted in order for kind, text in attributes if kind == wanted]
    return next(filter(None, [*candidates, *alternative, *(text for _, text in attributes)]), "")


def _dns_names(fields: list[_Item]) -> Iterator[str]:
    """Yield the DNS names in the extensions among some fields of a certificate."""
    extensions = [item for tag, value in fields if tag == _EXTENSIONS for item in _items(_only(value, _SEQUENCE))]
    for extension in extensions:
        kind, *values = _some(_expect(extension, _SEQUENCE), 2)
        if kind == (_OID, _ALTERNATIVE_NAME):
            for tag, name in _items(_only(_expect(values[-1], _OCTETS), _SEQUENCE)):
                if tag == _DNS_NAME:
                    yield first_line(name, MAX_NAME)


def _some(data: bytes, least: int) -> list[_Item]:
    items = list(_items(data))
    if len(items) < least:
        raise DecodeError("fewer items than there have to be")
    return items


def _only(data: bytes, tag: int) -> bytes:
    """Return the content of the one item that the data is."""
    item, *more = _some(data, 1)
    if more:
        raise DecodeError("more than one item")
    return _expect(item, tag)


def _expect(item: _Item, tag: int) -> bytes:
    if item[0] != tag:
        raise DecodeError("an item of another kind")
    return item[1]


def _items(data: bytes) -> Iterator[_Item]:
    """Yield the items that data is made of, each with a tag of one byte and a definite length, as in DER."""
    at = 0
    while at < len(data):
        tag, size, start = data[at], int.from_bytes(data[at + 1 : at + 2], "big"), at + 2
        if size == 0x80 or tag & 0x1F == 0x1F:
            raise DecodeError("what DER does not know, or no certificate has")
        if size > 0x80:
            digits = size & 0x7F
            size, start = int.from_bytes(data[start : start + digits], "big"), start + digits
            if size < 0x80 or size >> 8 * (digits - 1) == 0:
                raise DecodeError("a length longer than it has to be")
        at = start + size
        if at > len(data):
            raise DecodeError("an item cut short")
        yield tag, data[start:at]
