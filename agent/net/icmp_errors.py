"""Read ICMP errors, as Linux hands them to the socket whose packet they quote (ip(7) and ipv6(7), IP_RECVERR)."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys
from typing import Iterator, NamedTuple

from ..packet import icmp

# linux/in.h and linux/in6.h; the socket module has no names for them.
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
# struct sock_extended_err: errno, origin, type, code, padding, info, data (linux/errqueue.h).
_EXTENDED = struct.Struct("=IBBBBII")
# The sender's struct sockaddr_in or sockaddr_in6 follows: where the address stands in it.
_SENDER = {_RECVERR[socket.AF_INET]: slice(4, 8), _RECVERR[socket.AF_INET6]: slice(8, 24)}
_FROM_ICMP = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_QUOTED = 64  # bytes of the quoted packet's content: more than a STUN header or a TCP one
MAX_ERRORS = 1024  # read at a time: so many that a sweep's receive buffer is emptied, so few that answers do not wait

HAS_SENDERS = sys.platform == "linux"


class Error(NamedTuple):
    """One ICMP error: who sent it, its type and code, and the packet that it quotes: whereto, and how it begins.

    What is quoted of a UDP packet begins behind its header, and may be nothing: eight bytes behind the IP header are
    all that a router has to quote (RFC 792).
    """

    by: str
    kind: int
    code: int
    to: tuple[str, int]
    quoted: bytes

    @property
    def version(self) -> int:
        """Return the version of IP."""
        return ipaddress.ip_address(self.by).version

    @property
    def refusal(self) -> str | None:
        """Return what it says, in words; None where that is no refusal."""
        return icmp.describe_refusal(self.version, self.kind, self.code)


def is_of(quoted: bytes, probe: bytes) -> bool:
    """Return whether a packet that an error quotes, in part or with padding behind it (RFC 4884), is the probe."""
    return quoted[: len(probe)] == probe[: len(quoted)]


def want_senders(opened: socket.socket, want: bool) -> None:
    """Have the kernel keep the ICMP errors for this socket, or no more, where it can.

    While it does, an error ends a TCP connection that it would otherwise survive.
    """
    if HAS_SENDERS:
        with contextlib.suppress(OSError):  # then no sender is known
            opened.setsockopt(*_RECVERR[socket.AddressFamily(opened.family)], int(want))


def errors(opened: socket.socket) -> Iterator[Error | None]:
    """Take the errors out of a socket's queue, MAX_ERRORS at most; None for one that did not come by ICMP."""
    if sys.platform == "linux":
        for _ in range(MAX_ERRORS):
            try:
                quoted, ancillary, _, to = opened.recvmsg(_QUOTED, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            yield _read(quoted, ancillary, to)


def _read(quoted: bytes, ancillary: list[tuple[int, int, bytes]], to: object) -> Error | None:
    for level, option, data in ancillary:
        if (level, option) not in _SENDER or len(data) < _EXTENDED.size:
            continue
        _, origin, kind, code, *_ = _EXTENDED.unpack_from(data)
        address = data[_EXTENDED.size :][_SENDER[level, option]]
        if origin in _FROM_ICMP and len(address) in (4, 16):
            whereto = (str(to[0]), int(to[1])) if isinstance(to, tuple) else ("", 0)
            return Error(str(ipaddress.ip_address(address)), kind, code, whereto, quoted)
    return None
