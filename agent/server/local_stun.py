"""Whether a service of this machine answers this machine itself."""

from __future__ import annotations

import ipaddress
import os
import socket

from ..protocol import stun

# The server's loop waits for it: within one machine an answer takes a millisecond.
ANSWER_SECONDS = 0.2


def answers_stun(address: bytes, port: int) -> bool:
    """Whether whoever holds this UDP port answers STUN from here; `address`, packed, has to be this machine's own."""
    here = str(ipaddress.ip_address(address))
    request = stun.HEADER.pack(stun.Kind.REQUEST, 0, stun.MAGIC_COOKIE, os.urandom(stun.TRANSACTION_BYTES))
    try:
        with socket.socket(socket.AF_INET6 if ":" in here else socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.settimeout(ANSWER_SECONDS)
            opened.bind((here, 0))  # fails where it is another's: nothing leaves this machine
            opened.connect((here, port))
            opened.send(request)
            return opened.recv(stun.MAX_BYTES)[8 : stun.HEADER.size] == request[8:]
    except OSError:
        return False
