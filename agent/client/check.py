"""The client: checks every address of a host against the server's plan, and makes the report."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass, replace
from typing import Callable, Iterable, Mapping

from .. import __version__
from ..core import report as reports
from ..core.address import Family, family_of, is_internal, parse_address
from ..core.errors import UserError
from ..core.observation import UNTESTED_REASONS, Hop, Reason, Refusal, Reply, Where
from ..core.plan import CONTROL_PORTS, MEDIA, Plan, Protocol, Transport
from ..core.ports import list_ports, port_ranges
from ..core.report import BLOCKED, AddressReport, ClientAddress, Control, Finding, Problem, Report, State, Verdict
from ..net.connect import Target
from ..net.resolve import resolve
from ..protocol import messages
from ..protocol.messages import PortTable, ServiceProtocol
from ..sweep import large
from ..sweep.combined import AnySweep, CombinedSweep, combined_chance
from ..sweep.loss import MAX_CHANCE
from ..sweep.sample import Sample, sample
from ..sweep.sweep import Sweep
from ..verdict import names
from ..verdict.advice import advise
from ..verdict.conclusion import verdict_of, worst
from ..verdict.conditions import Conditions
from ..verdict.findings import build_findings
from ..verdict.last_hop import ports_to_trace, with_last_hops
from ..verdict.observe import FollowUp, ServerRecords, anything_came, fell_silent, measure_loss, measure_rtt, observe
from ..verdict.tcp_state import is_stopped, silent_by_chance
from .control import Channel, ControlLost, Greeting, NotOurs, open_channel
from .services import ServiceProbes
from .tcp import Session, TcpProbes
from .traceroute import walk
from .udp import Prober

# Rounds of three more connects to a silent TCP port on a path that loses much: enough for half of all round trips.
MORE_CONNECTS = 2
# How long the UDP ports wait for the TCP ports: a connect, TLS, a question and an answer; and what two threads need.
TCP_ROUND_TRIPS, TCP_SECONDS = 6, 0.1
# Packets for each port that is in use: where one in five is lost, one of 25 ports loses both.
BUSY_TRIES = 2
# Packets a second: what lets more of them pass hardly slows a check, nor would anybody else notice it.
NOTABLE_RATE = 3_000
# With these errors an address may still be checked through another one: nobody, or somebody else, answers there.
NOBODY_THERE = ("no-server", "not-pnmcheck")


@dataclass(frozen=True)
class Options:
    """What to check, and how.

    `hosts` are names and addresses of one server. `rate` is how many UDP probes a second are sent at most, `sample` how
    many ports of each range of UDP ports are drawn to stand for all, `key` the pairing key.
    """

    hosts: tuple[str, ...]
    control: int | None = None
    family: Family | None = None
    rate: float | None = None
    sample: int | None = None
    key: str | None = None


@dataclass(frozen=True)
class Progress:
    """What the client does now: `done` of `total` ports are known to be open, `left` is in seconds."""

    doing: str
    done: int = 0
    total: int = 0
    left: float | None = None


Tell = Callable[[Progress], None]


def check(options: Options, tell: Tell) -> tuple[Report, bool]:
    """Check a server; the report, and whether the check was interrupted. No error but a programmer's leaves this."""
    return _Check(options, tell).run()


def problem(error: UserError) -> Problem:
    """An error as the report has it."""
    return Problem(error.code, error.message, error.hint)


def failed(hosts: tuple[str, ...], error: UserError) -> Report:
    """The report of a check that could not run at all."""
    begun = _utc(time.time())
    return Report(__version__, begun, 0.0, hosts[0], "", Verdict.INCONCLUSIVE, error=problem(error), hosts=hosts)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


_ABORTED = Problem("aborted", "The check was interrupted", "run it again")


class _Check:
    def __init__(self, options: Options, tell: Tell) -> None:
        self._options, self._tell = options, tell
        self._started, self._begun = time.time(), time.perf_counter()
        self._plan, self._everywhere = "", False
        self._channels: list[Channel] = []
        self._targets: dict[Target, list[str]] = {}  # with the names and addresses that lead there
        self._unresolved: list[UserError] = []
        self._servers: dict[str, str] = {}
        self._cdns: set[str] = set()
        self._last: tuple[Target, Family] | None = None  # of the last one
        self._checked: dict[Target, AddressReport] = {}
        self._aborted = False

    def run(self) -> tuple[Report, bool]:
        error: Problem | None = None
        try:
            self._check_all()
        except UserError as trouble:
            error = problem(trouble)
        except KeyboardInterrupt:
            self._aborted = True
        report = self._report(error)
        try:
            if not self._aborted:
                self._hand_over(report)
            for channel in self._channels:
                channel.close(finished=not self._aborted)
        except KeyboardInterrupt:  # the report is whole: it is shown all the same
            self._aborted = True
        return report, self._aborted

    def _check_all(self) -> None:
        """Each address by its own control channel; then those that have none by another's."""
        self._resolve()
        without: dict[Target, UserError] = {}
        for target in self._targets:
            try:
                self._check(target, through=target)
            except UserError as error:
                without[target] = error
                if isinstance(error, NotOurs) and error.cdn:
                    self._cdns.add(target.text)
            if self._aborted:
                return
        # A server that listens on one address alone would make its others look blocked.
        through = next(iter(self._checked), None) if self._everywhere else None
        for target, trouble in without.items():
            nothing = _unchecked(target, problem(trouble))
            if through is None or trouble.code not in NOBODY_THERE:
                self._checked[target] = nothing
                continue
            try:
                self._check(target, through)
            except UserError:
                self._checked[target] = nothing
            if self._aborted:
                return
            if not any(one.state is State.OPEN or one.state in BLOCKED for one in self._checked[target].findings):
                self._checked[target] = nothing  # the first trouble says more than that all of it is unknown

    def _resolve(self) -> None:
        """The addresses of all names, each once; a name that has none does not keep the others from being checked."""
        for host in self._options.hosts:
            self._tell(Progress(f"looking up {host}"))
            try:
                for target in resolve(host, self._options.family):
                    self._targets.setdefault(target, []).append(host)
            except UserError as error:
                self._unresolved.append(error)

    def _names(self, target: Target) -> list[str]:
        return [host for host in self._targets[target] if not _is_address(host)]

    def _name(self, target: Target) -> str:
        """What a browser that goes there would ask for."""
        return (self._names(target) or self._targets[target])[0]

    def _check(self, target: Target, through: Target) -> None:
        self._tell(Progress(f"looking for the server at {through.text}"))
        channel = self._open(through, _family(target))
        self._plan, self._everywhere = channel.welcome.plan.name, channel.welcome.wildcard_bind
        self._servers[target.text] = channel.welcome.certificate
        one = _AddressCheck(target, through, self._name(target), self._options, channel, self._tell)
        self._checked[target] = one.run()
        self._aborted = one.aborted

    def _open(self, through: Target, family: Family) -> Channel:
        """A control channel; the one before is left where the server has one session at a time. UserError."""
        if self._channels and self._channels[-1].welcome.live:
            self._channels.pop().leave()
        ports = (self._options.control,) if self._options.control else CONTROL_PORTS
        greeting = Greeting(__version__, family, self._options.key)
        self._channels.append(open_channel(through, self._name(through), ports, greeting))
        self._last = through, family
        return self._channels[-1]

    def _report(self, error: Problem | None) -> Report:
        hosts, unresolved = self._options.hosts, self._unresolved
        checked = tuple(
            replace(self._checked.get(target) or _unchecked(target, _ABORTED), names=tuple(self._names(target)))
            for target in self._targets
        )
        if unresolved:
            message = "; ".join(one.message for one in unresolved)[: reports.MAX_SENTENCE]
            error = error or Problem(unresolved[0].code, message, unresolved[0].hint)
        if not any(one.findings for one in checked):
            error = error or next((one.error for one in checked), _ABORTED)
        verdict = worst([*(one.verdict for one in checked), *(Verdict.INCONCLUSIVE for _ in unresolved)])
        elapsed = time.perf_counter() - self._begun
        return Report(
            __version__, _utc(self._started), elapsed, hosts[0], self._plan, verdict, checked, error,
            None if all(map(_is_address, hosts)) else tuple(one.address for one in checked if one.names),
            hosts, names.notes(checked, self._servers, self._cdns, self._everywhere),
        )  # fmt: skip

    def _hand_over(self, report: Report) -> None:
        """Give the report to the server, by the first channel that still is there."""
        if not self._channels and self._last:
            with contextlib.suppress(UserError):
                self._open(*self._last)
        parts = list(messages.report_parts(reports.dumps(report)))
        for channel in self._channels:
            try:
                for part in parts:
                    channel.ask(part, messages.Received)
                return
            except ControlLost:
                continue


class _AddressCheck:
    """The check of one address, over a control channel to it, or `through` another address of the same host."""

    def __init__(
        self, target: Target, through: Target, name: str, options: Options, channel: Channel, tell: Tell
    ) -> None:
        self._target, self._through, self._options = target, through, options
        self._channel, self._tell = channel, tell
        self._plan: Plan = channel.welcome.plan
        key = channel.secret.encode()
        # What a browser would put into its Host header and its TLS hello.
        host = name.encode("idna").decode("ascii")
        self._session = Session(channel.welcome.session, key, host, channel.welcome.tls, channel.welcome.plan)
        self._tcp = TcpProbes(target, self._session)
        self._services: ServiceProbes | None = None
        self._sweeps: list[Sweep] = []
        self._to_come = 0  # ports of the parts that follow
        self._server = ServerRecords()
        self._unsendable: dict[int, str] = {}
        self._refusals: dict[int, Refusal] = {}
        self._strangers: dict[int, str] = {}
        self._sample: Sample | None = None
        self._followed: dict[int, FollowUp] = {}  # by the number of the sweep
        self._shut_out = False
        self.aborted = False

    def run(self) -> AddressReport:
        try:
            self._probe()
        except KeyboardInterrupt:
            self.aborted = True
        except ControlLost:
            pass
        finally:
            self._tcp.stop()
            if self._services:
                self._services.stop()
        return self._judge()

    def _probe(self) -> None:
        for transport in Transport:
            self._ask_untested(transport)
        self._tcp.start(self._to_probe(Transport.TCP))
        self._services = self._try_services()
        chance = random.Random()
        if self._options.sample:
            self._sample = sample(self._plan, self._server.untested[Transport.UDP], self._options.sample, chance)
        # Of a server's that leaves services running, it holds one part at a time.
        parts = self._counts(PortTable.PARTITIONS, Transport.UDP) if self._channel.welcome.live else {}
        order = sorted({0, *(part for part in parts.values() if part < messages.MAX_PARTITIONS)})
        rtt, flows = min(self._channel.rtts), self._channel.welcome.flows
        self._wait_for_tcp(rtt)
        prober = Prober(self._target, self._session.id, self._session.key)
        self._unsendable, self._refusals, self._strangers = prober.unsendable, prober.refusals, prober.strangers
        try:
            for part in order:
                ports = self._take(part, parts)
                after = self._sweeps[-1] if self._sweeps else None
                sweep = Sweep(
                    ports, chance, rtt, time.perf_counter(), free_flows=flows, max_rate=self._options.rate,
                    max_chance=MAX_CHANCE / len(order), previous=after,
                )  # fmt: skip
                self._sweeps.append(sweep)
                prober.begin(sweep)
                prober.run(self._channel, self._tell_sweep)
                prober.ask_who_refuses()
                last = part == order[-1] or sweep.is_shut_out
                if last:
                    self._finish_tcp(CombinedSweep(self._sweeps))
                self._ask_server(sweep)
                prober.catch_up()
                self._follow_up(prober, sweep)
                if last:
                    self._probe_busy_ports(prober, sweep)
                    break
        finally:
            prober.close()
        self._server.counters = self._channel.kernel().counters

    def _try_services(self) -> ServiceProbes | None:
        """Begin with what services hold, where the server can watch these."""
        welcome = self._channel.welcome
        if not welcome.live or not welcome.capture or self._through != self._target:
            return None
        words = {one.value: one for one in ServiceProtocol}
        served = {
            transport: {
                port: words[str(word)]
                for port, word in self._channel.rows(PortTable.SERVED, transport).items()
                if self._server.untested[transport].get(port) is Reason.BUSY and word in words
            }
            for transport in Transport
        }
        return ServiceProbes(self._target, self._session, served)

    def _ask_untested(self, transport: Transport) -> None:
        rows = self._channel.rows(PortTable.UNTESTED, transport)
        self._server.untested[transport] = {port: _reason(word) for port, word in rows.items()}
        if rows and self._channel.paired:
            owners = self._channel.rows(PortTable.OWNERS, transport)
            self._server.owners[transport] = {port: str(owner) for port, owner in owners.items()}

    def _take(self, part: int, parts: Mapping[int, int]) -> list[int]:
        """The UDP ports to try of one part, which the server then holds; what belongs to none is of the first."""
        if parts:
            self._channel.ask(messages.BindPartition(part), messages.PartitionBound)
            self._ask_untested(Transport.UDP)
        ports = self._to_probe(Transport.UDP)
        if self._sample:
            ports = [port for port in ports if port in self._sample.ports]
        if not parts:
            return ports
        self._to_come = sum(parts.get(port, 0) > part for port in ports)
        return [port for port in ports if parts.get(port, 0) == part]

    def _finish_tcp(self, sweep: CombinedSweep) -> None:
        self._tell(Progress("waiting for the last TCP ports"))
        self._tcp.join()
        if self._services:
            self._services.join()
        if self._channel.lost:
            raise ControlLost
        self._try_tcp_again(sweep)
        if self._services:
            self._services.confirm(self._channel)

    def _ask_server(self, sweep: Sweep) -> None:
        self._tell(Progress("asking the server what it saw"))
        seen = ServerRecords()
        for transport in Transport:
            seen.sightings[transport] = self._counts(PortTable.SIGHTINGS, transport)
            seen.redirected[transport] = self._counts(PortTable.REDIRECTED, transport)
        # Of all parts or of none: what was not asked is not 0.
        if self._channel.welcome.live or self._anything_shut(sweep) or self._channel.confirmed:
            self._ask_how_far(seen)
        self._server.add(seen, sweep.sent)
        if self._through == self._target:  # else the server knows this client by another address
            self._server.connections = self._counts(PortTable.CONNECTIONS, Transport.TCP)
            self._server.accepted_before = self._ask_who_let_in()

    def _follow_up(self, prober: Prober, sweep: Sweep) -> None:
        """Whether the UDP ports that answered one small packet carry what a call sends."""
        limit = sweep.limit
        if not sweep.conclusive or (limit and limit.reason is not Reason.RATE_LIMIT):  # more would tell of that alone
            return
        proven = [port for port, answers in sweep.answered.items() if answers]
        rate, chance = large.pace(self._options.rate, limit), random.Random()
        drawn = large.draw(proven, rate, chance)
        self._tell(Progress("trying large packets"))
        silent = prober.follow_up(drawn, sweep.timeout, rate)
        if not silent:
            return
        before = self._seen_of_udp()
        max_rate = large.pace(self._options.rate, None)
        # Both together take no longer than one may.
        second = Sweep(
            proven, chance, min(self._channel.rtts), time.perf_counter(), max_rate=max_rate, deadline=sweep.deadline
        )
        prober.follow_up_all(second, self._channel, self._tell_sweep)
        if second.open:  # the server may be gone
            self._followed[len(self._sweeps)] = FollowUp(second, ServerRecords(), silent)
        seen = self._seen_of_udp().udp_since(before)
        prober.catch_up()
        if second.open or not prober.follow_up(drawn, sweep.timeout, rate, large=False) >= set(drawn):
            # Else nothing comes through any more, large or small.
            self._followed[len(self._sweeps)] = FollowUp(second, seen, silent)

    def _probe_busy_ports(self, prober: Prober, sweep: Sweep) -> None:
        """Whether packets for media ports that are in use come as far as the server's network interface.

        Whoever has them does not answer a stranger.
        """
        busy = [
            port
            for port, reason in self._server.untested[Transport.UDP].items()
            if reason is Reason.BUSY and (row := self._plan.row(Transport.UDP, port)) and row.purpose == MEDIA
        ]
        welcome, limit = self._channel.welcome, sweep.limit
        more = not limit or limit.reason is Reason.RATE_LIMIT  # as in _follow_up
        if not (busy and more and welcome.live and welcome.capture):
            return
        self._tell(Progress("trying ports that are in use"))
        rate = large.pace(self._options.rate, limit)
        prober.follow_up(busy, sweep.timeout, rate, large=False, tries=BUSY_TRIES)
        seen = self._counts(PortTable.AT_INTERFACE, Transport.UDP)
        self._server.busy_at_interface = {port: seen.get(port, 0) for port in busy}

    def _seen_of_udp(self) -> ServerRecords:
        """What the server saw of UDP up to now."""
        seen = ServerRecords()
        seen.sightings[Transport.UDP] = self._counts(PortTable.SIGHTINGS, Transport.UDP)
        self._ask_how_far_udp(seen)
        return seen

    def _ask_how_far_udp(self, seen: ServerRecords) -> None:
        seen.unanswered = self._counts(PortTable.UNANSWERED, Transport.UDP)
        seen.receive_drops = self._counts(PortTable.RECEIVE_DROPS, Transport.UDP)
        seen.answers_sent = self._counts(PortTable.ANSWERS_SENT, Transport.UDP)
        if self._channel.welcome.capture:
            seen.at_interface[Transport.UDP] = self._counts(PortTable.AT_INTERFACE, Transport.UDP)

    def _anything_shut(self, sweep: Sweep) -> bool:
        """Whether a port did not prove open: else nobody asks how far its packets came."""
        return sweep.open < len(sweep.sent) or any(seen.reply is not Reply.PROOF for seen in self._tcp.seen.values())

    def _ask_how_far(self, seen: ServerRecords) -> None:
        """What the server's interface showed."""
        self._ask_how_far_udp(seen)
        if (
            not self._channel.welcome.capture or self._through != self._target
        ):  # it knows this client by another address
            return
        seen.at_interface[Transport.TCP] = self._counts(PortTable.AT_INTERFACE, Transport.TCP)
        words = {where.value: where for where in Where}
        rows = self._channel.rows(PortTable.PLACES, Transport.TCP)
        self._server.places = {port: words.get(str(word), Where.UNKNOWN) for port, word in rows.items()}

    def _ask_who_let_in(self) -> set[int]:
        """The TCP ports that let this client in before they were tried, where one is stopped now."""
        if not any(map(is_stopped, self._tcp.seen.values())):
            return set()
        # What comes in elsewhere was not let in where the server has it.
        accepted_before = (
            self._counts(PortTable.ACCEPTED_BEFORE, Transport.TCP).keys()
            - self._server.redirected[Transport.TCP].values()
        )
        return {self._channel.port, *accepted_before}

    def _wait_for_tcp(self, rtt: float) -> None:
        """Let the TCP ports that are open answer first: what the UDP ports may provoke would hit them too.

        Where one does not, those that let this client in are tried again beside it: a limit stops them now.
        """
        self._tcp.join(TCP_ROUND_TRIPS * rtt + TCP_SECONDS)
        seen, planned = self._tcp.seen, self._to_probe(Transport.TCP)
        if len(seen) < len(planned):
            accepted_before = {port for port, one in seen.items() if one.reply is Reply.PROOF}
            if self._through == self._target:
                accepted_before |= {self._channel.port} - set(planned)
            self._tcp.start(sorted(accepted_before))

    def _try_tcp_again(self, sweep: CombinedSweep) -> None:
        """What is silent and may not be shut; and whether this client is let in where it was."""
        for _ in range(MORE_CONNECTS):
            unsure = [port for port, seen in self._tcp.seen.items()
                      if silent_by_chance(seen, sweep.loss)
                      or (sweep.limit and seen.reply is Reply.NOTHING)]  # fmt: skip
            self._tcp.start(unsure)
            self._tcp.join()
        if not sweep.open or sweep.is_shut_out:
            self._shut_out = self._tcp.lets_in() is False

    def _counts(self, about: PortTable, transport: Transport) -> dict[int, int]:
        return {port: n for port, n in self._channel.rows(about, transport).items() if isinstance(n, int)}

    def _to_probe(self, transport: Transport) -> list[int]:
        return [port for port in self._plan.ports(transport) if port not in self._server.untested[transport]]

    def _tell_sweep(self, sweep: Sweep) -> None:
        now = time.perf_counter()
        doing = f"UDP ports of {self._target.text}, try {sweep.passes}"
        if sweep.is_shut_out:
            doing = "shut out, waiting"
        elif sweep.waits_for_flows(now):
            doing = "waiting for room for more connections"
        done, total, left = sweep.open, len(sweep.sent), sweep.seconds_left(now)
        if sweep is self._sweeps[-1]:
            left *= 1 + self._to_come / total
            done = sum(one.open for one in self._sweeps)
            total = self._to_come + sum(len(one.sent) for one in self._sweeps)
        self._tell(Progress(doing, done, total, left))

    def _judge(self) -> AddressReport:
        sweep, tcp, server = CombinedSweep(self._sweeps) if self._sweeps else None, self._tcp.seen, self._server
        served = {transport: self._services.seen(transport) if self._services else {} for transport in Transport}
        tcp.update(served[Transport.TCP])
        unplanned = [seen for port, seen in tcp.items() if not self._plan.has(Transport.TCP, port)]  # control's
        conditions = Conditions(
            # Without a channel of its own, an address at which nothing stirs may be out of this computer's reach.
            control=not self._channel.lost and (self._through == self._target or anything_came(sweep, tcp, server)),
            aborted=self.aborted,
            conclusive=bool(sweep and sweep.done and sweep.conclusive),
            chance=sweep.chance if sweep else None,
            chance_of_large=combined_chance(one.sweep for one in self._followed.values()),
            unsure_of_large=next((one.unsure for one in self._followed.values() if one.unsure), None),
            loss=sweep.loss if sweep else 0.0,
            limit=sweep.limit if sweep and not self._channel.moved else None,
            closed=tuple(filter(is_stopped, [*self._tcp.later.values(), *unplanned])),
            shut_out=not self._channel.moved and (self._shut_out or fell_silent(sweep, server)),
            counters=server.counters,
            address=self._target.text,
        )
        left_out, hole = (self._sample.left_out, self._sample.hole) if self._sample else ((), 0)
        observations = observe(
            self._plan,
            sweep,
            self._unsendable,
            tcp,
            server,
            left_out,
            self._refusals,
            self._strangers,
            self._followed.values(),
            served[Transport.UDP],
        )
        findings = self._walk(build_findings(self._plan, observations, conditions))
        own = self._through == self._target
        client = ClientAddress(self._channel.local, self._channel.welcome.client) if own else ClientAddress()
        return AddressReport(
            self._target.text,
            _family(self._target),
            verdict_of(findings),
            Control(self._channel.port, self._channel.tls, self._channel.paired),
            measure_rtt((sweep and sweep.rtts) or self._channel.rtts),
            measure_loss(sweep, server),
            findings,
            advise(findings, hole),
            tuple(self._notes(findings)),
            client=client,
        )

    def _walk(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """The findings with how far packets come that never reach the server."""
        hops: dict[Transport, Hop | None] = {}
        try:
            for transport, port in ports_to_trace(findings).items():
                self._tell(Progress("looking where the packets are stopped"))
                hops[transport] = walk(self._target, transport, port)
        except KeyboardInterrupt:  # the findings are whole
            self.aborted = True
        return with_last_hops(findings, hops)

    def _notes(self, findings: tuple[Finding, ...]) -> Iterable[str]:
        dialled = parse_address(self._target.text)
        if parse_address(self._channel.local) == dialled:
            yield "This is the server's own computer: no packet passed a firewall outside. Check from elsewhere too."
        elif is_internal(dialled):
            yield ("This is an address of a private network: users outside cannot reach it, and a firewall before its "
                   "public address was not passed. Check that from outside too.")  # fmt: skip
        refused = self._channel.refused
        if refused:
            yield f"The server ended this check: {refused.message}. What to do: {refused.hint}."
        if self._through != self._target:
            yield f"No control channel could be opened here; this was checked through {self._through.text}."
        if self._services:
            yield from self._services.notes()
        bare = [port for port in self._to_probe(Transport.TCP) if self._session.protocol(port) is Protocol.TLS]
        if bare and not self._session.tls:
            ports = list_ports(port_ranges(bare), "tcp")
            yield f"The server has no openssl program, so {ports} was tried without TLS: a firewall may mind."
        drops, errors = self._server.counters.conntrack_drops, self._server.counters.receive_errors
        if not errors:  # what the server lost itself looks like a limit on the way
            yield from _met(CombinedSweep(self._sweeps) if self._sweeps else None)
        if drops:
            yield (f"The server's connection tracking was full and dropped {_count(drops, 'packet')} during the check: "
                   "raise net.netfilter.nf_conntrack_max.")  # fmt: skip
        if errors:
            yield (f"The server did not read {_count(errors, 'UDP packet')} in time and lost them during the check: "
                   "check again while it is less busy.")  # fmt: skip
        unsure = any(one.transport is Transport.TCP and one.reason is Reason.RATE_LIMIT for one in findings)
        if unsure and self._server.counters.slow_turns:
            yield "The server was too busy to serve its TCP ports in time: check again while it is less busy."
        if self._server.counters.listen_drops:
            yield "The server had no room for some TCP connections during the check: check again while it is less busy."


def _is_address(host: str) -> bool:
    try:
        parse_address(host)
    except ValueError:
        return False
    return True


def _family(target: Target) -> Family:
    return family_of(parse_address(target.text))


def _met(sweep: AnySweep | None) -> Iterable[str]:
    """The limit that the check met and got along with."""
    limit = sweep.limit if sweep and sweep.conclusive else None
    if limit and limit.rate is not None and limit.reason is Reason.RATE_LIMIT and limit.rate < NOTABLE_RATE:
        yield f"Something lets only about {limit.rate:,.0f} packets a second pass; the check kept to that."
    if limit and limit.reason is Reason.FLOW_LIMIT:
        yield f"Something keeps only about {limit.flows or 0:,} connections in mind; the check kept to that."
    if limit and limit.reason is Reason.SCAN_BLOCK:
        yield f"Something shut this computer out for {limit.seconds or 0:,.0f} s, as guards against scans do."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _unchecked(target: Target, error: Problem) -> AddressReport:
    return AddressReport(target.text, _family(target), Verdict.INCONCLUSIVE, error=error)


def _reason(word: int | str) -> Reason:
    """Why the server does not listen, in a word of its own; one that is not known here is as good as busy."""
    return next((reason for reason in UNTESTED_REASONS if reason.value == word), Reason.BUSY)
