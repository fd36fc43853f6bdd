"""The server: listens on every planned port, answers the clients' probes, and tells what happens."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import threading
import time
from dataclasses import dataclass, replace
from typing import Callable, Container, Mapping, Sequence

from .. import __version__
from ..config.model import Installed
from ..core.address import Address, Family
from ..core.counters import KernelStatus
from ..core.errors import Exit, UserError
from ..core.events import Event, EventsSuppressed, Listening, ReportReceived, ServerStopped, SessionStarted, Unavailable
from ..core.notes import Note, Notes
from ..core.observation import Reason
from ..core.partitions import make_partitions, partitioned_ranges
from ..core.plan import HTTPS_PORT, Plan, Transport
from ..core.report import BLOCKED, Finding, Report
from ..firewall.blocking_rules import find_blocking_rules
from ..firewall.managers import managers_for_client
from ..firewall.model import HostFacts
from ..firewall.operator_report import add_operator_advice
from ..firewall.provider_fixes import provider_of
from ..net import addresses, tls
from ..preflight import evaluate
from ..preflight.addresses import advertised_addresses, domain_names, stun_servers
from ..preflight.model import OutsideAnswers
from ..system.certificate import make_certificate
from ..system.counters import open_conntrack_statistics, read_kernel
from ..system.dmi import read_dmi
from ..system.interfaces import read_addresses
from ..system.privileges import drop_privileges, has_root, why_root_is_kept
from . import service_flows
from .capture import open_capture
from .listeners import Listeners
from .local_stun import answers_stun
from .loop import Loop
from .outside import ask_outside, comes_back
from .privileged import HelperGone, PrivilegedOperations, start_helper
from .sessions import SessionRegistry
from .token_bucket import TokenBucket

# What is proposed for the control channel where services have all planned ports; none of plugNmeet's is near.
SPARE_PORT = 9443
# A port that was busy is tried again when a check begins, but not more often than this, whoever asks.
RETRY_SECONDS = 1.0
# Reports that are explained at a time: each has tools of the system read the firewall, on a core of the server's.
MAX_LOOKING = 4
# Lines about clients that come and go: as many at once as sessions begin and end, then as fast as somebody can read.
NOTICES, NOTICES_A_SECOND = 150, 5.0
# Reports: of every session one at once; then one a second, of which each may be 4 MiB of a stranger's text.
REPORTS, REPORTS_A_SECOND = 64, 1.0
# Notes that clients' reports are good for: a server has a few, and who makes up more of them is not listened to.
MAX_NOTES = 20
# Ports at which a packet to ourselves is awaited: some may be blocked on the way.
ECHO_PORTS = 4
# Times that a part of the media ports is held: two for each address of a host, and a few checks one after the other;
# then, each takes a tenth of a second of a server that is in service.
HOLDS, HOLDS_A_SECOND = 30, 0.5
# How long `--once` waits for the client to close after its report: a round trip or two of the worst path.
FAREWELL_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """What the server is to do; `seconds` is how long it runs at most.

    `key` is the pairing key, which the client has already where it is `key_known`.
    `notes` are sentences about the configuration that the plan was read from.
    `installed` is what the configuration here says, where there is one; `unread` says why it is not known where there
    is. `prechecks`: look at this machine itself too, and where it is not `offline` ask whom LiveKit asks, and the DNS.
    `drop_privileges` is for a process that does nothing else, and has one thread: all of it becomes nobody's.
    `live` says that services go on running, to which the media ports are left but while a check runs.
    """

    plan: Plan
    bind: Address | None = None
    control: int | None = None
    once: bool = False
    seconds: float = 3600.0
    key: str | None = None
    key_known: bool = False
    drop_privileges: bool = False
    notes: tuple[str, ...] = ()
    installed: Installed | None = None
    unread: str = ""
    prechecks: bool = False
    offline: bool = False
    live: bool = False


Tell = Callable[[Event], None]


class Server:
    """One run of the server. Raises UserError where it cannot run at all."""

    def __init__(self, options: Options, tell: Tell) -> None:
        self._options, self._tell = options, tell
        certificates = [path for _, path in options.installed.certificates] if options.installed else []
        self._hands = PrivilegedOperations(
            options.plan, options.control, options.bind, tuple(dict.fromkeys(certificates))
        )
        self._gives_up, self._root = False, ""
        if options.drop_privileges and has_root():
            self._root = why_root_is_kept()
            if not self._root:
                self._start_helper()
        pem = make_certificate()
        self._tls = tls.server_tls(pem) if pem else None
        self._capture, self._blind = open_capture(options.plan)
        self._statistics = open_conntrack_statistics()
        self._desk = SessionRegistry(
            options.plan, __version__, self._tls is not None, options.bind is None, os.urandom, self._read_kernel,
            self._catch_up, self._overrun, options.key, self._capture is not None, options.live,
            self._hold,
        )  # fmt: skip
        self._desk.ask_here = answers_stun
        self._desk.parts = make_partitions(options.plan, random.SystemRandom()) if options.live else {}
        # The client that the interfaces are watched for; None for everybody.
        self._watched: bytes | None = b"" if options.live else None
        if self._capture:
            with contextlib.suppress(OSError):  # then it goes on seeing what it saw
                self._capture.narrow(self._desk.tag, self._watched)
        self._loop = Loop(self._desk, self._tls, self._capture)
        self._untaken: tuple[Unavailable, ...] = ()
        self._tried = 0.0
        self._status = Exit.INCONCLUSIVE
        self._ends = self._farewell = float("inf")
        self._notices, self._reports = TokenBucket(NOTICES, NOTICES_A_SECOND), TokenBucket(REPORTS, REPORTS_A_SECOND)
        self._holds, self._withheld = TokenBucket(HOLDS, HOLDS_A_SECOND), 0
        self._looking: list[threading.Thread] = []
        self._looked: queue.Queue[ReportReceived] = queue.Queue()
        self._noted: queue.Queue[Notes] = queue.Queue()
        self._told: set[Note] = set()
        self._outside = OutsideAnswers()

    def run(self) -> Exit:
        """Serve until the time is over, or the first check where that was asked; the status of the last check."""
        try:
            self._ends = time.monotonic() + self._options.seconds
            self._holdings = Listeners(
                self._options.plan, self._options.control, self._options.bind, self._loop, self._hands, self._desk.parts
            )
            if self._gives_up:  # from here on the network is listened to
                self._root = drop_privileges()
            self._announce()
            if self._options.prechecks:
                threading.Thread(target=self._look_around, args=(self._echo_ports(),), daemon=True).start()
            self._loop.run(self._go_on)
            self._tell(ServerStopped("check finished" if self._farewell < self._ends else "time is over"))
            return self._status
        except KeyboardInterrupt:
            self._tell(ServerStopped("interrupted"))
            return Exit.INTERRUPTED
        finally:
            self._loop.close()
            self._hands.close()
            for one in self._statistics:
                one.close()

    def _start_helper(self) -> None:
        """Let another process keep root, before there is any socket that it would have too."""
        try:
            self._hands, self._gives_up = start_helper(self._hands, MAX_LOOKING), True
        except OSError as error:
            self._root = f"root: no other process can be started to keep them, the system says {error.strerror}"

    def _catch_up(self) -> None:
        self._loop.catch_up()

    def _overrun(self) -> Mapping[int, int]:
        return self._loop.overrun()

    def _read_kernel(self) -> KernelStatus:
        kernel, drops = read_kernel(self._statistics), self._capture.drops if self._capture else None
        counters = replace(kernel.counters, capture_drops=drops, slow_turns=self._loop.slow_turns)
        return replace(kernel, counters=counters)

    def stop(self) -> None:
        """End within a turn of the loop; for whoever runs this in a thread."""
        self._ends = 0.0

    def _take_freed(self) -> None:
        """Try the busy ports again: whoever starts a check may have stopped what held them."""
        now = time.monotonic()
        if not self._options.live and now >= self._tried + RETRY_SECONDS:  # nor take what a service gives up to restart
            self._tried = now
            if self._holdings.bind_freed():
                self._announce()

    def _hold(self, part: int | None) -> bool:
        """Hold this part of the media ports alone, or none for None; False where that is asked too often."""
        if part is not None and not self._holds.take(time.monotonic()):
            return False
        self._holdings.hold(part)
        if part is not None:
            self._tell_desk()
        return True

    def _tell_desk(self) -> None:
        """What could not be taken, and who has it."""
        self._desk.untested = self._holdings.untested
        self._untaken = self._holdings.unavailable()
        if self._options.live:
            self._desk.served = service_flows.served(self._options.plan, self._busy())
        self._desk.owners = {
            transport: {port: one.owner for one in self._untaken if one.transport is transport and one.owner
                        for port in one.ports}
            for transport in Transport
        }  # fmt: skip

    def _announce(self) -> None:
        self._tell_desk()
        bind = self._options.bind
        outgoing = [one for one in map(addresses.outgoing_address, self._holdings.families) if one]
        own = [bind] if bind and not bind.is_unspecified else outgoing
        self._tell(Listening(
            self._control_port(), self._holdings.listening(), self._untaken, self._tls is not None, tuple(own),
            self._options.seconds, self._blind, self._options.key, self._options.key_known, self._root,
            tuple(row for row in self._options.plan.requirements if row.source), self._options.notes,
            self._options.live, tuple(partitioned_ranges(self._options.plan)) if self._options.live else (),
        ))  # fmt: skip

    def _busy(self) -> Mapping[Transport, Container[int]]:
        return {transport: {port for one in self._untaken if one.transport is transport and one.reason is Reason.BUSY
                            for port in one.ports}
                for transport in Transport}  # fmt: skip

    def _narrow(self) -> None:
        """Where services go on running, watch the interfaces for the one client alone: theirs may be very many."""
        client = next((one.client.packed for one in self._desk.sessions.values()), b"")
        if self._capture and self._watched not in (None, client):
            self._watched = client
            with contextlib.suppress(OSError):
                self._capture.narrow(self._desk.tag, client)

    def _control_port(self) -> int:
        """The port that a client is best told: the one asked for, else 443, else the first that could be taken."""
        asked = self._options.control
        candidates = [asked] if asked else [HTTPS_PORT, *self._options.plan.ports(Transport.TCP)]
        # Where haproxy has 443 on IPv4 alone, as plugNmeet installs it, clients would find that.
        port = self._holdings.first_taken(Transport.TCP, candidates, everywhere=self._options.live and not asked)
        if port:
            return port
        what = f"Port {asked} cannot be taken" if asked else "No TCP port is left"
        why = ", ".join(f"{one.ports}/tcp is {one.reason.value}" + (f" ({one.owner})" if one.owner else "")
                        for one in self._untaken if one.transport is Transport.TCP)  # fmt: skip
        hint = ("start with `--control PORT` and a TCP port that is free and open, or with `--stop-services` to have "
                "what holds the ports stopped for the check and started again")  # fmt: skip
        if self._options.live and not asked:
            hint = (f"open one more TCP port in the firewall for the time of the check, {SPARE_PORT} say; start with "
                    f"`--live --control {SPARE_PORT}`, and give the client `--control {SPARE_PORT}` too")  # fmt: skip
        raise UserError("no-control-port", f"{what} for the control channel", why, hint)

    def _go_on(self) -> bool:
        now = time.monotonic()
        self._narrow()
        for event in self._desk.take_events():
            if isinstance(event, SessionStarted):
                self._take_freed()
            if not (self._reports if isinstance(event, ReportReceived) else self._notices).take(now):
                self._withheld += 1
            elif isinstance(event, ReportReceived):
                self._note(event.report)
                self._look(event)
            else:
                self._tell(event)
        if self._withheld and self._notices.take(now):
            self._tell(EventsSuppressed(self._withheld))
            self._withheld = 0
        while not self._noted.empty():
            self._tell(self._noted.get())
        self._looking = [one for one in self._looking if one.is_alive()]
        while not self._looked.empty():
            event = self._looked.get()
            self._tell(event)
            self._status = event.report.status
            if self._options.once:
                self._farewell = min(self._farewell, now + FAREWELL_SECONDS)
        if now >= self._ends:
            return bool(self._looking) and self._ends > 0
        reported = self._farewell < float("inf")
        return bool(self._looking) or (now < self._farewell and not (reported and not self._desk.sessions))

    def _look_around(self, ports: Sequence[int]) -> None:
        """Find out what is amiss at this machine itself, while the loop goes on."""
        options, installed = self._options, self._options.installed
        try:
            ways = {one: addresses.outgoing_address(one) for one in self._holdings.families}
            machine = replace(self._hands.machine(), outgoing_addresses=tuple(filter(None, ways.values())))
            if installed and not any(
                one.startswith(path) for one in machine.errors for _, path in installed.certificates
            ):
                shown = {one.fingerprint for one in machine.certificates}
                self._desk.certificates = {port: shown for port, _ in installed.certificates}
            notes = evaluate.check_machine(machine, options.plan, installed)
            unknown = [f"LiveKit's configuration ({options.unread})"] if options.unread else []
            unknown += ["STUN, hairpin and DNS (--offline)"] if installed and options.offline else []
            self._noted.put(replace(notes, unknown=(*notes.unknown, *unknown)))
            if installed and not options.offline:
                routes, names = (
                    [one for one, address in ways.items() if address],
                    domain_names(machine, installed),
                )
                outside = ask_outside(stun_servers(installed), names, routes)
                public = (outside.egress or {}).get(Family.IPV4)
                if public and ports:
                    back = comes_back(public, ports, self._loop.echo, self._loop.echoed)
                    outside = replace(outside, hairpin=back)
                self._outside = outside
                self._noted.put(evaluate.check_outside(outside, machine, installed))
        except Exception as error:  # noqa: BLE001 - the check of the ports goes on
            self._noted.put(Notes(unknown=(f"more of this machine: {type(error).__name__}: {error}",)))

    def _echo_ports(self) -> Sequence[int]:
        """Some UDP ports that are held as long as this runs; those of one address alone may not be the public one's."""
        held = [port for transport, run in self._holdings.listening() if transport is Transport.UDP for port in run]
        return [] if self._options.bind else held[:: max(1, -(-len(held) // ECHO_PORTS))]

    def _note(self, report: Report) -> None:
        """Tell what a report shows of this machine, each thing once."""
        if self._options.prechecks and len(self._told) < MAX_NOTES:
            offered = advertised_addresses(self._options.installed, self._outside)
            fresh = [one for one in evaluate.check_report(report, time.time(), offered) if one not in self._told]
            self._told.update(fresh)
            if fresh:
                self._noted.put(Notes(tuple(fresh)))

    def _look(self, event: ReportReceived) -> None:
        """Find out what on this machine blocks ports, while the loop goes on: some tools take seconds."""
        blocked = any(one.state in BLOCKED for address in event.report.addresses for one in address.findings)
        if not blocked or len(self._looking) >= MAX_LOOKING:
            self._explain(event, HostFacts(addresses=read_addresses()))
            return
        thread = threading.Thread(target=self._explain, args=(event,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # unlike root, nobody may have only so many
            self._explain(event, HostFacts(addresses=read_addresses()))
        else:
            self._looking.append(thread)

    def _explain(self, event: ReportReceived, host: HostFacts | None = None) -> None:
        report = self._with_what_is_known(event.report)
        try:
            report = add_operator_advice(report, host or self._read_host(event), self._options.plan)
        except Exception as error:  # noqa: BLE001 - the report is worth more than what explains it
            sentence = f"What blocks ports here could not be found out: {type(error).__name__}: {error}"
            unread = HostFacts(unread=(sentence,))
            report = add_operator_advice(report, unread, self._options.plan)
        self._looked.put(replace(event, report=report))

    def _read_host(self, event: ReportReceived) -> HostFacts:
        try:
            rules, unread, read, xdp = self._hands.read()
        except HelperGone as gone:
            unread = (f"What blocks ports here could not be read: {gone}.",)
            return HostFacts(provider=provider_of(read_dmi()), addresses=read_addresses(), unread=unread)
        managers, more = managers_for_client(event.client, event.arrival.interface if event.arrival else None, read)
        decided = find_blocking_rules(event.report, rules, self._options.plan, event.client, event.arrival)
        return HostFacts(
            decided,
            managers,
            provider_of(read_dmi()),
            read_addresses(),
            (*map(_not_read, unread), *more, *map(_ahead, rules.not_evaluated), *xdp),
        )

    def _with_what_is_known(self, report: Report) -> Report:
        """The report with who holds the busy ports and where the plan comes from, which no unpaired client is told."""

        def named(finding: Finding) -> Finding:
            row = self._options.plan.row(finding.transport, finding.ports.first)
            finding = replace(finding, source=row.source if row else None)
            if finding.reason is not Reason.BUSY:
                return finding
            holders = {one.owner for one in self._untaken
                       if one.transport is finding.transport and one.ports.overlaps(finding.ports)}  # fmt: skip
            return replace(finding, owner=holders.pop() if len(holders) == 1 else None)

        return replace(report, addresses=tuple(
            replace(one, findings=tuple(map(named, one.findings)), notes=(*notes, *one.notes))
            for one, notes in zip(report.addresses, [self._options.notes, *((),) * len(report.addresses)])
        ))  # fmt: skip


def _not_read(trouble: str) -> str:
    return f"Not all rules of this machine's firewall could be read: {trouble}."


def _ahead(rule: str) -> str:
    return f"What this does with the packets was not found out, and it comes before all rules that were read: {rule}"
