"""Asks a service of this machine, from this machine itself, whether it answers STUN."""

from __future__ import annotations

import ipaddress
import os
import socket

from ..net.request import Request, open_request
from ..protocol import stun

# Within one machine an answer takes a millisecond.
ANSWER_SECONDS = 0.2


def plain_request() -> bytes:
    """Return a Binding Request as any STUN client sends it (RFC 8489, section 3), with a transaction of its own."""
    return stun.HEADER.pack(stun.Kind.REQUEST, 0, stun.MAGIC_COOKIE, os.urandom(stun.TRANSACTION_BYTES))


class LocalStunRequest:
    """One such question, under way until `deadline`. Raises OSError where it cannot be asked."""

    def __init__(self, address: bytes, port: int, now: float) -> None:
        """Ask whoever holds this UDP port; `address`, packed, has to be this machine's own."""
        here = str(ipaddress.ip_address(address))
        data = plain_request()
        family = socket.AF_INET6 if ":" in here else socket.AF_INET
        # The bind fails where the address is another's: nothing leaves this machine.
        self.socket = open_request(Request(family, (here, port), data, local=(here, 0)))
        self._data, self.deadline = data, now + ANSWER_SECONDS

    def read(self) -> bool:
        """Return whether what came is the answer."""
        try:
            return self.socket.recv(stun.MAX_BYTES)[8 : stun.HEADER.size] == self._data[8:]
        except OSError:
            return False
