"""Probe UDP ports from connected sockets: every system reports ICMP errors to these, if not always their sender."""

from __future__ import annotations

import errno
import socket
from typing import Mapping

from ..core.observation import Refusal
from ..net import icmp_errors
from ..net.connect import Target
from ..net.request import Request, Schedule, exchange

# Linux sends one error a second to each target: the probes are spread over as long, so that one of them finds it free,
# and the rest is for the last answer. Nobody waits long for what only makes a verdict more precise.
SPREAD, ANSWER_SECONDS = 1.1, 0.4
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EACCES, errno.ENOPROTOOPT)


def refused(target: Target, probes: Mapping[int, bytes]) -> dict[int, Refusal]:
    """Send a probe to each of these ports, a socket each; return those for which an ICMP error came back in time."""
    requests = {port: Request(target.family, target.at(port), probe) for port, probe in probes.items()}
    return exchange(
        requests,
        Schedule(ANSWER_SECONDS, spread=SPREAD),
        lambda port, opened: _read(opened, probes[port]),
        prepare=lambda opened: icmp_errors.want_senders(opened, True),
        first_decides=True,
    )


def _read(opened: socket.socket, probe: bytes) -> Refusal | None:
    for error in icmp_errors.errors(opened):
        if error and error.refusal and icmp_errors.is_of(error.quoted, probe):
            return Refusal(1, error.by, error.refusal)
    try:
        opened.recv(1)
    except OSError as error:
        refused = isinstance(error, ConnectionError) or error.errno in _UNREACHABLE
        return Refusal(1) if refused and not icmp_errors.HAS_SENDERS else None
    return None
