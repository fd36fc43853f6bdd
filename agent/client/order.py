"""Decide the order of an address's check: which question and which probe when. It yields steps and does no I/O."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Mapping

from ..core.observation import UNTESTED_REASONS, Hop, Observation, Reason, Reply, Where
from ..core.plan import MEDIA, Transport
from ..core.report import AddressReport, Control
from ..protocol import messages
from ..protocol.messages import PortTable, ServiceProtocol
from ..sweep import large
from ..sweep.loss import MAX_CHANCE
from ..sweep.sample import Sample, sample
from ..sweep.sweep import CombinedSweep, Sweep
from ..verdict import last_hop
from ..verdict.address_report import find, make_report
from ..verdict.evidence import CheckEvidence, ControlEvidence, FollowUp, ServerRecords, TcpEvidence, UdpEvidence
from ..verdict.tcp_state import is_stopped, silent_by_chance
from . import steps
from .control_client import Answer, ControlClient, ControlLost
from .service_records import ServiceResults, service_evidence, service_questions
from .steps import Steps

# Rounds of three more connects to a silent TCP port on a path that loses much: enough for half of all round trips.
MORE_CONNECTS = 2
# How long the UDP ports wait for the TCP ports: a connect, TLS, a question and an answer; and what two threads need.
TCP_ROUND_TRIPS, TCP_SECONDS = 6, 0.1
# Packets for each port that is in use: where one in five is lost, one of 25 ports loses both.
BUSY_TRIES = 2


_REASONS = {reason.value: reason for reason in UNTESTED_REASONS}
_PLACES = {where.value: where for where in Where}
_SERVICES = {protocol.value: protocol for protocol in ServiceProtocol}


class AddressCheck:
    """The check of an address, to be run once; `rate`: most UDP probes a second, `wanted`: ports to draw of a range."""

    def __init__(
        self, route: ControlEvidence, control: ControlClient, welcome: messages.Welcome, rng: random.Random,
        rate: float | None = None, wanted: int | None = None,
    ) -> None:  # fmt: skip
        self._route, self._control, self._welcome, self._rng = route, control, welcome, rng
        self._rate, self._wanted, self._plan = rate, wanted, welcome.plan
        self._questions = ServerQuestions(control, welcome, route.is_own)
        self._server = self._questions.records
        self._tcp: Mapping[int, Observation] = {}  # as the last wait for them showed it
        self._sample: Sample | None = None
        self._sweeps: list[Sweep] = []
        self._follow_ups: list[FollowUp] = []
        self._shut_out = False
        self._service_replies: dict[str, messages.ServiceReply] = {}
        self.aborted = False

    def run(self) -> Steps[AddressReport]:
        """Check the address and return its report, also where the server goes, or the user interrupts."""
        try:
            yield from self._probe()
        except KeyboardInterrupt:
            self.aborted = True
        except ControlLost:
            self._control.lost = True
        evidence = self._evidence(*(yield steps.Finish()))
        findings = find(evidence)
        hops: dict[Transport, Hop | None] = {}
        try:
            for transport, port in last_hop.ports_to_trace(findings).items():
                yield steps.Progress("looking where the packets are stopped")
                hops[transport] = yield steps.Trace(transport, port)
        except KeyboardInterrupt:  # the findings are whole
            self.aborted = True
        return make_report(evidence, last_hop.with_last_hops(findings, hops))

    def _evidence(self, udp: UdpEvidence, tcp: TcpEvidence, services: ServiceResults) -> CheckEvidence:
        control = self._control
        channel = Control(control.peer.port, bool(control.peer.certificate), control.paired)
        refusal = (control.refused.message, control.refused.hint) if control.refused else None
        return CheckEvidence(
            self._plan,
            replace(self._route, channel=channel, local=control.peer.local, mapped=self._welcome.client,
                    rtts=tuple(control.rtts), lost=control.lost, moved=control.moved, refusal=refusal),
            self._server,
            replace(udp, sweeps=self._sweeps, follow_ups=self._follow_ups, sample=self._sample),
            replace(tcp, shut_out=self._shut_out),
            service_evidence(services, self._service_replies),
            self._welcome.tls,
            self.aborted,
        )  # fmt: skip

    def _probe(self) -> Steps[None]:
        yield from self._questions.ask_untested(*Transport)
        yield steps.StartTcp(self._to_probe(Transport.TCP))
        yield from self._start_services()
        if self._wanted:
            self._sample = sample(self._plan, self._server.untested[Transport.UDP], self._wanted, self._rng)
        # Of a server's that leaves services running, it holds one part at a time.
        parts = (yield from self._questions.counts(PortTable.PARTITIONS, Transport.UDP)) if self._welcome.live else {}
        rtt = min(self._control.rtts)
        yield from self._wait_for_tcp(rtt)
        order = sorted({0, *(part for part in parts.values() if part < messages.MAX_PARTITIONS)})
        for part in order:
            sweep = yield from self._sweep(part, parts, rtt, MAX_CHANCE / len(order))
            is_last = part == order[-1] or sweep.is_shut_out
            if is_last:
                yield from self._finish_tcp(CombinedSweep(self._sweeps))
            yield steps.Progress("asking the server what it saw")
            yield from self._questions.ask_records(sweep, self._tcp)
            yield steps.ReadLateAnswers()
            yield from self._follow_up(sweep)
            if is_last:
                yield from self._probe_busy_ports(sweep)
                break
        kernel = yield from self._questions.ask(messages.AskKernel(), messages.KernelReply)
        self._server.counters = kernel.kernel.counters

    # TCP, and services

    def _to_probe(self, transport: Transport) -> list[int]:
        return [port for port in self._plan.ports(transport) if port not in self._server.untested[transport]]

    def _wait_for_tcp(self, rtt: float) -> Steps[None]:
        """Let the TCP ports that are open answer first: what the UDP ports may provoke would hit them too.

        Where one does not, those that let this client in are tried again beside it: a limit stops them now.
        """
        self._tcp = yield steps.WaitForTcp(TCP_ROUND_TRIPS * rtt + TCP_SECONDS)
        planned = self._to_probe(Transport.TCP)
        if len(self._tcp) < len(planned):
            accepted = {port for port, seen in self._tcp.items() if seen.reply is Reply.PROOF}
            if self._route.is_own:
                accepted |= {self._control.peer.port} - set(planned)
            yield steps.StartTcp(sorted(accepted))

    def _finish_tcp(self, sweep: CombinedSweep) -> Steps[None]:
        """Wait for the TCP ports; try again what is silent and may not be shut, and whether this client is let in."""
        yield steps.Progress("waiting for the last TCP ports")
        self._tcp = yield steps.WaitForTcp()
        results: ServiceResults = yield steps.WaitForServices()
        if self._control.lost:
            raise ControlLost
        for _ in range(MORE_CONNECTS):
            unsure = [port for port, seen in self._tcp.items() if silent_by_chance(seen, sweep.loss)
                      or (sweep.limit and seen.reply is Reply.NOTHING)]  # fmt: skip
            if not unsure:
                break
            yield steps.StartTcp(unsure)
            self._tcp = yield steps.WaitForTcp()
        if not sweep.open or sweep.is_shut_out:
            self._shut_out = (yield steps.TryOpenTcp()) is False
        for question in service_questions(results):
            self._service_replies[question.mark] = yield from self._questions.ask(question, messages.ServiceReply)

    def _start_services(self) -> Steps[None]:
        """Begin with the ports that services hold, where the server can watch these."""
        welcome, untested = self._welcome, self._server.untested
        if not welcome.live or not welcome.capture or not self._route.is_own:
            return
        served = {}
        for transport in Transport:
            rows = yield from self._questions.rows(PortTable.SERVED, transport)
            for port, word in rows.items():
                if untested[transport].get(port) is Reason.BUSY and word in _SERVICES:
                    served[transport, port] = _SERVICES[str(word)]
        yield steps.StartServices(served)

    # UDP

    def _sweep(self, part: int, parts: Mapping[int, int], rtt: float, max_chance: float) -> Steps[Sweep]:
        """Probe the UDP ports of one part, which the server then holds; a port of no part belongs to the first."""
        if parts:
            yield from self._questions.ask(messages.BindPartition(part), messages.PartitionBound)
            yield from self._questions.ask_untested(Transport.UDP)
        ports = self._to_probe(Transport.UDP)
        if self._sample:
            ports = [port for port in ports if port in self._sample.ports]
        to_come = sum(parts.get(port, 0) > part for port in ports)
        ports = [port for port in ports if parts.get(port, 0) == part]
        sweep = Sweep(
            ports, self._rng, rtt, (yield steps.Now()), free_flows=self._welcome.flows, max_rate=self._rate,
            max_chance=max_chance, previous=self._sweeps[-1] if self._sweeps else None,
        )  # fmt: skip
        self._sweeps.append(sweep)
        yield steps.RunSweep(sweep, self._sweeps[:-1], to_come)
        return sweep

    def _follow_up(self, sweep: Sweep) -> Steps[None]:
        """Try whether the UDP ports that answered one small packet carry what a call sends."""
        if not sweep.conclusive or _limits_more(sweep):  # more would tell of that alone
            return
        proven = [port for port, answers in sweep.answered.items() if answers]
        rate = large.pace(self._rate, sweep.limit)
        drawn = large.draw(proven, rate, self._rng)
        yield steps.Progress("trying large packets")
        silent: frozenset[int] = yield steps.ProbePorts(drawn, sweep.timeout, rate)
        if not silent:
            return
        before = yield from self._questions.udp_records()
        # Both together take no longer than one may.
        second = Sweep(
            proven, self._rng, min(self._control.rtts), (yield steps.Now()),
            max_rate=large.pace(self._rate, None), deadline=sweep.deadline,
        )  # fmt: skip
        yield steps.RunSweep(second, large=True)
        earlier = list(self._follow_ups)
        if second.open:  # the server may be gone
            self._follow_ups = [*earlier, FollowUp(second, ServerRecords(), silent)]
        seen = (yield from self._questions.udp_records()).udp_since(before)
        yield steps.ReadLateAnswers()
        probe_again = steps.ProbePorts(drawn, sweep.timeout, rate, large=False)
        if second.open or not (yield probe_again) >= set(drawn):  # else nothing comes through any more, large or small
            self._follow_ups = [*earlier, FollowUp(second, seen, silent)]

    def _probe_busy_ports(self, sweep: Sweep) -> Steps[None]:
        """Try whether packets for media ports in use reach the server's interface: what has them answers no others."""
        busy = [
            port
            for port, reason in self._server.untested[Transport.UDP].items()
            if reason is Reason.BUSY and (row := self._plan.row(Transport.UDP, port)) and row.purpose == MEDIA
        ]
        if not (busy and self._welcome.live and self._welcome.capture) or _limits_more(sweep):
            return
        yield steps.Progress("trying ports that are in use")
        rate = large.pace(self._rate, sweep.limit)
        yield steps.ProbePorts(busy, sweep.timeout, rate, large=False, tries=BUSY_TRIES)
        seen = yield from self._questions.counts(PortTable.AT_INTERFACE, Transport.UDP)
        self._server.busy_at_interface = {port: seen.get(port, 0) for port in busy}


def _limits_more(sweep: Sweep) -> bool:
    """Return whether the sweep met a limit that more probes would only meet again."""
    return sweep.limit is not None and sweep.limit.reason is not Reason.RATE_LIMIT


class ServerQuestions:
    """The questions of one session, and in `records` what the server answered; `is_own` is as of ControlEvidence."""

    def __init__(self, control: ControlClient, welcome: messages.Welcome, is_own: bool) -> None:
        self._control, self._welcome, self._is_own = control, welcome, is_own
        self.records = ServerRecords()

    def ask(self, question: messages.Message, expected: type[Answer]) -> Steps[Answer]:
        """Ask one question; ControlLost where its answer does not come, or is not of the expected type."""
        answer: Answer = yield steps.Ask(question, expected)
        return answer

    def rows(self, about: PortTable, transport: Transport) -> Steps[Mapping[int, int | str]]:
        """Return everything that the server knows of this matter, port by port; ControlLost."""
        rows: dict[int, int | str] = {}
        start: int | None = 1
        while start is not None:
            page = yield from self.ask(messages.AskRows(about, transport, start), messages.Rows)
            for ports, value in page.rows:
                rows.update(dict.fromkeys(ports, value))
            if page.next is not None and page.next <= start:  # it would be asked for ever
                raise ControlLost
            start = page.next
        return rows

    def counts(self, about: PortTable, transport: Transport) -> Steps[dict[int, int]]:
        """Return the rows that are numbers; ControlLost."""
        rows = yield from self.rows(about, transport)
        return {port: count for port, count in rows.items() if isinstance(count, int)}

    def ask_untested(self, *transports: Transport) -> Steps[None]:
        """Ask where the server does not listen, why (busy, if that is not known here), and if it may tell, who does."""
        for transport in transports:
            rows = yield from self.rows(PortTable.UNTESTED, transport)
            self.records.untested[transport] = {
                port: _REASONS.get(str(word), Reason.BUSY) for port, word in rows.items()
            }
            if rows and self._control.paired:
                owners = yield from self.rows(PortTable.OWNERS, transport)
                self.records.owners[transport] = {port: str(owner) for port, owner in owners.items()}

    def ask_records(self, sweep: Sweep, tcp: Mapping[int, Observation]) -> Steps[None]:
        """Ask what the server saw of the probes of a sweep, and of TCP, of which `tcp` came."""
        seen = ServerRecords()
        for transport in Transport:
            seen.sightings[transport] = yield from self.counts(PortTable.SIGHTINGS, transport)
            seen.redirected[transport] = yield from self.counts(PortTable.REDIRECTED, transport)
        shut = sweep.open < len(sweep.sent) or any(port.reply is not Reply.PROOF for port in tcp.values())
        # Of all parts or of none: what was not asked is not 0.
        if self._welcome.live or shut or self._control.confirmed:
            yield from self._ask_how_far(seen)
            if self._welcome.capture and self._is_own:  # else it knows this client by another address
                seen.at_interface[Transport.TCP] = yield from self.counts(PortTable.AT_INTERFACE, Transport.TCP)
                places = yield from self.rows(PortTable.PLACES, Transport.TCP)
                self.records.places = {port: _PLACES.get(str(word), Where.UNKNOWN) for port, word in places.items()}
        self.records.add(seen, sweep.sent)
        if self._is_own:
            self.records.connections = yield from self.counts(PortTable.CONNECTIONS, Transport.TCP)
            # Which TCP ports let this client in before they were tried, where one is stopped now.
            accepted: set[int] = set()
            if any(map(is_stopped, tcp.values())):
                counts = yield from self.counts(PortTable.ACCEPTED_BEFORE, Transport.TCP)
                # What comes in elsewhere was not let in where the server has it.
                elsewhere = self.records.redirected[Transport.TCP].values()
                accepted = {self._control.peer.port, *(counts.keys() - elsewhere)}
            self.records.accepted_before = accepted

    def udp_records(self) -> Steps[ServerRecords]:
        """Return what the server saw of UDP up to now."""
        seen = ServerRecords()
        seen.sightings[Transport.UDP] = yield from self.counts(PortTable.SIGHTINGS, Transport.UDP)
        yield from self._ask_how_far(seen)
        return seen

    def _ask_how_far(self, seen: ServerRecords) -> Steps[None]:
        """Ask how far the UDP probes came, and their answers."""
        seen.unanswered = yield from self.counts(PortTable.UNANSWERED, Transport.UDP)
        seen.receive_drops = yield from self.counts(PortTable.RECEIVE_DROPS, Transport.UDP)
        seen.answers_sent = yield from self.counts(PortTable.ANSWERS_SENT, Transport.UDP)
        if self._welcome.capture:
            seen.at_interface[Transport.UDP] = yield from self.counts(PortTable.AT_INTERFACE, Transport.UDP)
