"""UDP sockets connected to one port each: every system tells these of an ICMP error, if not always who sent it."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from typing import Mapping

from ..core.observation import Refusal
from ..net import icmp_errors
from ..net.connect import Target

# Linux sends one error a second to each target: the probes are spread over as long, so that one of them finds it free,
# and the rest is for the last answer. Nobody waits long for what only makes a verdict more precise.
SPREAD, ANSWER_SECONDS = 1.1, 0.4
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EACCES, errno.ENOPROTOOPT)


def refused(target: Target, probes: Mapping[int, bytes]) -> dict[int, Refusal]:
    """Send a probe to each of these ports, a socket each; those for which an ICMP error came back in time."""
    found: dict[int, Refusal] = {}
    ports = list(probes)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())
        sent = 0
        while sent < len(ports) or waiting.get_map():
            now = time.monotonic() - began
            if now > SPREAD + ANSWER_SECONDS:
                break
            at = SPREAD * sent / len(ports) if sent < len(ports) else SPREAD + ANSWER_SECONDS
            if now >= at and sent < len(ports):
                opened = stack.enter_context(socket.socket(target.family, socket.SOCK_DGRAM))
                if _send(opened, target, ports[sent], probes[ports[sent]]):
                    waiting.register(opened, selectors.EVENT_READ, ports[sent])
                sent += 1
            elif not waiting.get_map():  # select() of no sockets is an error on Windows
                time.sleep(max(0.0, at - now))
            else:
                for key, _ in waiting.select(max(0.0, at - now)):
                    waiting.unregister(key.fileobj)
                    assert isinstance(key.fileobj, socket.socket)
                    refusal = _read(key.fileobj, probes[key.data])
                    if refusal:
                        found[key.data] = refusal
    return found


def _send(opened: socket.socket, target: Target, port: int, probe: bytes) -> bool:
    opened.setblocking(False)
    icmp_errors.want_senders(opened, True)
    try:
        opened.connect(target.at(port))
        opened.send(probe)
    except OSError:  # this computer's own network; no news, the sweep has met it too
        return False
    return True


def _read(opened: socket.socket, probe: bytes) -> Refusal | None:
    for error in icmp_errors.errors(opened):
        if error and error.refusal and icmp_errors.is_of(error.quoted, probe):
            return Refusal(1, error.by, error.refusal)
    try:
        opened.recv(1)
    except OSError as error:
        told = isinstance(error, ConnectionError) or error.errno in _UNREACHABLE
        return Refusal(1) if told and not icmp_errors.HAS_SENDERS else None
    return None
