"""Check every address of a host against the server's plan, step by step, and make the report."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass, replace
from typing import Any, Callable

from .. import __version__
from ..core import report_json
from ..core.address import Family, family_of, parse_address
from ..core.errors import UserError
from ..core.plan import CONTROL_PORTS
from ..core.report import BLOCKED, MAX_SENTENCE, AddressReport, Problem, Report, State, Verdict
from ..net.addresses import resolve
from ..net.connect import Target
from ..protocol import messages
from ..verdict import names
from ..verdict.conclusion import worst
from ..verdict.evidence import ControlEvidence, TcpEvidence, UdpEvidence
from . import steps
from .control import ControlChannel, NotPnmcheck, open_channel
from .control_client import ControlLost, Greeting
from .order import AddressCheck
from .service_records import ServiceResults
from .services import ServiceProbes
from .steps import Progress, Steps, Tell, run_steps
from .tcp import PortProbes, ProbeContext, probe
from .traceroute import trace
from .udp import Prober

# With these errors an address may still be checked through another one: nothing, or something else, answers there.
NO_SERVER_THERE = ("no-server", "not-pnmcheck")


@dataclass(frozen=True)
class Options:
    """What to check and how: `rate` is UDP probes a second at most, `sample` ports of each range drawn for all."""

    hosts: tuple[str, ...]
    control: int | None = None
    family: Family | None = None
    rate: float | None = None
    sample: int | None = None
    key: str | None = None


def check(options: Options, tell: Tell) -> tuple[Report, bool]:
    """Check a server; return the report, and whether the check was interrupted. No error but a bug leaves this."""
    return _HostCheck(options, tell).run()


def failed(hosts: tuple[str, ...], error: UserError) -> Report:
    """Return the report of a check that could not run at all."""
    began, verdict = _utc(time.time()), Verdict.INCONCLUSIVE
    return Report(__version__, began, 0.0, hosts[0], "", verdict, error=_problem(error), hosts=hosts)


def _problem(error: UserError) -> Problem:
    return Problem(error.code, error.message, error.hint)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


_ABORTED = Problem("aborted", "The check was interrupted", "run it again")


class _HostCheck:
    """The check of all addresses that the given names lead to."""

    def __init__(self, options: Options, tell: Tell) -> None:
        self._options, self._tell = options, tell
        self._started, self._began = time.time(), time.perf_counter()
        self._plan, self._wildcard_bind = "", False
        self._channels: list[ControlChannel] = []
        self._targets: dict[Target, list[str]] = {}  # with the names and addresses that lead there
        self._unresolved: list[UserError] = []
        self._certificates: dict[str, str] = {}  # fingerprints of the server's own, by address
        self._cdns: set[str] = set()
        self._last: tuple[Target, Family] | None = None  # what the last channel was opened for
        self._checked: dict[Target, AddressReport] = {}

    def run(self) -> tuple[Report, bool]:
        aborted = False
        try:
            self._check_all()
        except KeyboardInterrupt:
            aborted = True
        report = self._report()
        try:
            if not aborted:
                self._hand_over(report)
            for channel in self._channels:
                channel.close(finished=not aborted)
        except KeyboardInterrupt:  # the report is whole: it is shown all the same
            aborted = True
        return report, aborted

    def _check_all(self) -> None:
        """Check each address over its own control channel; then those that have none over another's."""
        for host in self._options.hosts:
            self._tell(Progress(f"looking up {host}"))
            try:
                for target in resolve(host, self._options.family):
                    self._targets.setdefault(target, []).append(host)
            except UserError as error:  # a name without an address does not keep the others unchecked
                self._unresolved.append(error)
        without: dict[Target, UserError] = {}
        for target in self._targets:
            try:
                self._check(target, through=target)
            except UserError as error:
                without[target] = error
                if isinstance(error, NotPnmcheck) and error.cdn:
                    self._cdns.add(target.text)
        # A server that listens on one address alone would make its others look blocked.
        through = next(iter(self._checked), None) if self._wildcard_bind else None
        for target, failure in without.items():
            self._check_through(target, through, failure)

    def _check_through(self, target: Target, through: Target | None, error: UserError) -> None:
        """Check an address that has no control channel, because of this error, over the channel of another one."""
        if through and error.code in NO_SERVER_THERE:
            with contextlib.suppress(UserError):
                self._check(target, through)
        findings = self._checked[target].findings if target in self._checked else ()
        if not any(finding.state is State.OPEN or finding.state in BLOCKED for finding in findings):
            self._checked[target] = _unchecked(target, _problem(error))  # that says more than that all is unknown

    def _names(self, target: Target) -> tuple[str, ...]:
        return tuple(host for host in self._targets[target] if not _is_address(host))

    def _name(self, target: Target) -> str:
        """Return what a browser that goes there would ask for."""
        return (*self._names(target), *self._targets[target])[0]

    def _check(self, target: Target, through: Target) -> None:
        """Check an address; UserError where it has no control channel, KeyboardInterrupt where the user ends it."""
        self._tell(Progress(f"looking for the server at {through.text}"))
        channel = self._open(through, _family(target))
        welcome = channel.welcome
        self._plan, self._wildcard_bind = welcome.plan.name, welcome.wildcard_bind
        self._certificates[target.text] = welcome.certificate
        host = self._name(target).encode("idna").decode("ascii")  # as in a browser's Host header and TLS hello
        context = ProbeContext(target, welcome.session, channel.client.secret.encode(), host, welcome.tls, welcome.plan)
        route = ControlEvidence(target.text, _family(target), through.text)
        rate, sample = self._options.rate, self._options.sample
        order = AddressCheck(route, channel.client, welcome, random.Random(), rate, sample)
        self._checked[target] = _run(order.run(), context, channel, self._tell)
        if order.aborted:
            raise KeyboardInterrupt

    def _open(self, through: Target, family: Family) -> ControlChannel:
        """Open a control channel, and leave the one before where the server has one session at a time; UserError."""
        if self._channels and self._channels[-1].welcome.live:
            self._channels.pop().end_session()
        ports = (self._options.control,) if self._options.control else CONTROL_PORTS
        greeting = Greeting(__version__, family, self._options.key)
        self._channels.append(open_channel(through, self._name(through), ports, greeting))
        self._last = through, family
        return self._channels[-1]

    def _report(self) -> Report:
        hosts, unresolved, error = self._options.hosts, self._unresolved, None
        checked = tuple(replace(self._checked.get(target) or _unchecked(target, _ABORTED), names=self._names(target))
                        for target in self._targets)  # fmt: skip
        if unresolved:
            message = "; ".join(failure.message for failure in unresolved)[:MAX_SENTENCE]
            error = Problem(unresolved[0].code, message, unresolved[0].hint)
        elif not any(address.findings for address in checked):
            error = next((address.error for address in checked), _ABORTED)
        verdict = worst([*(address.verdict for address in checked), *(Verdict.INCONCLUSIVE for _ in unresolved)])
        elapsed = time.perf_counter() - self._began
        return Report(
            __version__, _utc(self._started), elapsed, hosts[0], self._plan, verdict, checked, error,
            None if all(map(_is_address, hosts)) else tuple(address.address for address in checked if address.names),
            hosts, names.notes(checked, self._certificates, self._cdns, self._wildcard_bind),
        )  # fmt: skip

    def _hand_over(self, report: Report) -> None:
        """Give the report to the server, over the first channel that still is open."""
        if not self._channels and self._last:
            with contextlib.suppress(UserError):
                self._open(*self._last)
        parts = list(messages.report_parts(report_json.encode(report)))
        for channel in self._channels:
            with contextlib.suppress(ControlLost):
                for part in parts:
                    channel.ask(part, messages.Received)
                return


def _is_address(host: str) -> bool:
    try:
        return bool(parse_address(host))
    except ValueError:
        return False


def _family(target: Target) -> Family:
    return family_of(parse_address(target.text))


def _unchecked(target: Target, error: Problem) -> AddressReport:
    return AddressReport(target.text, _family(target), Verdict.INCONCLUSIVE, error=error)


def _run(order: Steps[AddressReport], context: ProbeContext, channel: ControlChannel, tell: Tell) -> AddressReport:
    """Carry out the steps of an address's check with sockets and threads, and return what they come to."""
    tcp: PortProbes[int] = PortProbes(lambda port, stopped: probe(port, context, stopped))
    services, udp = ServiceProbes(context), Prober(context, tell)

    def stop() -> None:
        tcp.stop()
        services.stop()
        udp.close()

    def finish(_: steps.Finish) -> tuple[UdpEvidence, TcpEvidence, ServiceResults]:
        stop()
        of_udp = UdpEvidence(unsendable=udp.unsendable, refusals=udp.refusals, foreign=udp.strangers)
        return of_udp, TcpEvidence(tcp.seen, tuple(tcp.later.values())), services.results(services.seen)

    actions: dict[type, Callable[[Any], Any]] = {
        steps.Progress: tell,
        steps.Now: lambda step: time.perf_counter(),
        steps.Ask: lambda step: channel.ask(step.question, step.expected),
        steps.StartTcp: lambda step: tcp.start(step.ports),
        steps.WaitForTcp: lambda step: tcp.join(step.seconds),
        steps.TryOpenTcp: lambda step: tcp.try_open(),
        steps.StartServices: lambda step: services.start_services(step.served),
        steps.WaitForServices: lambda step: services.results(services.join()),
        steps.RunSweep: lambda step: udp.run(step, channel),
        steps.ReadLateAnswers: lambda step: udp.read(0.0),
        steps.ProbePorts: udp.follow_up,
        steps.Trace: lambda step: trace(context.target, step.transport, step.port),
        steps.Finish: finish,
    }
    try:
        return run_steps(order, lambda step: actions[type(step)](step))
    finally:
        stop()
