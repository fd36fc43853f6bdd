"""The client's UDP sockets, and the loop that moves bytes between them and a schedule of probes, by the clock."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import selectors
import socket
import time
from typing import Any, Callable, Iterator, Sequence

from ..core.observation import Refusal
from ..core.ports import port_ranges
from ..net import icmp_errors
from ..net.connect import Target
from ..net.request import Request, exchange
from ..protocol import stun
from ..sweep import probes
from ..sweep.repeated import RepeatedProbes
from ..verdict.refusal import ports_to_ask
from .control import ControlChannel
from .probe_exchange import OnAnswer, ProbeExchange
from .steps import ProbePorts, RunSweep, Tell, sweep_progress
from .tcp import ProbeContext

# How long the loop sleeps at most: it shows progress, and Windows notices ctrl-C only between two sleeps.
TICK = 0.2
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
# To ask who refuses: Linux sends one error a second to each target, so the probes are spread over as long, and one of
# them finds it free; the rest is for the last answer. Nobody waits long for what only makes a verdict more precise.
SPREAD, ANSWER_SECONDS = 1.1, 0.4
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EACCES, errno.ENOPROTOOPT)


class UdpSockets:
    """The sockets to one address by the number of their source port; `on_error` takes each ICMP error they meet."""

    def __init__(self, target: Target, on_error: Callable[[icmp_errors.Error], None]) -> None:
        self._target, self._on_error = target, on_error
        self.selector = selectors.DefaultSelector()
        self._sockets: dict[int, socket.socket] = {}
        self.flows: dict[int, socket.socket] = {}  # by port, from which socket it was proven first
        self.unsendable: dict[int, str] = {}  # ports that this machine's own network refused, and what it said

    def send(self, data: bytes, port: int, source: int, in_flow: bool = False) -> None:
        """Send from a source port, or, `in_flow`, from the one that the port was proven from."""
        flow = self.flows.get(port) if in_flow else None
        opened = flow if flow and flow.fileno() >= 0 else self.of(source)
        without_errors = 0
        for _ in range(1 + MAX_SENDS):
            try:
                opened.sendto(data, self._target.at(port))
                return
            except OSError as error:
                no_room = error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)
                if no_room or isinstance(error, ConnectionResetError):  # which is how Windows tells of an ICMP error
                    opened.settimeout(SEND_SECONDS)
                    with contextlib.suppress(OSError):  # lost, as on the path
                        opened.sendto(data, self._target.at(port))
                    opened.setblocking(False)
                    return
                # No ICMP error is told as EPERM, which is what this computer's own rules say. Anything else may be one
                # even where none was queued, as the queue was full; but not twice.
                without_errors += not self._read_errors(opened)
                if error.errno == errno.EPERM or without_errors > 1:
                    self.unsendable[port] = error.strerror or str(error)
                    return

    def of(self, source: int) -> socket.socket:
        """Return the socket of a source port; where there are too many, the oldest port is given back."""
        if source in self._sockets:
            return self._sockets[source]
        if len(self._sockets) >= MAX_SOCKETS:
            oldest = self._sockets.pop(next(iter(self._sockets)))
            self.selector.unregister(oldest)
            oldest.close()
        self._sockets[source] = opened = socket.socket(self._target.family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        with contextlib.suppress(OSError):  # then the system's own buffer has to do
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        icmp_errors.want_senders(opened, True)
        opened.bind(("::" if self._target.family == socket.AF_INET6 else "0.0.0.0", 0))
        self.selector.register(opened, selectors.EVENT_READ)
        return opened

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

    def close(self) -> None:
        """Give all source ports back."""
        for opened in self._sockets.values():
            opened.close()
        self.selector.close()

    def _read_errors(self, opened: socket.socket) -> bool:
        """Read the errors that a socket got, where the system keeps them; return whether there were any."""
        errors = list(icmp_errors.errors(opened))
        for error in filter(None, errors):
            self._on_error(error)
        return bool(errors)


class Prober:
    """The UDP side of a check of one address. It begins by `run`; `tell` is shown how far it is."""

    _step: RunSweep

    def __init__(self, context: ProbeContext, tell: Tell) -> None:
        self._target, self._tell, self._told = context.target, tell, 0.0
        self._exchange = ProbeExchange(context.target.text, context.id, context.key, os.urandom)
        self._sockets = UdpSockets(context.target, self._exchange.on_icmp_error)
        self.unsendable = self._sockets.unsendable
        self.refusals, self.strangers = self._exchange.refusals, self._exchange.strangers

    def run(self, step: RunSweep, channel: ControlChannel) -> None:
        """Probe until the sweep is done or the control channel is lost, then ask who refuses the first probes."""
        self._step, self._exchange.tried = step, step.sweep.sent
        self._told = time.perf_counter()
        self._sockets.selector.register(channel, selectors.EVENT_READ)
        self._run(step.sweep, step.large, channel)
        self._sockets.selector.unregister(channel)
        if not step.large:
            self.ask_who_refuses()

    def follow_up(self, step: ProbePorts) -> frozenset[int]:
        """Ask open ports again; return those that stay silent."""
        schedule = RepeatedProbes(step.ports, time.perf_counter(), step.timeout, step.rate, step.tries)
        self._run(schedule, step.large)
        return schedule.silent

    def ask_who_refuses(self) -> None:
        """Ask a few silent ports again once the sweep is done: does an ICMP error come back?

        They are asked from connected sockets, to which every system reports ICMP errors. Where the system tells the
        sweep of none, any of them; else those beside ports that told: errors are limited, so those that came in the
        sweep may have been of a few ports alone.
        """
        sweep = self._step.sweep
        silent = [port for port, sent in sweep.sent.items() if sent and not sweep.answered[port]]
        if icmp_errors.HAS_SENDERS:
            silent = [port for run in port_ranges(silent) if not self.refusals.keys().isdisjoint(run) for port in run]
        asked = [port for port in ports_to_ask(silent) if port not in self.refusals]
        random.shuffle(asked)  # where errors are limited, those that come first must be no others than by chance
        requests = {
            port: Request(self._target.family, self._target.at(port), self._exchange.new_probe(port), want_senders=True)
            for port in asked
        }

        def read(port: int, opened: socket.socket) -> Refusal | None:
            return _read_refusal(opened, requests[port].data)

        self.refusals.update(exchange(requests, read, ANSWER_SECONDS, spread=SPREAD, first_decides=True))

    def close(self) -> None:
        """Give the source ports back, and the memory of what is under way."""
        self._sockets.close()
        self._exchange.forget()

    def _run(self, schedule: probes.Schedule, large: bool, channel: ControlChannel | None = None) -> None:
        """Probe by a schedule until it is done or the control channel is lost."""
        on_answer = schedule.on_answer  # once: each probe under way keeps it
        while not (channel and channel.client.lost):
            now = time.perf_counter()
            due = schedule.probes_to_send(now)
            if schedule.done:
                break
            self._send(due, on_answer, large)
            if channel:
                self._on_turn(channel, now)
            self.read(0.0 if due else schedule.next_timer(now) - now)

    def _on_turn(self, channel: ControlChannel, now: float) -> None:
        """Show progress and send a ping, where it is time for them."""
        sweep = self._step.sweep
        if now - self._told > TICK:
            self._told = now
            self._tell(sweep_progress(self._step, self._target.text, now))
            if sweep.is_shut_out:  # what comes from another address is not answered, and that is no guard
                channel.check_own_address()
        if sweep.wants_ping(now):
            sweep.on_ping_sent(now)
            channel.ping(self._exchange.new_nonces)
            self._exchange.new_nonces = []
        channel.client.lost |= sweep.is_unreachable(now)

    def _send(self, due: Sequence[probes.Probe], on_answer: OnAnswer, large: bool) -> None:
        for probe in due:
            data = self._exchange.new_probe(probe.port, stun.PADDING if large else 0)
            self._exchange.add(data, probe, on_answer)
            self._sockets.send(data, probe.port, probe.socket, in_flow=large)

    def read(self, seconds: float) -> None:
        """Read what comes; the first of it in so many seconds, or in a tick, or nothing."""
        for key, _ in self._sockets.selector.select(min(max(seconds, 0.0), TICK)):
            if isinstance(key.fileobj, socket.socket):
                self._read_socket(key.fileobj)
            elif isinstance(key.fileobj, ControlChannel):
                pong = key.fileobj.read_kernel()
                if pong:
                    self._step.sweep.on_pong(time.perf_counter(), pong.free_flows, pong.rate)
                if key.fileobj.client.to_confirm:
                    self._step.sweep.hurry_ping()

    def _read_socket(self, opened: socket.socket) -> None:
        for data, source in self._sockets.read(opened):
            proven = self._exchange.on_datagram(data, source)
            if proven:
                probe, on_answer = proven
                self._sockets.flows.setdefault(probe.port, opened)
                on_answer(probe.number, time.perf_counter())
                if self._exchange.new_nonces:
                    self._step.sweep.hurry_ping()


def _read_refusal(opened: socket.socket, probe: bytes) -> Refusal | None:
    for error in icmp_errors.errors(opened):
        if error and error.refusal and icmp_errors.is_of(error.quoted, probe):
            return Refusal(1, error.by, error.refusal)
    try:
        opened.recv(1)
    except OSError as error:
        refused = isinstance(error, ConnectionError) or error.errno in _UNREACHABLE
        return Refusal(1) if refused and not icmp_errors.HAS_SENDERS else None
    return None
