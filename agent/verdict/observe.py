"""Join what both sides know of each port into observations, and measure the path by them."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Iterable, Mapping, Sequence

from ..core.observation import Interceptor, Observation, Reason, Reply
from ..core.plan import Transport
from ..core.report import Loss, Rtt
from ..sweep.sweep import AnySweep
from .evidence import CheckEvidence, PerPort, ServerRecords, UdpEvidence

# Of the probes to ports that some reached: a path that loses more than that of one way is beyond 20 % by far.
LEAST_SIGHTED = 0.5


def observe(evidence: CheckEvidence) -> dict[Transport, dict[int, Observation]]:
    """Return an observation of every planned port.

    A follow-up by large packets takes back that a port is open where none of them came through. What was tried through
    the services that hold ports replaces what is known of those otherwise.
    """
    plan, server, udp = evidence.plan, evidence.server, evidence.udp
    tcp = {**evidence.tcp.ports, **evidence.services.tcp}
    ports = _UdpPorts(udp.combined, server, udp)
    observations = {port: ports.observe(port) for port in plan.ports(Transport.UDP)}
    for port, observation in evidence.services.udp.items():
        # One that the server could listen on later was tried through its service all the same.
        observations[port] = replace(observation, untested=Reason.BUSY, owner=observations[port].owner)
    for follow_up in udp.follow_ups:
        large = _UdpPorts(follow_up.sweep, follow_up.server, UdpEvidence(unsendable=udp.unsendable))
        observations.update((port, replace(large.observe(port), only_small=True)) for port in follow_up.silent)
    return {
        Transport.TCP: {port: _tcp(tcp.get(port) or Observation(Transport.TCP, port), server)
                        for port in plan.ports(Transport.TCP)},
        Transport.UDP: observations,
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


class _UdpPorts:
    """Both sides' records of UDP ports."""

    def __init__(self, sweep: AnySweep | None, server: ServerRecords, udp: UdpEvidence) -> None:
        self._sent: PerPort = sweep.sent if sweep else {}
        self._answered: PerPort = sweep.answered if sweep else {}
        self._server, self._udp = server, udp
        self._left_out = udp.sample.left_out if udp.sample else frozenset()
        self._sightings, self._at_interface = server.sightings[Transport.UDP], server.at_interface[Transport.UDP]
        self._redirected, self._untested = server.redirected[Transport.UDP], server.untested[Transport.UDP]

    def observe(self, port: int) -> Observation:
        """Return one of 10,000 ports, so it is made in one go."""
        server, sent, answered = self._server, self._sent.get(port, 0), self._answered.get(port, 0)
        untested = self._untested.get(port, Reason.SAMPLED if port in self._left_out else None)
        unsendable = None if answered else self._udp.unsendable.get(port)
        if not sent or unsendable:
            owner, busy = server.owners[Transport.UDP].get(port), server.busy_at_interface.get(port)
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
            unanswered=_count(server.unanswered, port),
            receive_drops=_count(server.receive_drops, port),
            answers_sent=_count(server.answers_sent, port),
            redirected_to=self._redirected.get(port),
            untested=untested,
        )
        return seen if answered else self._with_reply(seen)

    def _with_reply(self, seen: Observation) -> Observation:
        """Return a port from which no proof came, with what came back instead."""
        refusal, foreign = self._udp.refusals.get(seen.port), self._udp.foreign.get(seen.port)
        if refusal:
            seen = replace(seen, reply=Reply.UNREACHABLE, **vars(refusal))
        if foreign is not None:
            service = Interceptor.OTHER_SERVICE
            seen = replace(seen, reply=Reply.FOREIGN, by=None, icmp=None, shown=foreign, interceptor=service)
        return seen


def _count(counts: PerPort | None, port: int) -> int | None:
    return None if counts is None else counts.get(port, 0)


def anything_came(sweep: AnySweep | None, tcp: Mapping[int, Observation], server: ServerRecords) -> bool:
    """Return whether any packet made its way between the two sides, or from whoever else has the address."""
    arrived = any(server.sightings.values()) or bool(sweep and sweep.open)
    return arrived or any(seen.reply not in (None, Reply.NOTHING, Reply.UNREACHABLE) for seen in tcp.values())


def fell_silent(sweep: AnySweep | None, server: ServerRecords) -> bool:
    """Return whether probes reached the server at first and later no more, while no answer came back that would tell.

    Ports whose answers alone are stopped are sighted at every try, but for what the path loses.
    """
    sightings = server.sightings[Transport.UDP]
    if not sweep or sweep.open or not sightings:
        return False
    sent = sum(sweep.sent.get(port, 0) for port in sightings)
    return sum(sightings.values()) < LEAST_SIGHTED * sent


def measure_loss(sweep: AnySweep | None, server: ServerRecords) -> Loss:
    """Return the path's loss each way, by the probes to open ports; not measured where a limit stopped some."""
    sightings = server.sightings[Transport.UDP]
    if not sweep or sightings is None or sweep.limit:
        return Loss()
    proven = [port for port, answers in sweep.answered.items() if answers]
    sent = sum(sweep.sent[port] for port in proven)
    arrived = sum(sightings.get(port, 0) for port in proven)
    answers = arrived - sum((server.unanswered or {}).get(port, 0) for port in proven)
    answered = sum(sweep.answered[port] for port in proven)
    return Loss(_share(sent - arrived, sent), _share(answers - answered, answers))


def _share(part: int, whole: int) -> float | None:
    return round(min(1.0, max(0.0, part / whole)), 4) if whole else None


def measure_rtt(seconds: Iterable[float]) -> Rtt:
    """Return round trips, given in seconds, as the report has them."""
    times: Sequence[float] = sorted(second * 1000 for second in seconds)
    if not times:
        return Rtt()
    at_95 = times[min(len(times) - 1, int(len(times) * 0.95))]
    return Rtt(round(times[0], 3), round(statistics.median(times), 3), round(at_95, 3))
