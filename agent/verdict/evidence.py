"""Hold all that both sides found out in the check of one address."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field
from typing import Container, Mapping, Sequence

from ..core.address import Family
from ..core.counters import Counters
from ..core.observation import Observation, Reason, Refusal, Where
from ..core.plan import Plan, Transport
from ..core.report import Control
from ..sweep.passes import MIN_TRIES
from ..sweep.sample import Sample
from ..sweep.sweep import CombinedSweep, Sweep

PerPort = Mapping[int, int]


@dataclass
class ServerRecords:
    """What the server told about one session, port by port. None was not asked, or could not be answered any more."""

    untested: dict[Transport, dict[int, Reason]] = field(
        default_factory=lambda: {transport: {} for transport in Transport}
    )
    owners: dict[Transport, dict[int, str]] = field(default_factory=lambda: {transport: {} for transport in Transport})
    sightings: dict[Transport, PerPort | None] = field(default_factory=lambda: dict.fromkeys(Transport))
    at_interface: dict[Transport, PerPort | None] = field(default_factory=lambda: dict.fromkeys(Transport))
    unanswered: PerPort | None = None  # UDP probes that were sighted, and not to be answered
    receive_drops: PerPort | None = None  # UDP packets that found a port's receive buffer full
    answers_sent: PerPort | None = None  # UDP answers that left the server
    places: Mapping[int, Where] | None = None  # how far the packets to TCP ports came
    redirected: dict[Transport, PerPort] = field(default_factory=lambda: {transport: {} for transport in Transport})
    connections: PerPort | None = None
    accepted_before: Container[int] = ()  # TCP ports, as the client dials them
    counters: Counters = field(default_factory=Counters)  # of its kernel, since the session began
    busy_at_interface: PerPort = field(default_factory=dict)  # UDP probes at its interface, for ports that are in use

    def add(self, seen: ServerRecords, ports: Container[int]) -> None:
        """Take over what it told of probes: of TCP all, of UDP what concerns these ports."""
        for table, more in ((self.sightings, seen.sightings), (self.at_interface, seen.at_interface)):
            table[Transport.TCP] = more[Transport.TCP]
            table[Transport.UDP] = _joined(table[Transport.UDP], more[Transport.UDP], ports)
        redirected = _joined(self.redirected[Transport.UDP], seen.redirected[Transport.UDP], ports) or {}
        self.redirected = {Transport.TCP: seen.redirected[Transport.TCP], Transport.UDP: redirected}
        self.unanswered = _joined(self.unanswered, seen.unanswered, ports)
        self.receive_drops = _joined(self.receive_drops, seen.receive_drops, ports)
        self.answers_sent = _joined(self.answers_sent, seen.answers_sent, ports)

    def udp_since(self, before: ServerRecords) -> ServerRecords:
        """Return what it saw of UDP after it had told `before`."""
        after = ServerRecords(
            unanswered=_since(self.unanswered, before.unanswered),
            receive_drops=_since(self.receive_drops, before.receive_drops),
            answers_sent=_since(self.answers_sent, before.answers_sent),
        )
        for table, now, then in ((after.sightings, self.sightings, before.sightings),
                                 (after.at_interface, self.at_interface, before.at_interface)):  # fmt: skip
            table[Transport.UDP] = _since(now[Transport.UDP], then[Transport.UDP])
        return after


def _since(now: PerPort | None, then: PerPort | None) -> PerPort | None:
    return None if now is None else Counter(now) - Counter(then or {})


def _joined(before: PerPort | None, more: PerPort | None, ports: Container[int]) -> PerPort | None:
    if more is None:
        return before
    return {**(before or {}), **{port: count for port, count in more.items() if port in ports}}


@dataclass(frozen=True)
class FollowUp:
    """Large probes in the flows of ports that had answered, and what the server told of those alone."""

    sweep: Sweep
    server: ServerRecords
    silent_before: frozenset[int] = frozenset()  # ports that were silent all the times they were asked before

    @property
    def unsure(self) -> Reason | None:
        """Return why it could not tell; None where it could."""
        limit = self.sweep.limit
        if limit and limit.reason is not Reason.RATE_LIMIT:
            return limit.reason
        if self.sweep.done and self.sweep.conclusive:
            return None
        return limit.reason if limit else Reason.PATH_LOSS

    @property
    def silent(self) -> frozenset[int]:
        """Return the ports that answered none of them; where it could not tell, of those that were asked often."""
        silent = (port for port, answers in self.sweep.answered.items() if not answers)
        often = self.silent_before.union(port for port, sent in self.sweep.sent.items() if sent >= MIN_TRIES)
        return frozenset(port for port in silent if not self.unsure or port in often)


@dataclass(frozen=True)
class ControlEvidence:
    """What the control channel showed: the address that is checked, the one that it led `through`, and how it ended.

    `lost` says that the server did not answer any more, `moved` that this computer lost its own address meanwhile.
    `refusal` is why the server did not go on, and what to do. `rtts` are seconds.
    """

    address: str
    family: Family
    through: str
    channel: Control = field(default_factory=Control)
    local: str = ""  # this computer's own address, and the one that the server saw it come from
    mapped: str = ""
    rtts: Sequence[float] = ()
    lost: bool = False
    moved: bool = False
    refusal: tuple[str, str] | None = None

    @property
    def is_own(self) -> bool:
        """Return whether the control channel led to the address itself; else the server saw another one of ours."""
        return self.through == self.address


@dataclass(frozen=True)
class UdpEvidence:
    """What came of the UDP ports: the sweeps, one for each part of them, and what followed each.

    `unsendable` are ports that the client's own network refused to send to, and what it said; `refusals` the ICMP
    errors that came back; `foreign` what else came than proof. Neither says anything of a port that has proven open.
    """

    sweeps: Sequence[Sweep] = ()
    follow_ups: Sequence[FollowUp] = ()
    sample: Sample | None = None
    unsendable: Mapping[int, str] = field(default_factory=dict)
    refusals: Mapping[int, Refusal] = field(default_factory=dict)
    foreign: Mapping[int, str] = field(default_factory=dict)

    @functools.cached_property
    def combined(self) -> CombinedSweep | None:
        """Return all sweeps as one; None where there was none."""
        return CombinedSweep(self.sweeps) if self.sweeps else None


@dataclass(frozen=True)
class TcpEvidence:
    """What came of the TCP ports. `later` is what came of another try of a port that had proven open.

    `shut_out` says that a port which had proven open did not let this client in again, when nothing came back of UDP.
    """

    ports: Mapping[int, Observation] = field(default_factory=dict)
    later: Sequence[Observation] = ()
    shut_out: bool = False


@dataclass(frozen=True)
class ServiceEvidence:
    """What came of ports that were tried through the services that hold them.

    `signalling` says by port what answered a WebSocket's upgrade in LiveKit's place, nothing where LiveKit did;
    `stale` are ports whose certificate is none of those on the server's disk.
    """

    tcp: Mapping[int, Observation] = field(default_factory=dict)
    udp: Mapping[int, Observation] = field(default_factory=dict)
    signalling: Mapping[int, str] = field(default_factory=dict)
    stale: Sequence[int] = ()


@dataclass(frozen=True)
class CheckEvidence:
    """All that one check of an address found out; `server_has_tls` says that the server had a certificate to show."""

    plan: Plan
    control: ControlEvidence
    server: ServerRecords = field(default_factory=ServerRecords)
    udp: UdpEvidence = UdpEvidence()
    tcp: TcpEvidence = TcpEvidence()
    services: ServiceEvidence = ServiceEvidence()
    server_has_tls: bool = True
    aborted: bool = False
