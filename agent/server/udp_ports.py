"""Answers probes at the server's UDP ports, and has the kernel keep junk out."""

from __future__ import annotations

import socket
import time
from collections import Counter
from typing import Iterable

from ..net import addresses
from ..protocol import stun
from . import listen
from .core import ServerCore
from .listen import Listener
from .outside import HairpinProbe

# Datagrams of strangers that a UDP port reads before the kernel is asked to keep them out, which takes 8 KiB of its
# memory: a scanner leaves one or two.
MAX_JUNK = 8
# Datagrams read from such a port at once, then: more than any receive buffer of a usual size holds.
MAX_QUEUED = 1000


class UdpPorts:
    """The UDP ports of one server, and which of them have something to read, in the order in which they got it."""

    def __init__(self, core: ServerCore, hairpin: HairpinProbe) -> None:
        self._core, self._hairpin = core, hairpin
        self._junk: Counter[socket.socket] = Counter()
        self._readable: dict[Listener, None] = {}
        self._drops_of_closed: Counter[int] = Counter()

    @property
    def readable(self) -> int:
        """Return how many ports have something to read."""
        return len(self._readable)

    def on_readable(self, listener: Listener) -> None:
        """Take in that a port has something to read, when its turn comes."""
        self._readable[listener] = None

    def on_closing(self, listener: Listener) -> None:
        """Forget a port, but for what it had no room for."""
        self._drops_of_closed[listener.port] += listen.receive_drops(listener.socket)
        self._junk.pop(listener.socket, None)
        self._readable.pop(listener, None)

    def receive_drops(self, listeners: Iterable[Listener]) -> dict[int, int]:
        """Return by port how many packets its socket did not take, also those of ports that are closed by now."""
        drops = Counter(self._drops_of_closed)
        for listener in listeners:
            drops[listener.port] += listen.receive_drops(listener.socket)
        return +drops

    def answer_readable(self, seconds: float) -> int:
        """Answer one datagram of each port, for so long at most, the others first the next time; return how many."""
        ends, before = time.monotonic() + seconds, len(self._readable)
        for listener in list(self._readable):
            del self._readable[listener]
            self._answer(listener)
            if time.monotonic() > ends:
                break
        return before - len(self._readable)

    def _answer(self, listener: Listener) -> bool:
        """Read one datagram, and answer a probe; return whether there was one."""
        # One a turn: a probe comes alone, and a socket that has more is ready again.
        try:
            data, source, ancillary = listen.receive(listener.socket, stun.MAX_BYTES + 1)
        except OSError:  # an ICMP error of an answer that is past
            return False
        if not stun.has_tag(data, self._core.tag):
            self._keep_out(listener)
            return True
        if data == self._hairpin.packet:
            self._hairpin.came.set()
            return True
        answer = self._core.datagram(data, addresses.endpoint(source), listener.port)
        if answer:
            try:
                listen.answer(listener.socket, answer, source, ancillary)
            except OSError:  # the way back is closed here
                self._core.answer_not_sent(addresses.endpoint(source), listener.port)
        return True

    def _keep_out(self, listener: Listener) -> None:
        self._junk[listener.socket] += 1
        if self._junk[listener.socket] == MAX_JUNK and listen.keep_out_junk(listener.socket, self._core.tag):
            for _ in range(MAX_QUEUED):
                if not self._answer(listener):
                    break
