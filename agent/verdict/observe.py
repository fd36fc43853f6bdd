"""Joins what the client and the server know of each port into observations, and measures the path by them."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Container, Iterable, Mapping, Sequence

from ..core.counters import Counters
from ..core.observation import Interceptor, Observation, Reason, Refusal, Reply, Where
from ..core.plan import Plan, Transport
from ..core.report import Loss, Rtt
from ..sweep.combined import AnySweep
from ..sweep.passes import MIN_TRIES
from ..sweep.sweep import Sweep

PerPort = Mapping[int, int]

# Of the probes to ports that some reached: a path that loses more than that of one way is beyond 20 % by far.
LEAST_SIGHTED = 0.5


@dataclass
class ServerRecords:
    """What the server told of one session, port by port; None is what it was not asked, or could not tell any more."""

    untested: dict[Transport, dict[int, Reason]] = field(default_factory=lambda: {one: {} for one in Transport})
    owners: dict[Transport, dict[int, str]] = field(default_factory=lambda: {one: {} for one in Transport})
    sightings: dict[Transport, PerPort | None] = field(default_factory=lambda: dict.fromkeys(Transport))
    at_interface: dict[Transport, PerPort | None] = field(default_factory=lambda: dict.fromkeys(Transport))
    unanswered: PerPort | None = None  # UDP probes that were sighted, and not to be answered
    receive_drops: PerPort | None = None  # UDP packets that found a port's receive buffer full
    answers_sent: PerPort | None = None  # UDP answers that left the server
    places: Mapping[int, Where] | None = None  # how far the packets to TCP ports came
    redirected: dict[Transport, PerPort] = field(default_factory=lambda: {one: {} for one in Transport})
    connections: PerPort | None = None
    accepted_before: Container[int] = ()  # TCP ports, as the client dials them
    counters: Counters = field(default_factory=Counters)  # of its kernel, since the session began
    busy_at_interface: PerPort = field(default_factory=dict)  # UDP probes at its interface, for ports that are in use

    def add(self, seen: ServerRecords, ports: Container[int]) -> None:
        """What it told of probes, of UDP to these ports; of others what it told before they were followed up."""
        for table, more in ((self.sightings, seen.sightings), (self.at_interface, seen.at_interface)):
            table[Transport.TCP] = more[Transport.TCP]
            table[Transport.UDP] = _joined(table[Transport.UDP], more[Transport.UDP], ports)
        redirected = _joined(self.redirected[Transport.UDP], seen.redirected[Transport.UDP], ports) or {}
        self.redirected = {Transport.TCP: seen.redirected[Transport.TCP], Transport.UDP: redirected}
        self.unanswered = _joined(self.unanswered, seen.unanswered, ports)
        self.receive_drops = _joined(self.receive_drops, seen.receive_drops, ports)
        self.answers_sent = _joined(self.answers_sent, seen.answers_sent, ports)

    def udp_since(self, before: ServerRecords) -> ServerRecords:
        """What it saw of UDP after it had told `before`."""
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
        """Why it could not tell; None where it could."""
        limit = self.sweep.limit
        if limit and limit.reason is not Reason.RATE_LIMIT:
            return limit.reason
        if self.sweep.done and self.sweep.conclusive:
            return None
        return limit.reason if limit else Reason.PATH_LOSS

    @property
    def silent(self) -> frozenset[int]:
        """Ports that answered none of them; where it could not tell, of those that were asked often."""
        silent = (port for port, answers in self.sweep.answered.items() if not answers)
        often = self.silent_before.union(port for port, sent in self.sweep.sent.items() if sent >= MIN_TRIES)
        return frozenset(port for port in silent if not self.unsure or port in often)


def observe(
    plan: Plan,
    sweep: AnySweep | None,
    unsendable: Mapping[int, str],
    tcp: Mapping[int, Observation],
    server: ServerRecords,
    left_out: Container[int] = (),
    refusals: Mapping[int, Refusal] | None = None,
    strangers: Mapping[int, str] | None = None,
    followed: Iterable[FollowUp] = (),
    served: Mapping[int, Observation] | None = None,
) -> dict[Transport, dict[int, Observation]]:
    """An observation of every planned port.

    `unsendable` are the UDP ports that the client's own network refused to send to, and what it said; `left_out` are
    those that a sample did not draw; `refusals` are the ICMP errors that came back from UDP ports, and `strangers`
    what else came than proof. Neither says anything of a port that has proven open. `followed` takes that back where
    no larger packet came through. `served` are UDP ports that were tried through the services that hold them.
    """

    udp = _Udp(sweep, unsendable, server, left_out, refusals or {}, strangers or {})
    found = {port: udp.observe(port) for port in plan.ports(Transport.UDP)}
    for port, seen in (served or {}).items():
        # One that was given up meanwhile was tried through its service all the same.
        found[port] = replace(seen, untested=Reason.BUSY, owner=found[port].owner)
    for one in followed:
        large = _Udp(one.sweep, unsendable, one.server, (), {}, {})
        found.update((port, replace(large.observe(port), only_small=True)) for port in one.silent)
    return {
        Transport.TCP: {port: _tcp(tcp.get(port) or Observation(Transport.TCP, port), server)
                        for port in plan.ports(Transport.TCP)},
        Transport.UDP: found,
    }  # fmt: skip


def _tcp(seen: Observation, server: ServerRecords) -> Observation:
    port = seen.port
    return replace(
        seen,
        at_interface=_count(server.at_interface[Transport.TCP], port) if seen.sent else None,
        at_socket=_count(server.sightings[Transport.TCP], port) if seen.sent else None,
        place=server.places.get(port) if server.places else None,
        connections=_count(server.connections, port),
        accepted_before=port in server.accepted_before,
        redirected_to=server.redirected[Transport.TCP].get(port),
        untested=server.untested[Transport.TCP].get(port),
        owner=server.owners[Transport.TCP].get(port),
    )


class _Udp:
    """Both sides' records of the UDP ports."""

    def __init__(
        self,
        sweep: AnySweep | None,
        unsendable: Mapping[int, str],
        server: ServerRecords,
        left_out: Container[int],
        refusals: Mapping[int, Refusal],
        strangers: Mapping[int, str],
    ) -> None:
        self._sent: PerPort = sweep.sent if sweep else {}
        self._answered: PerPort = sweep.answered if sweep else {}
        self._unsendable, self._left_out = unsendable, left_out
        self._refusals, self._strangers = refusals, strangers
        self._sightings, self._at_interface = server.sightings[Transport.UDP], server.at_interface[Transport.UDP]
        self._answers_sent, self._receive_drops, self._unanswered = (
            server.answers_sent,
            server.receive_drops,
            server.unanswered,
        )
        self._redirected, self._untested = server.redirected[Transport.UDP], server.untested[Transport.UDP]
        self._owners, self._busy_at_interface = server.owners[Transport.UDP], server.busy_at_interface

    def observe(self, port: int) -> Observation:
        """One port; of 10,000, so it is made at once."""
        sent, answered = self._sent.get(port, 0), self._answered.get(port, 0)
        untested = self._untested.get(port, Reason.SAMPLED if port in self._left_out else None)
        unsendable = None if answered else self._unsendable.get(port)
        if not sent or unsendable:
            owner = self._owners.get(port)
            busy = self._busy_at_interface.get(port)
            return Observation(
                Transport.UDP, port, unsendable=unsendable, untested=untested, owner=owner, at_interface=busy
            )
        seen = Observation(
            Transport.UDP,
            port,
            sent,
            Reply.PROOF if answered else Reply.NOTHING,
            answered=answered,
            at_interface=_count(self._at_interface, port),
            at_socket=_count(self._sightings, port),
            unanswered=_count(self._unanswered, port),
            receive_drops=_count(self._receive_drops, port),
            answers_sent=_count(self._answers_sent, port),
            redirected_to=self._redirected.get(port),
            untested=untested,
        )
        return seen if answered else self._came_back(seen)

    def _came_back(self, seen: Observation) -> Observation:
        """What came back of a port from which no proof did."""
        refusal, stranger = self._refusals.get(seen.port), self._strangers.get(seen.port)
        if refusal:
            seen = replace(seen, reply=Reply.UNREACHABLE, **vars(refusal))
        if stranger is not None:
            service = Interceptor.OTHER_SERVICE
            seen = replace(seen, reply=Reply.FOREIGN, by=None, icmp=None, shown=stranger, interceptor=service)
        return seen


def _count(counts: PerPort | None, port: int) -> int | None:
    return None if counts is None else counts.get(port, 0)


def anything_came(sweep: AnySweep | None, tcp: Mapping[int, Observation], server: ServerRecords) -> bool:
    """Whether any packet made its way between the two sides, or from whoever else has the address."""
    arrived = any(server.sightings.values()) or bool(sweep and sweep.open)
    return arrived or any(seen.reply not in (None, Reply.NOTHING, Reply.UNREACHABLE) for seen in tcp.values())


def fell_silent(sweep: AnySweep | None, server: ServerRecords) -> bool:
    """Whether probes reached the server at first and later no more, while no answer came back that would tell.

    Ports whose answers alone are stopped are sighted at every try, but for what the path loses.
    """
    sightings = server.sightings[Transport.UDP]
    if not sweep or sweep.open or not sightings:
        return False
    sent = sum(sweep.sent.get(port, 0) for port in sightings)
    return sum(sightings.values()) < LEAST_SIGHTED * sent


def measure_loss(sweep: AnySweep | None, server: ServerRecords) -> Loss:
    """The path's loss each way, by the probes to ports that proved open; not measured where a limit stopped some."""
    sightings = server.sightings[Transport.UDP]
    if not sweep or sightings is None or sweep.limit:
        return Loss()
    proven = [port for port, answers in sweep.answered.items() if answers]
    sent = sum(sweep.sent[port] for port in proven)
    arrived = sum(sightings.get(port, 0) for port in proven)
    left = arrived - sum((server.unanswered or {}).get(port, 0) for port in proven)
    answered = sum(sweep.answered[port] for port in proven)
    return Loss(_share(sent - arrived, sent), _share(left - answered, left))


def _share(part: int, whole: int) -> float | None:
    return round(min(1.0, max(0.0, part / whole)), 4) if whole else None


def measure_rtt(seconds: Iterable[float]) -> Rtt:
    """Round trips in seconds, as the report has them."""
    times: Sequence[float] = sorted(second * 1000 for second in seconds)
    if not times:
        return Rtt()
    at_95 = times[min(len(times) - 1, int(len(times) * 0.95))]
    return Rtt(round(times[0], 3), round(statistics.median(times), 3), round(at_95, 3))
