"""The client's UDP loop: it moves bytes between the sockets and a schedule of probes, and looks at the clock."""

from __future__ import annotations

import os
import random
import selectors
import socket
import time
from typing import Callable, Sequence

from ..core.ports import port_ranges
from ..net import icmp_errors
from ..net.connect import Target
from ..protocol import stun
from ..sweep.probes import Probe, Schedule
from ..sweep.repeated import TRIES, RepeatedProbes
from ..sweep.sweep import Sweep
from ..verdict.refusal import ports_to_ask
from . import refused
from .control import ControlChannel
from .probe_exchange import OnAnswer, ProbeExchange
from .udp_sockets import UdpSockets

# How long the loop sleeps at most: it shows progress, and Windows notices ctrl-C only between two sleeps.
TICK = 0.2


class _SweepControl:
    """The control channel beside a sweep: pings, what they confirm, and progress."""

    def __init__(
        self, channel: ControlChannel, sweep: Sweep, tell: Callable[[Sweep], None], take_nonces: Callable[[], list[str]]
    ) -> None:
        self.channel, self.sweep, self._tell, self._take_nonces = channel, sweep, tell, take_nonces
        self._told = time.perf_counter()

    def on_turn(self, now: float) -> None:
        """Show progress and send a ping, where it is time for them."""
        sweep, channel = self.sweep, self.channel
        if now - self._told > TICK:
            self._told = now
            self._tell(sweep)
            if sweep.is_shut_out:  # what comes from another address is not answered, and that is no guard
                channel.check_own_address()
        if sweep.wants_ping(now):
            sweep.on_ping_sent(now)
            channel.ping(self._take_nonces())
        channel.lost |= sweep.is_unreachable(now)

    def on_readable(self) -> None:
        """Read the answer to a ping."""
        pong = self.channel.read_kernel()
        if pong:
            self.sweep.on_pong(time.perf_counter(), pong.free_flows, pong.rate)
        if self.channel.to_confirm:
            self.sweep.hurry_ping()


class Prober:
    """The UDP side of a check of one address. It begins by `begin`."""

    _sweep: Sweep

    def __init__(self, target: Target, session: str, key: bytes) -> None:
        self._target = target
        self._exchange = ProbeExchange(target.text, session, key)
        self._sockets = UdpSockets(target)
        self._padding = 0
        self.unsendable = self._sockets.unsendable
        self.refusals, self.strangers = self._exchange.refusals, self._exchange.strangers

    def begin(self, sweep: Sweep, padding: int = 0) -> None:
        """Probe by this sweep from now on."""
        self._padding, self._sweep, self._exchange.tried = padding, sweep, sweep.sent

    def run(self, channel: ControlChannel, tell: Callable[[Sweep], None]) -> None:
        """Probe until the sweep is done or the control channel is lost."""
        control = _SweepControl(channel, self._sweep, tell, self._exchange.take_nonces)
        self._sockets.selector.register(channel, selectors.EVENT_READ, control)
        self._run(self._sweep, self._padding, control)
        self._sockets.selector.unregister(channel)

    def follow_up(
        self, ports: Sequence[int], timeout: float, rate: float, large: bool = True, tries: int = TRIES
    ) -> frozenset[int]:
        """Ask open ports by large probes in their flows, or by small ones in a new flow; return those that are silent.

        `timeout` are the seconds between two times, `rate` is how many probes a second are sent at most.
        """
        schedule = RepeatedProbes(ports, time.perf_counter(), timeout, rate, tries)
        self._run(schedule, stun.PADDING if large else 0)
        return schedule.silent

    def catch_up(self) -> None:
        """Read what a busy server answered late: once it has said what it saw, all of that is here."""
        self._read(0.0)

    def ask_who_refuses(self) -> None:
        """Ask a few silent ports again once the sweep is done: does an ICMP error come back?

        Where the system tells the sweep of none, any of them; else those beside ports that told. Errors are limited, so
        those that came in the sweep may have been of a few ports alone.
        """
        silent = [port for port, sent in self._sweep.sent.items() if sent and not self._sweep.answered[port]]
        if icmp_errors.HAS_SENDERS:
            silent = [port for run in port_ranges(silent) if not self.refusals.keys().isdisjoint(run) for port in run]
        asked = [port for port in ports_to_ask(silent) if port not in self.refusals]
        random.shuffle(asked)  # where errors are limited, those that come first must be no others than by chance
        transactions = self._make_transactions(len(asked))
        probes = {port: self._exchange.encode(transaction, port) for port, transaction in zip(asked, transactions)}
        self.refusals.update(refused.refused(self._target, probes))

    def close(self) -> None:
        """Give the source ports back, and the memory of what is under way."""
        self._sockets.close()
        self._exchange.forget()

    def _run(self, schedule: Schedule, padding: int, control: _SweepControl | None = None) -> None:
        """Probe by a schedule until it is done or the control channel is lost."""
        on_answer = schedule.on_answer  # once: each probe under way keeps it
        while not (control and control.channel.lost):
            now = time.perf_counter()
            probes = schedule.probes_to_send(now)
            if schedule.done:
                break
            self._send(probes, on_answer, padding)
            if control:
                control.on_turn(now)
            self._read(0.0 if probes else schedule.next_timer(now) - now)

    def _send(self, probes: Sequence[Probe], on_answer: OnAnswer, padding: int) -> None:
        for probe, transaction in zip(probes, self._make_transactions(len(probes))):
            self._exchange.add(transaction, probe, on_answer)
            data = self._exchange.encode(transaction, probe.port, padding)
            self._sockets.send(data, probe.port, probe.socket, in_flow=padding > 0)
        self._count_errors()

    def _make_transactions(self, count: int) -> list[bytes]:
        return self._exchange.make_transactions(os.urandom(stun.RANDOM_BYTES * count))

    def _read(self, seconds: float) -> None:
        """Read what comes; the first of it in so many seconds, or in a tick, or nothing."""
        for key, _ in self._sockets.selector.select(min(max(seconds, 0.0), TICK)):
            if isinstance(key.fileobj, socket.socket):
                self._read_socket(key.fileobj)
            else:
                key.data.on_readable()

    def _read_socket(self, opened: socket.socket) -> None:
        for data, source in self._sockets.read(opened):
            proof = self._exchange.on_datagram(data, source)
            if proof:
                self._sockets.keep_flow(proof.probe.port, opened)
                proof.on_answer(proof.probe.number, time.perf_counter())
                if proof.has_new_nonce:
                    self._sweep.hurry_ping()
        self._count_errors()

    def _count_errors(self) -> None:
        for error in self._sockets.take_errors():
            self._exchange.on_icmp_error(error)
