"""The client's UDP loop: it moves bytes between the sockets and the sweep, and looks at the clock."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from typing import Callable

from ..judge.sweep import Probe, Sweep
from ..model.address import parse_address
from ..wire import stun
from .channel import Channel
from .connect import Target

# The answers that wait while this process does not run: the system grants what it allows.
RECEIVE_BUFFER = 4 * 1024 * 1024
# Source ports at a time: a pass takes a dozen, macOS lets a program open 256 files, Windows selects among 512 sockets.
# What answers to an older one is too late to count for anything.
MAX_SOCKETS = 100
# How long the loop sleeps at most: it shows progress, and Windows notices ctrl-C only between two sleeps.
TICK = 0.2
# How long to wait for room in the send buffer before a probe counts as sent, and lost.
SEND_SECONDS = 0.2


class Prober:
    """The sockets of one sweep, one for each source port, and the probes that are under way."""

    def __init__(self, sweep: Sweep, target: Target, session: str, key: bytes) -> None:
        self._sweep, self._target = sweep, target
        self._session, self._key = session, key
        self._address = parse_address(target.text)
        self._sockets: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._under_way: dict[bytes, Probe] = {}
        self.unsendable: dict[int, str] = {}  # ports that this machine's own network refused, and what it said

    def run(self, channel: Channel, tell: Callable[[Sweep], None]) -> None:
        """Probe until the sweep is done or the control channel is lost."""
        self._selector.register(channel, selectors.EVENT_READ)
        told = time.perf_counter()
        while not channel.lost:
            now = time.perf_counter()
            probes = self._sweep.due(now)
            if self._sweep.done:
                break
            drawn = os.urandom(stun.TRANSACTION_BYTES * len(probes))
            for number, probe in enumerate(probes):
                self._send(probe, drawn[number * stun.TRANSACTION_BYTES :][: stun.TRANSACTION_BYTES])
            if now - told > TICK:
                told = now
                tell(self._sweep)
            wait = 0.0 if probes else min(max(self._sweep.wake(now) - now, 0.0), TICK)
            if self._sweep.wants_ping(now):
                self._sweep.pinged(now)
                channel.ping()
            channel.lost |= self._sweep.is_alone(now)
            for key, _ in self._selector.select(wait):
                if isinstance(key.fileobj, socket.socket):
                    self._drain(key.fileobj)
                else:
                    pong = channel.look()
                    if pong:
                        self._sweep.ponged(time.perf_counter(), pong.free_flows)

    def close(self) -> None:
        """Give the source ports back."""
        for opened in self._sockets.values():
            opened.close()
        self._selector.close()

    def _send(self, probe: Probe, transaction: bytes) -> None:
        if probe.socket not in self._sockets:
            if len(self._sockets) >= MAX_SOCKETS:
                self._close_oldest()
            self._sockets[probe.socket] = self._open()
        self._under_way[transaction] = probe
        data = stun.encode_request(stun.Request(self._session, transaction, probe.port), self._key)
        opened, to = self._sockets[probe.socket], self._target.at(probe.port)
        try:
            opened.sendto(data, to)
        except ConnectionError:  # Windows tells of an earlier probe's ICMP error here; the probe was not sent
            self._send_again(opened, data, to)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS):
                self._send_again(opened, data, to)
            else:
                self.unsendable[probe.port] = error.strerror or str(error)

    def _send_again(self, opened: socket.socket, data: bytes, to: tuple[object, ...]) -> None:
        try:
            opened.settimeout(SEND_SECONDS)
            opened.sendto(data, to)
        except OSError:  # lost, as on the path
            pass
        finally:
            opened.setblocking(False)

    def _close_oldest(self) -> None:
        oldest = self._sockets.pop(next(iter(self._sockets)))
        self._selector.unregister(oldest)
        oldest.close()

    def _open(self) -> socket.socket:
        opened = socket.socket(self._target.family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        except OSError:  # then the system's own buffer has to do
            pass
        opened.bind(("::" if self._target.family == socket.AF_INET6 else "0.0.0.0", 0))
        self._selector.register(opened, selectors.EVENT_READ)
        return opened

    def _drain(self, opened: socket.socket) -> None:
        while True:
            try:
                data, source = opened.recvfrom(stun.MAX_BYTES + 1)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an earlier probe, one at a time; the socket stays good
                continue
            self._take(data, source)

    def _take(self, data: bytes, source: tuple[str, int]) -> None:
        transaction = data[stun.HEADER.size - stun.TRANSACTION_BYTES : stun.HEADER.size]
        probe = self._under_way.get(transaction)
        if probe is None or source[1] != probe.port:
            return
        # An agent of ICE takes no answer from another address than it asked either (RFC 8445, section 7.2.5.2.1).
        if source[0] != self._target.text and parse_address(source[0]) != self._address:
            return
        if stun.proves(data, transaction, self._key):
            self._sweep.answer(probe.number, time.perf_counter())
