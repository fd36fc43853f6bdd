"""ICMP errors, as Linux hands them to the socket whose packet they quote (ip(7) and ipv6(7), IP_RECVERR)."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys

# linux/in.h and linux/in6.h; the socket module has no names for them.
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
# struct sock_extended_err: errno, origin, type, code, padding, info, data (linux/errqueue.h).
_EXTENDED = struct.Struct("=IBBBBII")
# The sender's struct sockaddr_in or sockaddr_in6 follows: where the address stands in it.
_SENDER = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}
_FROM_ICMP = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6

HAS_SENDERS = sys.platform == "linux"

if sys.platform == "linux":

    def want_senders(opened: socket.socket, want: bool) -> None:
        """Have the kernel keep the ICMP errors for this socket, or no more.

        While it does, an error ends a TCP connection that it would otherwise survive.
        """
        try:
            opened.setsockopt(*_RECVERR[socket.AddressFamily(opened.family)], int(want))
        except OSError:  # then nobody is named
            pass

    def sender(opened: socket.socket) -> str | None:
        """Who sent the ICMP error that this socket got; None where it got none."""
        try:
            _, ancillary, _, _ = opened.recvmsg(1, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return None
        for level, kind, data in ancillary:
            family = next((one for one, option in _RECVERR.items() if option == (level, kind)), None)
            if family is None or len(data) < _EXTENDED.size or _EXTENDED.unpack_from(data)[1] not in _FROM_ICMP:
                continue
            address = data[_EXTENDED.size :][_SENDER[family]]
            if len(address) in (4, 16):
                return str(ipaddress.ip_address(address))
        return None
else:

    def want_senders(opened: socket.socket, want: bool) -> None:
        """Only Linux tells who sent an ICMP error."""

    def sender(opened: socket.socket) -> str | None:
        """Only Linux tells who sent an ICMP error."""
        return None
