"""Runs the server: listens on every planned port, does what the core says, and tells the operator what happens."""

from __future__ import annotations

import contextlib
import os
import random
import time
from dataclasses import replace
from typing import Callable

from .. import __version__
from ..core.errors import Exit
from ..core.events import Event, Listening, ReportReceived, ServerStopped, SessionStarted
from ..core.plan import Transport, make_partitions, partitioned_ranges
from ..net import addresses, tls
from ..system.certificate import make_certificate
from ..system.limits import CONNECTIONS
from ..system.privileges import drop_privileges, has_root, why_root_is_kept
from .capture import open_capture
from .commands import BindPartition, Command, Emit, ReleasePartitions, WatchClient
from .core import ServerCore
from .kernel_counters import KernelCounters
from .limits import Notices
from .listeners import Listeners
from .loop import Loop
from .options import Options
from .outside import HairpinProbe
from .preflight_notes import PreflightNotes
from .privileged import PrivilegedOperations, start_helper
from .report_explainer import MAX_AT_ONCE, ReportExplainer
from .state import PortState, Settings

# A port that was busy is tried again when a check begins, but not more often than this, whoever asks.
RETRY_SECONDS = 1.0
# How long `--once` waits for the client to close after its report: a round trip or two of the worst path.
FAREWELL_SECONDS = 2.0


class Server:
    """One run of the server. Raises UserError where it cannot run at all."""

    def __init__(self, options: Options, emit: Callable[[Event], None]) -> None:
        self._options, self._emit = options, emit
        certificates = [path for _, path in options.installed.certificates] if options.installed else []
        self._privileged = PrivilegedOperations(
            options.plan, options.control, options.bind, tuple(dict.fromkeys(certificates))
        )
        self._drops_root, self._why_root = False, ""
        if options.drop_privileges and has_root():
            self._why_root = why_root_is_kept()
            if not self._why_root:
                self._start_helper()
        pem = make_certificate()
        self._tls = tls.server_tls(pem) if pem else None
        self._capture, self._capture_unavailable = open_capture(options.plan)
        counters = KernelCounters(self._capture)
        self._partitions = make_partitions(options.plan, random.SystemRandom()) if options.live else {}
        settings = Settings(
            options.plan, __version__, self._tls is not None, options.bind is None, options.key,
            self._capture is not None, options.live, CONNECTIONS, CONNECTIONS // 2,
        )  # fmt: skip
        self._ports = PortState(partitions=self._partitions)
        self._core = ServerCore(settings, self._ports, os.urandom)
        # The client that the capture is narrowed to: packed, empty for nobody; None for everybody.
        self._watched: bytes | None = None
        self._narrow_capture(b"" if options.live else None)
        hairpin = HairpinProbe(self._core.tag)
        self._loop = Loop(self._core, self._tls, self._capture, counters, hairpin)
        self._notices = Notices(emit)
        self._explainer = ReportExplainer(options, self._privileged)
        self._preflight = PreflightNotes(options, self._privileged, hairpin)
        self._next_retry = 0.0
        self._status = Exit.INCONCLUSIVE
        self._ends = self._farewell = float("inf")

    def run(self) -> Exit:
        """Serve until the time is over, or the first check where that was asked; return the last check's status."""
        try:
            self._ends = time.monotonic() + self._options.seconds
            self._listeners = Listeners(self._options, self._loop, self._privileged, self._partitions)
            if self._drops_root:  # from here on the network is listened to
                self._why_root = drop_privileges()
            self._announce()
            if self._options.prechecks:
                udp_ports = [port for transport, ports in self._listeners.listening()
                             if transport is Transport.UDP for port in ports]  # fmt: skip
                self._preflight.start(self._listeners.families, udp_ports)
            self._loop.run(self._go_on)
            self._emit(ServerStopped("check finished" if self._farewell < self._ends else "time is over"))
            return self._status
        except KeyboardInterrupt:
            self._emit(ServerStopped("interrupted"))
            return Exit.INTERRUPTED
        finally:
            self._loop.close()
            self._privileged.close()

    def stop(self) -> None:
        """End within a turn of the loop; for whoever runs this in a thread."""
        self._ends = 0.0

    def _start_helper(self) -> None:
        """Let another process keep root, before there is any socket that it would have too."""
        try:
            self._privileged, self._drops_root = start_helper(self._privileged, MAX_AT_ONCE), True
        except OSError as error:
            self._why_root = f"root: the process that would keep them cannot be started ({error.strerror})"

    def _announce(self) -> None:
        self._replace_ports()
        options = self._options
        outgoing = [address for address in map(addresses.outgoing_address, self._listeners.families) if address]
        own = [options.bind] if options.bind and not options.bind.is_unspecified else outgoing
        self._emit(Listening(
            self._listeners.control_port(), self._listeners.listening(), self._listeners.unavailable,
            self._tls is not None, tuple(own), options.seconds, self._capture_unavailable, options.key,
            options.key_known, self._why_root, tuple(row for row in options.plan.requirements if row.source),
            options.notes, options.live, tuple(partitioned_ranges(options.plan)) if options.live else (),
        ))  # fmt: skip

    def _replace_ports(self) -> None:
        self._ports = replace(self._listeners.state(), certificates=self._ports.certificates)
        self._core.replace_ports(self._ports)

    def _go_on(self) -> bool:
        """Do what is to be done between two turns of the loop; return whether there is to be another."""
        now = time.monotonic()
        for command in self._loop.take_commands():
            self._perform(command, now)
        self._notices.emit_withheld(now)
        for found in self._preflight.take():
            self._emit(found.notes)
            if found.certificates is not None:
                self._ports = replace(self._ports, certificates=found.certificates)
                self._core.replace_ports(self._ports)
        for event in self._explainer.take_explained():
            self._emit(event)
            self._status = event.report.status
            if self._options.once:
                self._farewell = min(self._farewell, now + FAREWELL_SECONDS)
        if now >= self._ends:
            return self._explainer.busy and self._ends > 0
        reported = self._farewell < float("inf")
        return self._explainer.busy or (now < self._farewell and not (reported and not self._core.registry.sessions))

    def _perform(self, command: Command, now: float) -> None:
        if isinstance(command, Emit):
            self._on_event(command.event, now)
        elif isinstance(command, WatchClient):
            self._narrow_capture(command.client.packed if command.client else b"")
        elif isinstance(command, ReleasePartitions):
            self._listeners.release_partition()
        elif isinstance(command, BindPartition):
            self._listeners.bind_partition(command.partition)
            self._replace_ports()
            self._loop.perform(self._core.on_result(command, None, now))

    def _on_event(self, event: Event, now: float) -> None:
        if isinstance(event, SessionStarted):
            self._bind_freed(now)
        if not self._notices.admit(event, now):
            return
        if isinstance(event, ReportReceived):
            self._preflight.on_report(event.report)
            self._explainer.explain(event, self._listeners.unavailable)
        else:
            self._emit(event)

    def _bind_freed(self, now: float) -> None:
        """Try the busy ports again: whoever starts a check may have stopped what held them."""
        # Where services go on running, one that restarts gives its ports up for a moment: these are left to it.
        if not self._options.live and now >= self._next_retry:
            self._next_retry = now + RETRY_SECONDS
            if self._listeners.bind_freed():
                self._announce()

    def _narrow_capture(self, client: bytes | None) -> None:
        """Capture less: of UDP probes to this server alone, and of TCP what one client sends, where one is named."""
        if self._capture and (client != self._watched or client is None):
            self._watched = client
            with contextlib.suppress(OSError):  # then it goes on seeing what it saw
                self._capture.narrow(self._core.tag, client)
