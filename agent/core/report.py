"""The report: what a check found, as values, and the same as JSON (schema pnmcheck.report/1)."""

from __future__ import annotations

import enum
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Callable, Sequence

from . import fields
from .address import MAX_ADDRESS, Family, parse_address
from .errors import Exit
from .fields import FieldError, Fields
from .observation import Interceptor, Reason, Where
from .plan import Need, Transport
from .ports import HIGHEST, LOWEST, PortRange, find_overlap

SCHEMA = "pnmcheck.report/1"

# Bounds for a report that the other side sends. A plan has at most every port of both transports, a name of the
# DNS 253 characters, and a sentence of advice a few lines.
MAX_FINDINGS = 2 * HIGHEST
# The web name, the TURN name and some more; each of their addresses costs a whole check.
MAX_HOSTS = 8
MAX_ADDRESSES = 128  # 16 of each name
MAX_NOTES = 64
MAX_COMMANDS = 64
MAX_NAME = 255
MAX_SENTENCE = 2000
MAX_COUNT = 10**9
MAX_MILLISECONDS = 10**7


class State(str, enum.Enum):
    """What a port is; DESIGN section 3."""

    OPEN = "open"
    FILTERED = "filtered"
    REJECTED = "rejected"
    INTERCEPTED = "intercepted"
    UNTESTED = "untested"
    UNKNOWN = "unknown"


# The states that say: a user's packets do not get through.
BLOCKED = frozenset((State.FILTERED, State.REJECTED, State.INTERCEPTED))


class Verdict(str, enum.Enum):
    """The answer to 'can users come in?'."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


_STATUS = {Verdict.PASS: Exit.PASS, Verdict.FAIL: Exit.FAIL, Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE}


@dataclass(frozen=True)
class Evidence:
    """What a finding rests on, summed over its ports; None is 'not measured'."""

    sent: int | None = None  # probes
    at_interface: int | None = None  # probes
    at_socket: int | None = None  # probes
    answered: int | None = None  # probes
    chance: float | None = None  # how many of the ports loss alone would silence, expected
    conntrack_drops: int | None = None  # packets that the server's own connection tracking dropped during the check
    receive_errors: int | None = None  # UDP packets that found the server's receive buffers full during the check
    rate: float | None = None  # packets a second that passed, where a limit stopped more
    flows: int | None = None  # new flows that passed before others were refused
    seconds: float | None = None  # how long the path shut this client out
    left: int | None = None  # answers that the server saw leave by its network interface
    capture_drops: int | None = None  # packets that the server's watch of its interface missed during the check
    errors: int | None = None  # ICMP errors that came back
    hops: int | None = None  # how many hops away the last router is that still answers on the way to these ports
    last_hop: str | None = None  # that router's address: what stops the packets stands there or behind it
    listen_drops: int | None = None  # TCP connections for which the server had no room during the check
    slow_turns: int | None = None  # how often the server's program came late to its ports during the check


@dataclass(frozen=True)
class Finding:
    """A run of ports with one state and one cause."""

    transport: Transport
    ports: PortRange
    need: Need
    purpose: str
    state: State
    where: Where | None = None
    by: str | None = None
    reason: Reason | None = None
    owner: str | None = None
    # What an intercepted port showed of itself, what kept an unknown one from being sent, or that a filtered one
    # answers small packets.
    shown: str | None = None
    icmp: str | None = None  # the ICMP error that refused, in words
    interceptor: Interceptor | None = None  # what kind of stranger answers
    evidence: Evidence = Evidence()
    source: str | None = None  # the file and the key that the plan has it from, for the server's operator alone
    through: str | None = None  # where a service holds the port and was asked in the server's place, what it showed

    @property
    def unsampled(self) -> bool:
        """Whether these ports were not tried since they are not in the sample."""
        return self.state is State.UNTESTED and self.reason is Reason.SAMPLED

    @property
    def only_small(self) -> bool:
        """Whether a small packet was answered there, and large ones in its flow were not."""
        return self.state is State.FILTERED and self.shown is not None


@dataclass(frozen=True)
class FindingGroup:
    """Findings that are not open for one cause, and the number of the first of them.

    `extent` are their ports, joined over those between them that a sample left out or somebody holds; `sampled` says
    that it left out neighbours of theirs, so that nobody knows how far this reaches.
    """

    number: int
    findings: tuple[Finding, ...]
    extent: tuple[PortRange, ...]
    sampled: bool = False

    @property
    def first(self) -> Finding:
        """One of them: they differ in their ports, and where nothing is blocked in their purposes."""
        return self.findings[0]

    @property
    def ports(self) -> tuple[PortRange, ...]:
        """All their ports."""
        return tuple(one.ports for one in self.findings)

    def __len__(self) -> int:
        return sum(map(len, self.ports))


def group_findings(findings: Sequence[Finding]) -> list[FindingGroup]:
    """The findings that are not open, those of one cause together; what is blocked, by its purpose too."""
    groups: dict[object, list[int]] = {}
    for number, one in enumerate(findings):
        if one.state is not State.OPEN:
            purpose = one.purpose if one.state in BLOCKED else None
            why = one.where, one.by, one.reason, one.owner, one.shown, one.icmp, one.interceptor
            cause = (one.transport, purpose, one.state, *why)
            groups.setdefault(cause, []).append(number)
    gaps = _Gaps(findings)
    return [
        FindingGroup(numbers[0], tuple(map(findings.__getitem__, numbers)), gaps.extent(numbers), gaps.beside(numbers))
        for numbers in groups.values()
    ]


class _Gaps:
    """What a sample left out among findings, or somebody holds, and between which others it lies."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = findings
        self._before: dict[int, int] = {}  # by a finding's number, that of the last one before the gap
        self._beside: set[int] = set()
        tried: int | None = None
        for number, one in enumerate(findings):
            neighbour = findings[number - 1] if number and _adjoin(findings[number - 1], one) else None
            if neighbour is None:
                tried = None
            elif one.unsampled or neighbour.unsampled:
                self._beside.update((number - 1, number))
            if one.unsampled or one.reason is Reason.BUSY:
                continue
            if tried is not None:
                self._before[number] = tried
            tried = number if one.state is not State.UNTESTED else None  # the server has told all of these

    def extent(self, numbers: Sequence[int]) -> tuple[PortRange, ...]:
        """The ports of these findings, joined over gaps."""
        found: list[PortRange] = []
        for before, number in zip([-1, *numbers], numbers):
            ports = self._findings[number].ports
            if self._before.get(number) == before:
                ports = PortRange(found.pop().first, ports.last)
            found.append(ports)
        return tuple(found)

    def beside(self, numbers: Sequence[int]) -> bool:
        """Whether one of these findings lies at a gap."""
        return not self._beside.isdisjoint(numbers)


def _adjoin(one: Finding, other: Finding) -> bool:
    return one.transport is other.transport and one.ports.last + 1 == other.ports.first


@dataclass(frozen=True)
class Control:
    """The control channel of one address; the port and `tls` are None where there was none."""

    port: int | None = None
    tls: bool | None = None
    paired: bool = False


@dataclass(frozen=True)
class Rtt:
    """Round-trip times in milliseconds."""

    min: float | None = None
    median: float | None = None
    p95: float | None = None


@dataclass(frozen=True)
class Loss:
    """The path's own loss each way, 0.0 to 1.0, as probes to open ports measured it."""

    to_server: float | None = None
    to_client: float | None = None


@dataclass(frozen=True)
class Sample:
    """How many UDP `ports` were tried in place of all, and `of` how many that the plan has."""

    ports: int
    of: int


@dataclass(frozen=True)
class Advice:
    """What a finding, and those that are alike, mean for users, and the commands that help, in their order.

    `finding` is the number of the first of them.
    """

    finding: int
    text: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Why something could not be checked."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class ClientAddress:
    """The client's own address, and the one that the server saw its packets come from."""

    local: str | None = None
    mapped: str | None = None


@dataclass(frozen=True)
class AddressReport:
    """The check of one address."""

    address: str
    family: Family
    verdict: Verdict
    control: Control = Control()
    rtt: Rtt = Rtt()
    loss: Loss = Loss()
    findings: tuple[Finding, ...] = ()
    advice: tuple[Advice, ...] = ()
    notes: tuple[str, ...] = ()
    error: Problem | None = None
    client: ClientAddress = ClientAddress()
    server: tuple[str, ...] | None = None  # the addresses of the server's interfaces, for its operator alone
    names: tuple[str, ...] = ()  # which of the names that were given have a record of this address

    def count(self, transport: Transport) -> dict[State, int]:
        """How many ports of one transport are in which state."""
        found: Counter[State] = Counter()
        for finding in self.findings:
            if finding.transport is transport:
                found[finding.state] += len(finding.ports)
        return dict(found)

    @property
    def sample(self) -> Sample | None:
        """The share of the UDP ports that was tried, where a sample left some out."""
        if not any(finding.unsampled for finding in self.findings if finding.transport is Transport.UDP):
            return None
        counts = self.count(Transport.UDP)
        total = sum(counts.values())
        return Sample(total - counts.get(State.UNTESTED, 0), total)


@dataclass(frozen=True)
class Report:
    """A whole check."""

    version: str
    started: str  # UTC, ISO 8601
    elapsed: float  # seconds
    host: str
    plan: str
    verdict: Verdict
    addresses: tuple[AddressReport, ...] = ()
    error: Problem | None = None
    dns: tuple[str, ...] | None = None  # the addresses that the names resolved to; None where HOST was no name
    hosts: tuple[str, ...] = ()  # all names and addresses that were given; `host` is the first
    notes: tuple[str, ...] = ()  # what the names lead to

    @property
    def findings(self) -> list[Finding]:
        """Those of all addresses."""
        return [one for address in self.addresses for one in address.findings]

    @property
    def status(self) -> Exit:
        """The exit status that says the same."""
        return _STATUS[self.verdict]


def to_json(report: Report) -> dict[str, Any]:
    """The report as the JSON object of schema 1."""
    return {
        "schema": SCHEMA,
        "version": report.version,
        "started": report.started,
        "elapsed_s": round(report.elapsed, 3),
        "host": report.host,
        "plan": report.plan,
        "verdict": report.verdict.value,
        "addresses": [_address_to_json(address) for address in report.addresses],
        "error": _problem_to_json(report.error),
        "dns": report.dns if report.dns is None else list(report.dns),
        "hosts": list(report.hosts),
        "notes": list(report.notes),
    }


def dumps(report: Report) -> str:
    """The report as one line of JSON, plain ASCII."""
    return json.dumps(to_json(report), separators=(",", ":"))


def _address_to_json(address: AddressReport) -> dict[str, Any]:
    return {
        "address": address.address,
        "family": address.family.value,
        "verdict": address.verdict.value,
        "control": vars(address.control),
        "rtt_ms": vars(address.rtt),
        "loss": vars(address.loss),
        "sample": address.sample and vars(address.sample),
        "findings": [_finding_to_json(finding) for finding in address.findings],
        "summary": {
            transport.value: {state.value: ports for state, ports in address.count(transport).items()}
            for transport in Transport
        },
        "advice": [{"finding": a.finding, "text": a.text, "commands": list(a.commands)} for a in address.advice],
        "notes": list(address.notes),
        "error": _problem_to_json(address.error),
        "client": vars(address.client),
        "server": address.server if address.server is None else list(address.server),
        "names": list(address.names),
    }


def _finding_to_json(finding: Finding) -> dict[str, Any]:
    return {
        "transport": finding.transport.value,
        "first": finding.ports.first,
        "last": finding.ports.last,
        "need": finding.need.value,
        "purpose": finding.purpose,
        "state": finding.state.value,
        "where": finding.where and finding.where.value,
        "by": finding.by,
        "reason": finding.reason and finding.reason.value,
        "owner": finding.owner,
        "shown": finding.shown,
        "icmp": finding.icmp,
        "interceptor": finding.interceptor and finding.interceptor.value,
        "evidence": vars(finding.evidence),
        "source": finding.source,
        "through": finding.through,
    }


def _problem_to_json(problem: Problem | None) -> dict[str, str] | None:
    return None if problem is None else vars(problem)


def from_json(text: str) -> Report:
    """Read a report that the other side sent; FieldError for anything that is none, or is out of bounds."""
    report = fields.parse(text)
    if report.text("schema") != SCHEMA:
        raise FieldError("not a report of schema 1")
    return Report(
        report.text("version"),
        report.text("started"),
        report.number("elapsed_s", 0, MAX_COUNT),
        report.text("host", MAX_NAME),
        report.text("plan"),
        report.choice("verdict", Verdict),
        report.list("addresses", _address_from_json, MAX_ADDRESSES),
        report.optional("error", lambda key: _problem_from_json(report.object(key))),
        report.optional("dns", lambda key: _addresses(report, key)),
        _names(report, "hosts"),
        _notes(report),
    )


def _address_from_json(value: object) -> AddressReport:
    address = Fields(value)
    findings = address.list("findings", _finding_from_json, MAX_FINDINGS)
    _refuse_overlap(findings)
    control, rtt, loss = address.object("control"), address.object("rtt_ms"), address.object("loss")
    client = address.object("client")

    def advice(item: object) -> Advice:
        entry = Fields(item)
        commands = entry.list("commands", lambda line: fields.text(line, MAX_SENTENCE), MAX_COMMANDS)
        return Advice(entry.integer("finding", 0, len(findings) - 1), entry.text("text", MAX_SENTENCE), commands)

    return AddressReport(
        _address(address.text("address", MAX_ADDRESS)),
        address.choice("family", Family),
        address.choice("verdict", Verdict),
        Control(
            control.optional("port", lambda key: control.integer(key, LOWEST, HIGHEST)),
            control.optional("tls", control.boolean),
            control.boolean("paired"),
        ),
        Rtt(*(rtt.optional(key, _within(rtt, 0, MAX_MILLISECONDS)) for key in ("min", "median", "p95"))),
        Loss(*(loss.optional(key, _within(loss, 0, 1)) for key in ("to_server", "to_client"))),
        findings,
        address.list("advice", advice, len(findings)),
        _notes(address),
        address.optional("error", lambda key: _problem_from_json(address.object(key))),
        ClientAddress(*(client.optional(key, lambda key: _address(client.text(key, MAX_ADDRESS)))
                        for key in ("local", "mapped"))),
        address.optional("server", lambda key: _addresses(address, key)),
        _names(address, "names"),
    )  # fmt: skip


def _names(value: Fields, key: str) -> tuple[str, ...]:
    return value.list(key, lambda name: fields.text(name, MAX_NAME), MAX_HOSTS)


def _notes(value: Fields) -> tuple[str, ...]:
    return value.list("notes", lambda note: fields.text(note, MAX_SENTENCE), MAX_NOTES)


def _addresses(value: Fields, key: str) -> tuple[str, ...]:
    return value.list(key, lambda text: _address(fields.text(text, MAX_ADDRESS)), MAX_ADDRESSES)


def _address(text: str) -> str:
    try:
        parse_address(text)
    except ValueError:
        raise FieldError("not an IP address") from None
    return text


def _refuse_overlap(findings: Sequence[Finding]) -> None:
    for transport in Transport:
        if find_overlap(finding.ports for finding in findings if finding.transport is transport):
            raise FieldError("a port that is in two findings")


def _within(value: Fields, least: float, most: float) -> Callable[[str], float]:
    return lambda key: value.number(key, least, most)


def _finding_from_json(value: object) -> Finding:
    finding = Fields(value)
    evidence = finding.object("evidence")
    first = finding.integer("first", LOWEST, HIGHEST)

    def count(key: str) -> int | None:
        return evidence.optional(key, lambda key: evidence.integer(key, 0, MAX_COUNT))

    return Finding(
        finding.choice("transport", Transport),
        PortRange(first, finding.integer("last", first, HIGHEST)),
        finding.choice("need", Need),
        finding.text("purpose"),
        finding.choice("state", State),
        finding.optional("where", lambda key: finding.choice(key, Where)),
        finding.optional("by", finding.text),
        finding.optional("reason", lambda key: finding.choice(key, Reason)),
        finding.optional("owner", finding.text),
        finding.optional("shown", finding.text),
        finding.optional("icmp", finding.text),
        finding.optional("interceptor", lambda key: finding.choice(key, Interceptor)),
        Evidence(
            count("sent"),
            count("at_interface"),
            count("at_socket"),
            count("answered"),
            evidence.optional("chance", _within(evidence, 0, MAX_COUNT)),
            count("conntrack_drops"),
            count("receive_errors"),
            evidence.optional("rate", _within(evidence, 0, MAX_COUNT)),
            count("flows"),
            evidence.optional("seconds", _within(evidence, 0, MAX_COUNT)),
            count("left"),
            count("capture_drops"),
            count("errors"),
            count("hops"),
            evidence.optional("last_hop", lambda key: _address(evidence.text(key, MAX_ADDRESS))),
            count("listen_drops"),
            count("slow_turns"),
        ),
        finding.optional("source", finding.text),
        finding.optional("through", finding.text),
    )


def _problem_from_json(problem: Fields) -> Problem:
    return Problem(problem.text("code"), problem.text("message", MAX_SENTENCE), problem.text("hint", MAX_SENTENCE))
