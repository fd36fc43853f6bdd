"""Pairing: a key that both sides have and never send, how they prove that, and the lines that it signs.

The client says hello with a nonce, the server answers with its own (the challenge). From both lines and the key each
side makes three keys by HKDF (RFC 5869): one for each role's lines, and the session's secret. From then on each line of
the control channel stands behind its HMAC: the first of them, the client's proof, names the certificate that it saw.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from ..core.errors import DecodeError

# Crockford's base 32: digits and letters that cannot be taken for each other, in either case.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_MISREAD = str.maketrans("ilo", "110")
# 130 bits, as nobody will ever guess; and a check of two digits, by the largest prime beneath 32 * 32: so every wrong
# digit is found, and every two neighbours that changed places.
_KEY_DIGITS, _CHECK_DIGITS, _PRIME = 26, 2, 1021
_GROUP = 4
KEY_BYTES = 17  # random ones, for 130 bits

# A key of the operator's own: of letters and digits at random so many have about 100 bits.
LEAST_CHARACTERS, MOST_CHARACTERS = 20, 200

_BLANKS = re.compile(r"[\s\-\u2010-\u2015]+")  # people's programs make long dashes of short ones
NONCE_BYTES = 16  # two sessions of one key never have the same
_MAC_DIGITS = 2 * hashlib.sha256().digest_size


def make_key(random_bytes: bytes) -> str:
    """Return a key of 26 random digits and their check, in groups of four, from KEY_BYTES random bytes."""
    digits = _to_digits(int.from_bytes(random_bytes, "big") % 32**_KEY_DIGITS, _KEY_DIGITS)
    return _grouped(digits + _check(digits))


def read_key(text: str) -> str:
    """Return a key as typed or pasted in the form that both sides derive keys from; DecodeError says what is wrong."""
    text = text.strip()
    digits = _BLANKS.sub("", text).lower().translate(_MISREAD)
    whole = len(digits) == _KEY_DIGITS + _CHECK_DIGITS and not digits.strip(_DIGITS)
    if whole and _check(digits[:_KEY_DIGITS]) == digits[_KEY_DIGITS:]:
        return _grouped(digits)
    sizes = sorted(map(len, _BLANKS.split(text)), key=lambda size: size != _GROUP)
    groups = len(sizes) > 2 and set(sizes[:-1]) == {_GROUP} and sizes[-1] <= _GROUP + 1
    if groups or (whole and len(sizes) == 1):
        raise DecodeError(f"a digit of it is wrong, missing or too many: it has {len(digits)} of 28")
    if not text.isprintable():
        raise DecodeError("it has characters that nobody can see")
    if not LEAST_CHARACTERS <= len(text) <= MOST_CHARACTERS:
        raise DecodeError(f"it has {len(text)} characters, not {LEAST_CHARACTERS} to {MOST_CHARACTERS}")
    return text


def _check(digits: str) -> str:
    value = 0
    for digit in digits:
        value = 32 * value + _DIGITS.index(digit)
    return _to_digits(value % _PRIME, _CHECK_DIGITS)


def _to_digits(value: int, count: int) -> str:
    return "".join(_DIGITS[value >> 5 * place & 31] for place in reversed(range(count)))


def _grouped(digits: str) -> str:
    return "-".join(digits[at : at + _GROUP] for at in range(0, len(digits), _GROUP))


def extract(salt: bytes, material: bytes) -> bytes:
    """Return HKDF-Extract with SHA-256 (RFC 5869, section 2.2)."""
    return hmac.new(salt, material, hashlib.sha256).digest()


def expand(key: bytes, info: bytes) -> bytes:
    """Return HKDF-Expand with SHA-256 (RFC 5869, section 2.3), of one block: 32 bytes."""
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


@dataclass(frozen=True)
class Keys:
    """What comes from a pairing key for one session: the keys of both roles' lines, and the secret, 64 hex digits."""

    client: bytes
    server: bytes
    secret: str


def derive(key: str, hello: bytes, challenge: bytes) -> Keys:
    """Return the keys of one session. They depend on every byte of the lines that were said in the clear."""
    shared = extract(hello + challenge, key.encode("utf-8", "surrogatepass"))
    client, server, secret = (expand(shared, b"pnmcheck " + role) for role in (b"client", b"server", b"session"))
    return Keys(client, server, secret.hex())


def fingerprint(certificate: bytes) -> str:
    """Return a certificate's fingerprint: 64 hex digits of SHA-256 over its DER; empty where there is none."""
    return hashlib.sha256(certificate).hexdigest() if certificate else ""


class RecordAuthenticator:
    """One side's end of a paired control channel: it signs its own lines and verifies the other side's, in order."""

    def __init__(self, mine: bytes, theirs: bytes) -> None:
        self._mine, self._theirs = mine, theirs
        self._signed = self._verified = 0

    @property
    def peer_verified(self) -> bool:
        """Return whether a line of the other side has proven that it knows the key."""
        return self._verified > 0

    def sign(self, line: bytes) -> bytes:
        """Return a line, with its end, behind its HMAC in hex digits."""
        self._signed += 1
        return _mac(self._mine, self._signed, line.rstrip(b"\n")) + line

    def verify(self, line: bytes) -> bytes:
        """Return the line behind its HMAC, without its end; DecodeError where it is not the other side's next."""
        mac, plain = line[:_MAC_DIGITS], line[_MAC_DIGITS:]
        if not hmac.compare_digest(mac, _mac(self._theirs, self._verified + 1, plain)):
            raise DecodeError("a line that the key did not sign")
        self._verified += 1
        return plain


def _mac(key: bytes, number: int, line: bytes) -> bytes:
    return hmac.new(key, b"%d " % number + line, hashlib.sha256).hexdigest().encode("ascii")
