"""Trace the way to a port: send packets that may pass only so many hops, and see which router reports them."""

from __future__ import annotations

import contextlib
import os
import socket
import time

from ..core.observation import Hop
from ..core.plan import Transport
from ..net import icmp_errors
from ..net.connect import Target
from ..net.free_ports import KINDS
from ..packet import icmp as words
from ..protocol import stun

MAX_HOPS = 30  # and so many packets: traceroute's limit, more than paths have
# The answer of the farthest hop takes a round trip; a connect would be tried again after a second (RFC 6298).
SECONDS = {Transport.UDP: 1.5, Transport.TCP: 0.9}
_HOPS = {socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
         socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)}  # fmt: skip


def trace(target: Target, transport: Transport, port: int) -> Hop | None:
    """Return the farthest hop that answers to MAX_HOPS packets for a port; None where none does or can be told."""
    if not icmp_errors.HAS_SENDERS:
        return None
    found: Hop | None = None
    # Of STUN a header alone: the server answers to nothing that does not prove whose it is.
    probe = stun.HEADER.pack(stun.Kind.REQUEST, 0, stun.MAGIC_COOKIE, os.urandom(stun.TRANSACTION_BYTES))
    # Where there are no more sockets, or none with these options: a walk is no verdict.
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        sent = [stack.enter_context(socket.socket(target.family, KINDS[transport])) for _ in range(MAX_HOPS)]
        for distance, opened in enumerate(sent, 1):
            opened.setblocking(False)
            icmp_errors.want_senders(opened, True)
            opened.setsockopt(*_HOPS[target.family], distance)
            with contextlib.suppress(OSError):  # a connect is under way; or nothing is sent, and nobody answers
                opened.connect(target.at(port))
                if transport is Transport.UDP:
                    opened.send(probe)
        time.sleep(SECONDS[transport])
        for distance, opened in enumerate(sent, 1):
            for error in icmp_errors.errors(opened):
                # The kernel has found the connection by all its numbers, for TCP by the sequence number too.
                quoted = transport is Transport.TCP or (error and icmp_errors.is_of(error.quoted, probe))
                if error and quoted and words.is_expired(error.version, error.kind, error.code):
                    found = Hop(error.by, distance)
    return found
