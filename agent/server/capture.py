"""Captures what passes this host's interfaces, before its own firewall: AF_PACKET (packet(7)), Linux with root."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Iterator

from ..core.plan import Plan, Transport
from ..core.ports import port_ranges
from ..packet import bpf
from . import socket_filter

# Two sweeps at their fastest for half a second, as long as the server's loop may sleep: about 800 bytes a packet.
RECEIVE_BUFFER = 32 * 1024 * 1024

# linux/if_ether.h, asm-generic/socket.h, linux/if_packet.h; the socket module has no names for them.
_ETH_P_ALL = 0x0003
_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_STATISTICS = struct.Struct("=II")  # struct tpacket_stats: packets, drops; reading sets them to 0


class Capture:
    """A socket that sees the packets from and to planned ports, and how many it missed. Raises OSError."""

    def __init__(self, plan: Plan) -> None:
        # Of all interfaces. What comes before the filter is in force is told apart as well, only more slowly.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._ports = {transport: port_ranges(plan.ports(transport)) for transport in Transport}
        self._drops = 0
        try:
            socket_filter.attach(self._socket, bpf.packet_filter(self._ports))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def narrow(self, tag: str, client: bytes | None = None) -> None:
        """Capture of UDP only what is for the server of this tag, so that junk fills no buffer here; OSError.

        With a `client`, packed, of TCP only what is between it and the ports, so that other people's calls do not.
        """
        socket_filter.attach(self._socket, bpf.packet_filter(self._ports, tag, client))

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._socket.fileno()

    def read(self, most: int) -> Iterator[tuple[bytes, bool, str]]:
        """Yield up to `most` packets that wait: each from its IP header on, whether it leaves, and its interface."""
        for _ in range(most):
            try:
                data, (interface, _, kind, *_) = self._socket.recvfrom(bpf.SNAP)
            except OSError:  # nothing waits; or an interface went, which is told once
                return
            yield data, kind == bpf.OUTGOING, interface

    @property
    def drops(self) -> int:
        """Return how many packets it missed so far, since nothing read them in time."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self._drops += _STATISTICS.unpack(statistics)[1]
        return self._drops

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def open_capture(plan: Plan) -> tuple[Capture | None, str]:
    """Return a capture, or None and why there is none, with what to do about it."""
    if sys.platform != "linux":
        return None, "that works on Linux alone"
    try:
        return Capture(plan), ""
    except PermissionError:
        return None, "it needs root; start with sudo"
    except (OSError, ImportError) as error:
        return None, f"the system says: {error}"
