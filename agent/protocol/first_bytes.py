"""One port serves all: the first bytes of a connection tell what it speaks."""

from __future__ import annotations

import enum

from ..core.errors import DecodeError
from .stun import MAX_BYTES


class StreamProtocol(enum.Enum):
    """What a connection speaks."""

    TLS = "TLS"
    HTTP = "HTTP"
    FRAMED_STUN = "framed STUN"
    CONTROL = "control"


_TLS_HANDSHAKE = 0x16  # RFC 8446, section 5.1: the type of the record that a client hello comes in


def detect_protocol(data: bytes) -> StreamProtocol:
    """Return what a connection speaks, by at least one byte of it; DecodeError where that is nothing of ours."""
    first = data[0]
    if first == _TLS_HANDSHAKE:
        return StreamProtocol.TLS
    if first == ord("{"):
        return StreamProtocol.CONTROL
    if ord("A") <= first <= ord("Z"):
        return StreamProtocol.HTTP
    if first <= MAX_BYTES >> 8:  # the high byte of a frame's length
        return StreamProtocol.FRAMED_STUN
    raise DecodeError("none of the protocols spoken here")


def is_tls(data: bytes) -> bool:
    """Return whether the first bytes of an answer are TLS: a handshake, or an alert."""
    return data[:2] in (b"\x16\x03", b"\x15\x03")


TLS_REFUSAL = bytes((0x15, 3, 3, 0, 2, 2, 40))  # an alert: fatal, handshake_failure (RFC 8446, section 6.2)
