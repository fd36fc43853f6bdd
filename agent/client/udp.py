"""The client's UDP loop: it moves bytes between the sockets and the sweep, and looks at the clock."""

from __future__ import annotations

import errno
import itertools
import os
import random
import selectors
import socket
import time
from dataclasses import replace
from typing import Any, Callable, Sequence

from ..core.address import parse_address
from ..core.observation import Refusal
from ..core.ports import port_ranges
from ..net import icmp_errors
from ..net.connect import Target
from ..packet.printable import describe_reply
from ..protocol import stun
from ..protocol.messages import MAX_SOURCES
from ..sweep.large import BATCH_SECONDS, TRIES
from ..sweep.probes import Probe
from ..sweep.sweep import Sweep
from ..verdict.refusal import ports_to_ask
from . import refused
from .control import ControlChannel

# The answers that wait while this process does not run: the system grants what it allows.
RECEIVE_BUFFER = 4 * 1024 * 1024
# Source ports at a time: a pass takes a dozen, macOS lets a program open 256 files, Windows selects among 512 sockets.
# What answers to an older one is too late to count for anything.
MAX_SOCKETS = 100
# How long the loop sleeps at most: it shows progress, and Windows notices ctrl-C only between two sleeps.
TICK = 0.2
# How long to wait for room in the send buffer before a probe counts as sent, and lost.
SEND_SECONDS = 0.2
# A probe that is not sent since an earlier one's ICMP error was told instead is sent again so often: more come only
# from somebody who floods this computer with errors.
MAX_SENDS = 4
# Datagrams, or errors, read from a socket at a time: a flood of them does not keep this from sending.
MAX_READ = 1000
# The source port of what follows up where no flow is to be kept: none of a sweep's, which counts its own from 0.
NEW_FLOW = -1


class Prober:
    """The sockets of a session's sweeps, one for each source port, and the probes that are under way.

    It begins by `begin`.
    """

    _sweep: Sweep
    _answer: Callable[[int, float], None]  # told the number of a probe whose proof came

    def __init__(self, target: Target, session: str, key: bytes) -> None:
        self._target = target
        self._session, self._key = session, key
        self._address = parse_address(target.text)
        self._sockets: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._padding = 0
        self._nonces: dict[str, bool] = {}  # which came with answers, and whether they were handed back
        self._numbers = itertools.count(1)  # of all that is sent in the session
        self._under_way: dict[bytes, tuple[Probe, Callable[[int, float], None]]] = {}
        self._flows: dict[int, socket.socket] = {}  # by port, from which source port the first proof of it came
        self.unsendable: dict[int, str] = {}  # ports that this machine's own network refused, and what it said
        self.refusals: dict[
            int, Refusal
        ] = {}  # ports for which ICMP errors came; one that answers is open all the same
        self.strangers: dict[int, str] = {}  # ports from which something else came than proof, and what it showed

    def begin(self, sweep: Sweep, padding: int = 0) -> None:
        """Probe by this sweep from now on."""
        self._padding, self._answer, self._sweep = padding, sweep.on_answer, sweep

    def run(self, channel: ControlChannel, tell: Callable[[Sweep], None]) -> None:
        """Probe until the sweep is done or the control channel is lost."""
        self._selector.register(channel, selectors.EVENT_READ, channel)
        told = time.perf_counter()
        while not channel.lost:
            now = time.perf_counter()
            probes = self._sweep.probes_to_send(now)
            if self._sweep.done:
                break
            for probe, transaction in zip(probes, self._transactions(len(probes))):
                self._send(probe, transaction)
            if now - told > TICK:
                told = now
                tell(self._sweep)
                if self._sweep.is_shut_out:  # what comes from another address is not answered, and that is no guard
                    channel.look_for_address()
            wait = 0.0 if probes else self._sweep.next_timer(now) - now
            if self._sweep.wants_ping(now):
                self._sweep.on_ping_sent(now)
                channel.ping(self._take_nonces())
            channel.lost |= self._sweep.is_unreachable(now)
            self._read(wait)
        self._selector.unregister(channel)

    def follow_up(
        self, ports: Sequence[int], timeout: float, rate: float, large: bool = True, tries: int = TRIES
    ) -> frozenset[int]:
        """Ask open ports by large probes in their flows, or by small ones in a new flow; which of them stay silent.

        `timeout` are the seconds between two times, `rate` is how many probes a second are sent at most.
        """
        silent = dict.fromkeys(ports)
        self._padding = stun.PADDING if large else 0
        batch = max(1, int(rate * BATCH_SECONDS))
        gap = batch / rate

        def answered(number: int, _: float) -> None:
            silent.pop(number, None)

        self._answer = answered
        for _ in range(tries):
            asked = list(silent)
            for start in range(0, len(asked), batch):
                now = asked[start : start + batch]
                for port, transaction in zip(now, self._transactions(len(now))):
                    self._send(Probe(port, port, NEW_FLOW), transaction)
                ends = time.perf_counter() + (gap if start + batch < len(asked) else max(gap, timeout))
                while silent and time.perf_counter() < ends:
                    self._read(ends - time.perf_counter())
        return frozenset(silent)

    def follow_up_all(self, sweep: Sweep, channel: ControlChannel, tell: Callable[[Sweep], None]) -> None:
        """The same by a sweep of its own, over all ports that are open."""
        self.begin(sweep, stun.PADDING)
        self.run(channel, tell)

    def catch_up(self) -> None:
        """Take in what a busy server answered late: behind its word on what it saw, all of that is here."""
        self._read(0.0)

    def _read(self, seconds: float) -> None:
        """Take in what comes; the first of it in so many seconds, or in a tick, or nothing."""
        for key, _ in self._selector.select(min(max(seconds, 0.0), TICK)):
            if isinstance(key.fileobj, socket.socket):
                self._drain(key.fileobj)
            else:
                pong = key.data.look()
                if pong:
                    self._sweep.on_pong(time.perf_counter(), pong.free_flows, pong.rate)
                if key.data.named:
                    self._sweep.hurry_ping()

    def ask_who_refuses(self) -> None:
        """Once the sweep is done: of a few silent ports, whether an ICMP error comes back when they are asked again.

        Where the system tells the sweep of none, of any; else of those beside ports that told. Each pass has the order
        of the first, so that limited errors may have come from the same port every time, as if it were alone.
        """
        silent = [port for port, sent in self._sweep.sent.items() if sent and not self._sweep.answered[port]]
        if icmp_errors.HAS_SENDERS:
            silent = [port for run in port_ranges(silent) if not self.refusals.keys().isdisjoint(run) for port in run]
        asked = [port for port in ports_to_ask(silent) if port not in self.refusals]
        random.shuffle(asked)  # where errors are limited, those that come first must be no others than by chance
        probes = {port: self._encode(one, port) for port, one in zip(asked, self._transactions(len(asked)))}
        self.refusals.update(refused.refused(self._target, probes))

    def close(self) -> None:
        """Give the source ports back."""
        for opened in self._sockets.values():
            opened.close()
        self._selector.close()

    def _send(self, probe: Probe, transaction: bytes) -> None:
        self._under_way[transaction] = probe, self._answer
        data = self._encode(transaction, probe.port)
        opened, to = self._socket_of(probe), self._target.at(probe.port)
        try:
            opened.sendto(data, to)
        except OSError as error:
            self._send_otherwise(opened, data, to, error)

    def _transactions(self, count: int) -> list[bytes]:
        size = stun.RANDOM_BYTES
        drawn = os.urandom(size * count)
        return [stun.make_transaction(next(self._numbers), drawn[at : at + size]) for at in range(0, len(drawn), size)]

    def _socket_of(self, probe: Probe) -> socket.socket:
        flow = self._flows.get(probe.port)
        if self._padding and flow and flow.fileno() >= 0:
            return flow
        if probe.socket not in self._sockets:
            if len(self._sockets) >= MAX_SOCKETS:
                self._close_oldest()
            self._sockets[probe.socket] = self._open()
        return self._sockets[probe.socket]

    def _send_otherwise(self, opened: socket.socket, data: bytes, to: tuple[Any, ...], error: OSError) -> None:
        """Send what was not sent: since there was no room, or in whose place an earlier probe's ICMP error was told."""
        clean = 0
        for _ in range(MAX_SENDS):
            no_room = error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)
            if no_room or isinstance(error, ConnectionResetError):  # which is how Windows tells of an ICMP error
                self._send_again(opened, data, to)
                return
            # No ICMP error is told as EPERM, which is what this computer's own rules say. Anything else may be one
            # even where none was queued, as the queue was full; but not twice.
            clean += not self._take_errors(opened)
            if error.errno == errno.EPERM or clean > 1:
                self.unsendable[to[1]] = error.strerror or str(error)
                return
            try:
                opened.sendto(data, to)
                return
            except OSError as again:
                error = again

    def _send_again(self, opened: socket.socket, data: bytes, to: tuple[Any, ...]) -> None:
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
        icmp_errors.want_senders(opened, True)
        opened.bind(("::" if self._target.family == socket.AF_INET6 else "0.0.0.0", 0))
        self._selector.register(opened, selectors.EVENT_READ)
        return opened

    def _drain(self, opened: socket.socket) -> None:
        told = True  # it was told to be readable, so without an answer there is an error
        for _ in range(MAX_READ):
            try:
                data, source = opened.recvfrom(stun.MAX_BYTES + 1)
            except BlockingIOError:
                if told:
                    self._take_errors(opened)
                return
            except OSError:  # an ICMP error of an earlier probe, one at a time; the socket stays good
                self._take_errors(opened)
            else:
                self._take(data, source, opened)
            told = False

    def _take(self, data: bytes, source: tuple[str, int], opened: socket.socket) -> None:
        transaction = data[stun.HEADER.size - stun.TRANSACTION_BYTES : stun.HEADER.size]
        # An agent of ICE takes no answer from another address than it asked either (RFC 8445, section 7.2.5.2.1).
        if not self._is_target(source[0]):
            return
        asked, port = self._under_way.get(transaction), source[1]
        if asked and stun.is_answer(data, transaction, self._key):
            probe, answer = asked
            if port == probe.port:
                self._flows.setdefault(port, opened)
                self._note_nonce(stun.nonce_of(data))
                answer(probe.number, time.perf_counter())
        elif port not in self.strangers and self._sweep.sent.get(port):
            self.strangers[port] = describe_reply(data, self._encode(transaction, port) if asked else b"")

    def _note_nonce(self, nonce: str) -> None:
        if nonce and nonce not in self._nonces and len(self._nonces) < MAX_SOURCES:
            self._nonces[nonce] = False
            self._sweep.hurry_ping()

    def _take_nonces(self) -> list[str]:
        """Those that are to be handed back: each once."""
        taken = [nonce for nonce, handed_back in self._nonces.items() if not handed_back]
        self._nonces.update(dict.fromkeys(taken, True))
        return taken

    def _is_target(self, address: str) -> bool:
        return address == self._target.text or parse_address(address) == self._address

    def _encode(self, transaction: bytes, port: int) -> bytes:
        return stun.encode_request(stun.Request(self._session, transaction, port, self._padding), self._key)

    def _take_errors(self, opened: socket.socket) -> bool:
        """Take in the ICMP errors that a socket got, where the system keeps them; whether there were any."""
        found = False
        for error in icmp_errors.errors(opened):
            found = True
            words = error and error.refusal
            if error and words and self._quotes_a_probe(error):
                port = error.to[1]
                first = self.refusals.get(port) or Refusal(0, error.by, words)
                self.refusals[port] = replace(first, errors=first.errors + 1)
        return found

    def _quotes_a_probe(self, error: icmp_errors.Error) -> bool:
        """Whether it is about a probe of ours, not something that a stranger made up.

        The kernel has found the source port, one of 28,000 and drawn by chance; the destination has to be a port that
        was tried. A router may quote nothing behind the UDP header (RFC 792): that much has to do then, as it does
        for TCP (RFC 5927, section 4), for an error only names who refused a port that is silent anyway. Where more is
        quoted it has to be a probe's beginning, with 64 bits that nobody guesses where it is whole.
        """
        host, port = error.to
        if not self._is_target(host) or not self._sweep.sent.get(port):
            return False
        if len(error.quoted) >= stun.HEADER.size:
            asked = self._under_way.get(error.quoted[stun.HEADER.size - stun.TRANSACTION_BYTES : stun.HEADER.size])
            return asked is not None and asked[0].port == port
        begins = stun.PROBE_START[: len(error.quoted)]
        return error.quoted[: len(begins)] == begins
