"""The report: what a check found."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass

from .address import Family
from .errors import Exit
from .observation import Interceptor, Reason, Where
from .plan import Need, Transport
from .ports import PortRange

# Bounds that those who write a report keep too: a sentence of advice has a few lines.
MAX_HOSTS = 8  # the web name, the TURN name and some more; each of their addresses costs a whole check
MAX_ADDRESSES = 128  # 16 of each name
MAX_NOTES = 64
MAX_COMMANDS = 64
MAX_SENTENCE = 2000


class State(str, enum.Enum):
    """What a port is; README.md has the meanings."""

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
    answers_sent: int | None = None  # answers that the server saw leave by its network interface
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
    interceptor: Interceptor | None = None  # what answers in the server's place
    evidence: Evidence = Evidence()
    source: str | None = None  # the file and the key that the plan has it from, for the server's operator alone
    through: str | None = None  # where a service holds the port and was asked in the server's place, what it showed

    @property
    def unsampled(self) -> bool:
        """Return whether these ports were not tried since they are not in the sample."""
        return self.state is State.UNTESTED and self.reason is Reason.SAMPLED

    @property
    def only_small(self) -> bool:
        """Return whether a small packet was answered there, and large ones in its flow were not."""
        return self.state is State.FILTERED and self.shown is not None


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
    """What a finding, and those that are alike, mean for users, and the commands that help, in their order."""

    finding: int  # the number of the first of them
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
        """Return how many ports of one transport are in which state."""
        ports: Counter[State] = Counter()
        for finding in self.findings:
            if finding.transport is transport:
                ports[finding.state] += len(finding.ports)
        return dict(ports)

    @property
    def sample(self) -> Sample | None:
        """Return the share of the UDP ports that was tried, where a sample left some out."""
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
        """Return the findings of all addresses."""
        return [finding for address in self.addresses for finding in address.findings]

    @property
    def status(self) -> Exit:
        """Return the exit status that says the same."""
        return Exit[self.verdict.name]
