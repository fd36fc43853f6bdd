"""The client's UDP sockets, one for each source port: opened when a probe needs it, few at a time."""

from __future__ import annotations

import errno
import selectors
import socket
from typing import Any, Iterator

from ..net import icmp_errors
from ..net.connect import Target
from ..protocol import stun

# The answers that wait while this process does not run: the system grants what it allows.
RECEIVE_BUFFER = 4 * 1024 * 1024
# Source ports at a time: a pass takes a dozen, macOS lets a program open 256 files, Windows selects among 512 sockets.
# What answers to an older one is too late to count for anything.
MAX_SOCKETS = 100
# How long to wait for room in the send buffer before a probe counts as sent, and lost.
SEND_SECONDS = 0.2
# A probe that is not sent since an earlier one's ICMP error was told instead is sent again so often: more come only
# from somebody who floods this computer with errors.
MAX_SENDS = 4
# Datagrams, or errors, read from a socket at a time: a flood of them does not keep this from sending.
MAX_READ = 1000


class UdpSockets:
    """The sockets to one address, by the number of their source port; `selector` has all of them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.selector = selectors.DefaultSelector()
        self._sockets: dict[int, socket.socket] = {}
        self._flows: dict[int, socket.socket] = {}  # by port, from which source port the first proof of it came
        self._errors: list[icmp_errors.Error] = []
        self.unsendable: dict[int, str] = {}  # ports that this machine's own network refused, and what it said

    def send(self, data: bytes, port: int, source: int, in_flow: bool = False) -> None:
        """Send from a source port, or, `in_flow`, from the one that the port was proven from."""
        flow = self._flows.get(port) if in_flow else None
        opened = flow if flow and flow.fileno() >= 0 else self.of(source)
        to = self._target.at(port)
        try:
            opened.sendto(data, to)
        except OSError as error:
            self._retry(opened, data, to, error)

    def of(self, source: int) -> socket.socket:
        """Return the socket of a source port."""
        if source not in self._sockets:
            if len(self._sockets) >= MAX_SOCKETS:
                self.close_oldest()
            self._sockets[source] = self._open()
        return self._sockets[source]

    def keep_flow(self, port: int, opened: socket.socket) -> None:
        """Note that a port was proven from this socket; the first counts."""
        self._flows.setdefault(port, opened)

    def read(self, opened: socket.socket) -> Iterator[tuple[bytes, Any]]:
        """Read the datagrams, each with its source, and the errors that wait at a socket that is readable."""
        nothing_read = True  # a readable socket without a datagram has an error
        for _ in range(MAX_READ):
            try:
                data, source = opened.recvfrom(stun.MAX_BYTES + 1)
            except BlockingIOError:
                if nothing_read:
                    self._read_errors(opened)
                return
            except OSError:  # an ICMP error of an earlier probe, one at a time; the socket stays good
                self._read_errors(opened)
            else:
                yield data, source
            nothing_read = False

    def take_errors(self) -> list[icmp_errors.Error]:
        """Return the ICMP errors that sending and reading met, each once."""
        errors, self._errors = self._errors, []
        return errors

    def close_oldest(self) -> None:
        """Give the oldest source port back."""
        oldest = self._sockets.pop(next(iter(self._sockets)))
        self.selector.unregister(oldest)
        oldest.close()

    def close(self) -> None:
        """Give all source ports back."""
        for opened in self._sockets.values():
            opened.close()
        self.selector.close()

    def _open(self) -> socket.socket:
        opened = socket.socket(self._target.family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        except OSError:  # then the system's own buffer has to do
            pass
        icmp_errors.want_senders(opened, True)
        opened.bind(("::" if self._target.family == socket.AF_INET6 else "0.0.0.0", 0))
        self.selector.register(opened, selectors.EVENT_READ)
        return opened

    def _retry(self, opened: socket.socket, data: bytes, to: tuple[Any, ...], error: OSError) -> None:
        """Send what was not sent: since there was no room, or in whose place an earlier probe's ICMP error was told."""
        without_errors = 0
        for _ in range(MAX_SENDS):
            no_room = error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)
            if no_room or isinstance(error, ConnectionResetError):  # which is how Windows tells of an ICMP error
                self._wait_and_send(opened, data, to)
                return
            # No ICMP error is told as EPERM, which is what this computer's own rules say. Anything else may be one
            # even where none was queued, as the queue was full; but not twice.
            without_errors += not self._read_errors(opened)
            if error.errno == errno.EPERM or without_errors > 1:
                self.unsendable[to[1]] = error.strerror or str(error)
                return
            try:
                opened.sendto(data, to)
                return
            except OSError as again:
                error = again

    def _wait_and_send(self, opened: socket.socket, data: bytes, to: tuple[Any, ...]) -> None:
        try:
            opened.settimeout(SEND_SECONDS)
            opened.sendto(data, to)
        except OSError:  # lost, as on the path
            pass
        finally:
            opened.setblocking(False)

    def _read_errors(self, opened: socket.socket) -> bool:
        """Read the errors that a socket got, where the system keeps them; return whether there were any."""
        errors = list(icmp_errors.errors(opened))
        self._errors += [error for error in errors if error]
        return bool(errors)
