"""Opens the server's ports: one dual-stack socket each, where the system has that."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Sequence

from ..core.address import Address, Family, family_of
from ..core.errors import UserError
from ..core.observation import Reason
from ..core.plan import Transport
from ..net import addresses
from ..packet import bpf
from . import socket_filter

# Connections that wait to be accepted: as many as Linux takes (net.core.somaxconn; elsewhere it is cut to what the
# system takes), so that a burst of stalled ones keeps no client out. Half-open ones are the kernel's to weather.
BACKLOG = 4096

# linux/in.h; the socket module names it from Python 3.14 on. The other two it names everywhere on Linux.
_IP_PKTINFO = 8
# struct in_pktinfo: index of the interface, the local address, the address of the header (ip(7)).
_PKTINFO4 = struct.Struct("=i4s4s")
# struct in6_pktinfo: the address, index of the interface (RFC 3542, section 6.1).
_PKTINFO6 = struct.Struct("=16si")
_HAS_PKTINFO = sys.platform == "linux"

_REASONS = {
    errno.EADDRINUSE: Reason.BUSY,
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
    errno.EMFILE: Reason.LIMIT,
    errno.ENFILE: Reason.LIMIT,
    errno.ENOBUFS: Reason.LIMIT,
    errno.ENOMEM: Reason.LIMIT,
}


@dataclass(frozen=True)
class Listener:
    """One socket of one port."""

    transport: Transport
    port: int
    socket: socket.socket
    families: tuple[Family, ...]


@dataclass(frozen=True)
class Gap:
    """A port that could not be bound, for one family, and why."""

    transport: Transport
    port: int
    family: Family
    reason: Reason


class Opener:
    """Opens ports for every address of this machine, or for `bind` alone; at most `room` sockets, by this process.

    Raises UserError where `bind` is not an address of this machine.
    """

    def __init__(self, bind: Address | None, room: int) -> None:
        self._bind, self.room = bind, room
        self.open_socket: Callable[[Transport, int, tuple[Family, ...]], socket.socket] = self._here
        self.families = (family_of(bind),) if bind else _own_families()
        if bind and not _is_own(bind):
            raise UserError("bind", f"Cannot listen on {bind}", "this machine does not have that address",
                            "look at `ip address` for those it has, or leave out --bind")  # fmt: skip

    def open(self, transport: Transport, port: int, families: Sequence[Family]) -> tuple[list[Listener], list[Gap]]:
        """Open one port for these families; return the sockets, and for each family that has none why."""
        if len(families) > 1:
            both = self._try(transport, port, tuple(families))
            if isinstance(both, Listener):
                return [both], []
            if both is not Reason.BUSY:
                return [], [Gap(transport, port, family, both) for family in families]
        listeners, gaps = [], []
        for family in families:
            result = self._try(transport, port, (family,))
            if isinstance(result, Listener):
                listeners.append(result)
            else:
                gaps.append(Gap(transport, port, family, result))
        return listeners, gaps

    def _try(self, transport: Transport, port: int, families: tuple[Family, ...]) -> Listener | Reason:
        if self.room <= 0:
            return Reason.LIMIT
        try:
            opened = self.open_socket(transport, port, families)
        except OSError as error:
            # Whatever else the system says, it is the system that refuses.
            return _REASONS.get(error.errno or 0, Reason.DENIED)
        self.room -= 1
        return Listener(transport, port, opened, families)

    def _here(self, transport: Transport, port: int, families: tuple[Family, ...]) -> socket.socket:
        return open_port(transport, port, families, self._bind)


def _own_families() -> tuple[Family, ...]:
    return tuple(family for family in Family if _can_bind(family, "::" if family is Family.IPV6 else "0.0.0.0"))


def _is_own(address: Address) -> bool:
    return _can_bind(family_of(address), str(address))


def _can_bind(family: Family, address: str) -> bool:
    try:
        with socket.socket(addresses.FAMILIES[family], socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
        return True
    except OSError:
        return False


def open_port(transport: Transport, port: int, families: tuple[Family, ...], bind: Address | None) -> socket.socket:
    """Return a socket that listens on a port; OSError where it cannot be had."""
    family = Family.IPV6 if Family.IPV6 in families else Family.IPV4
    kind = socket.SOCK_STREAM if transport is Transport.TCP else socket.SOCK_DGRAM
    opened = socket.socket(addresses.FAMILIES[family], kind)
    try:
        if family is Family.IPV6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, len(families) == 1)
        if transport is Transport.TCP and sys.platform != "win32":
            # Connections of an earlier run may linger. It must not be set for UDP, nor on Windows: there it shares
            # the port with its holder.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((str(bind) if bind else "::" if family is Family.IPV6 else "0.0.0.0", port))
        opened.setblocking(False)
        if transport is Transport.TCP:
            opened.listen(BACKLOG)
        elif _HAS_PKTINFO and family is Family.IPV6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif _HAS_PKTINFO:
            opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    except OSError:
        opened.close()
        raise
    return opened


def keep_out_junk(opened: socket.socket, tag: str) -> bool:
    """Have the kernel drop what does not begin as a probe to the server of this tag; return whether it does."""
    if not _HAS_PKTINFO:
        return False
    try:
        socket_filter.attach(opened, bpf.probe_filter(tag))
    except (OSError, ImportError):  # some kernels and Pythons are built without, or memory for options is used up
        return False
    return True


# asm-generic/socket.h and linux/sock_diag.h: an array of numbers of 32 bits, of which the ninth are packets dropped.
_SO_MEMINFO, _MEMORY, _DROPS = 55, struct.Struct("=9I"), 8


def receive_drops(opened: socket.socket) -> int:
    """Return how many packets a UDP socket had no room for, or its filter dropped; 0 where the system does not say."""
    if not _HAS_PKTINFO:
        return 0
    try:
        return int(_MEMORY.unpack(opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size))[_DROPS])
    except (OSError, struct.error):  # older than Linux 4.12
        return 0


Ancillary = Iterable[Any]

if _HAS_PKTINFO:

    def receive(opened: socket.socket, most: int) -> tuple[bytes, Any, Ancillary]:
        """Return a datagram, its sender, and what makes the answer come from the address that was asked."""
        data, ancillary, _, source = opened.recvmsg(most, 64)
        return data, source, [_from_the_same(*entry) for entry in ancillary]

    def answer(opened: socket.socket, data: bytes, to: Any, ancillary: Ancillary) -> None:
        """Send an answer from the address that was asked."""
        opened.sendmsg([data], ancillary, 0, to)

    def _from_the_same(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
        # The interface stays open (index 0): routing may well send the answer out by another.
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            asked, interface = _PKTINFO6.unpack(data)
            link_local = asked[0] == 0xFE and asked[1] & 0xC0 == 0x80
            return level, kind, _PKTINFO6.pack(asked, interface if link_local else 0)
        _, local, asked = _PKTINFO4.unpack(data)
        return level, kind, _PKTINFO4.pack(0, local, asked)
else:

    def receive(opened: socket.socket, most: int) -> tuple[bytes, Any, Ancillary]:
        """Return a datagram and its sender."""
        data, source = opened.recvfrom(most)
        return data, source, ()

    def answer(opened: socket.socket, data: bytes, to: Any, ancillary: Ancillary) -> None:
        """Send an answer."""
        opened.sendto(data, to)
