"""The server: listens on every planned port, answers the clients' probes, and tells what happens."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Callable, Mapping, Sequence

from . import __version__
from .errors import Exit, UserError
from .host import limits
from .host.certificate import make_certificate
from .host.owners import port_owners
from .judge.desk import Desk
from .model.address import Address, Family
from .model.notice import Listening, Notice, Reported, Started, Stopped, Untaken
from .model.observation import Reason
from .model.plan import HTTPS_PORT, Plan, Transport
from .model.ports import runs
from .model.report import Finding, Report
from .net import addresses, tls
from .net.listen import Gap, Opener
from .net.serve import Loop

# A port that was busy is tried again when a check begins, but not more often than this, whoever asks.
RETRY_SECONDS = 1.0
# How long `--once` waits for the client to close after its report: a round trip or two of the worst path.
FAREWELL_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """What the server is to do; `seconds` is how long it runs at most."""

    plan: Plan
    bind: Address | None = None
    control: int | None = None
    once: bool = False
    seconds: float = 3600.0


Tell = Callable[[Notice], None]


class Server:
    """One run of the server. Raises UserError where it cannot run at all."""

    def __init__(self, options: Options, tell: Tell) -> None:
        self._options, self._tell = options, tell
        pem = make_certificate()
        self._tls = tls.server_tls(pem) if pem else None
        self._desk = Desk(options.plan, __version__, self._tls is not None, os.urandom)
        self._loop = Loop(self._desk, self._tls)
        self._gaps: list[Gap] = []
        self._untaken: tuple[Untaken, ...] = ()
        self._taken: set[tuple[Transport, int]] = set()
        self._tried = 0.0
        self._status = Exit.INCONCLUSIVE
        self._ends = self._farewell = float("inf")

    def run(self) -> Exit:
        """Serve until the time is over, or the first check where that was asked; the status of the last check."""
        try:
            self._ends = time.monotonic() + self._options.seconds
            wanted = self._wanted()
            room = limits.raise_descriptor_limit(2 * len(wanted))
            self._opener = Opener(self._options.bind, room)
            self._take(dict.fromkeys(wanted, self._opener.families))
            self._announce()
            self._loop.run(self._go_on)
            self._tell(Stopped("check finished" if self._farewell < self._ends else "time is over"))
            return self._status
        except KeyboardInterrupt:
            self._tell(Stopped("interrupted"))
            return Exit.INTERRUPTED
        finally:
            self._loop.close()

    def stop(self) -> None:
        """End within a turn of the loop; for whoever runs this in a thread."""
        self._ends = 0.0

    def _wanted(self) -> list[tuple[Transport, int]]:
        plan, control = self._options.plan, self._options.control
        # TCP first: where descriptors run out, the control channel has one.
        wanted = [(transport, port) for transport in Transport for port in plan.ports(transport)]
        if control and not plan.has(Transport.TCP, control):
            wanted.insert(0, (Transport.TCP, control))
        return wanted

    def _take(self, wanted: Mapping[tuple[Transport, int], Sequence[Family]]) -> None:
        """Open what can be had; the rest is remembered as gaps."""
        self._tried = time.monotonic()
        for (transport, port), families in wanted.items():
            listeners, gaps = self._opener.open(transport, port, families)
            for listener in listeners:
                self._loop.add(listener)
                self._taken.add((transport, port))
            self._gaps += gaps
        untested: dict[Family, dict[Transport, dict[int, Reason]]] = {
            family: {transport: {} for transport in Transport} for family in Family
        }
        for gap in self._gaps:
            untested[gap.family][gap.transport][gap.port] = gap.reason
        self._desk.untested = untested

    def _take_freed(self) -> None:
        """Try the busy ports again: whoever starts a check may have stopped what held them."""
        busy: dict[tuple[Transport, int], list[Family]] = defaultdict(list)
        for gap in self._gaps:
            if gap.reason is Reason.BUSY:
                busy[gap.transport, gap.port].append(gap.family)
        if not busy or time.monotonic() < self._tried + RETRY_SECONDS:
            return
        before = set(self._gaps)
        self._gaps = [gap for gap in self._gaps if gap.reason is not Reason.BUSY]
        self._take(busy)
        if set(self._gaps) != before:
            self._announce()

    def _announce(self) -> None:
        self._untaken = self._name_gaps()
        gaps = {(gap.transport, gap.port) for gap in self._gaps}
        listening = [
            (transport, run)
            for transport in Transport
            for run in runs(
                port
                for port in self._options.plan.ports(transport)
                if (transport, port) in self._taken and (transport, port) not in gaps
            )
        ]
        bind = self._options.bind
        own = [bind] if bind else [one for one in map(addresses.outgoing_address, self._opener.families) if one]
        control, seconds = self._control_port(), self._options.seconds
        self._tell(Listening(control, tuple(listening), self._untaken, self._tls is not None, tuple(own), seconds))

    def _control_port(self) -> int:
        """The port that a client is best told: the one asked for, else 443, else the first that could be taken."""
        asked = self._options.control
        candidates = [asked] if asked else [HTTPS_PORT, *self._options.plan.ports(Transport.TCP)]
        taken = [port for port in candidates if (Transport.TCP, port) in self._taken]
        if taken:
            whole = (port for port in taken if not any(gap.port == port for gap in self._gaps))
            return next(whole, taken[0])
        what = f"Port {asked} cannot be taken for the control channel" if asked else (
            "No TCP port is left for the control channel"
        )  # fmt: skip
        held = [f"{one.ports}/tcp is {one.reason.value}" + (f" ({one.owner})" if one.owner else "")
                for one in self._untaken if one.transport is Transport.TCP]  # fmt: skip
        why = ", ".join(held)
        hint = "start with `--control PORT` and a TCP port that is free and open, or stop what holds the ports"
        raise UserError("no-control-port", what, why, hint)

    def _name_gaps(self) -> tuple[Untaken, ...]:
        families: dict[tuple[Transport, int], list[Gap]] = defaultdict(list)
        for gap in self._gaps:
            families[gap.transport, gap.port].append(gap)
        owners = {
            transport: port_owners(transport, {gap.port for gap in self._gaps if gap.transport is transport
                                               and gap.reason is Reason.BUSY})
            for transport in Transport
        }  # fmt: skip
        alike: dict[tuple[Transport, Reason, str | None, Family | None], list[int]] = defaultdict(list)
        for (transport, port), gaps in families.items():
            family = gaps[0].family if len(gaps) < len(self._opener.families) else None
            alike[transport, gaps[0].reason, owners[transport].get(port), family].append(port)
        untaken = [Untaken(transport, run, reason, owner, family)
                   for (transport, reason, owner, family), ports in alike.items() for run in runs(ports)]  # fmt: skip
        return tuple(sorted(untaken, key=lambda one: (one.transport.value, one.ports)))

    def _go_on(self) -> bool:
        now = time.monotonic()
        for event in self._desk.take_events():
            if isinstance(event, Started):
                self._take_freed()
            if isinstance(event, Reported):
                event = replace(event, report=self._with_owners(event.report))
            self._tell(event)
            if isinstance(event, Reported):
                self._status = event.report.status
                if self._options.once:
                    self._farewell = min(self._farewell, now + FAREWELL_SECONDS)
        reported = self._farewell < float("inf")
        return now < min(self._ends, self._farewell) and not (reported and not self._desk.sessions)

    def _with_owners(self, report: Report) -> Report:
        """The report with who holds the busy ports, which an unpaired client is not told."""

        def named(finding: Finding) -> Finding:
            if finding.reason is not Reason.BUSY:
                return finding
            holders = {one.owner for one in self._untaken
                       if one.transport is finding.transport and one.ports.overlaps(finding.ports)}  # fmt: skip
            return replace(finding, owner=holders.pop() if len(holders) == 1 else None)

        return replace(report, addresses=tuple(
            replace(one, findings=tuple(map(named, one.findings))) for one in report.addresses
        ))  # fmt: skip
