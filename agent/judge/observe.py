"""Joins what the client and the server know of each port into observations, and measures the path by them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from typing import Container, Iterable, Mapping, Sequence

from ..model.kernel import Counters
from ..model.observation import Observation, Reason, Reply
from ..model.plan import Plan, Transport
from ..model.report import Loss, Rtt
from .sweep import Sweep

PerPort = Mapping[int, int]

# Of the probes to ports that some reached: a path that loses more than that of one way is beyond 20 % by far.
LEAST_SIGHTED = 0.5


@dataclass
class ServerSide:
    """What the server told of one session, port by port; None is what it was not asked, or could not tell any more."""

    untested: dict[Transport, dict[int, Reason]] = field(default_factory=lambda: {one: {} for one in Transport})
    sightings: dict[Transport, PerPort | None] = field(default_factory=lambda: dict.fromkeys(Transport))
    redirected: dict[Transport, PerPort] = field(default_factory=lambda: {one: {} for one in Transport})
    connections: PerPort | None = None
    counters: Counters = field(default_factory=Counters)  # of its kernel, since the session began


def observe(
    plan: Plan,
    sweep: Sweep | None,
    unsendable: Mapping[int, str],
    tcp: Mapping[int, Observation],
    server: ServerSide,
    left_out: Container[int] = (),
) -> dict[Transport, dict[int, Observation]]:
    """An observation of every planned port.

    `unsendable` are the UDP ports that the client's own network refused to send to, and what it said; `left_out` are
    those that a sample did not draw.
    """

    def udp(port: int) -> Observation:
        if port in left_out:
            return Observation(Transport.UDP, port, untested=Reason.SAMPLED)
        return _udp(sweep, unsendable, port)

    return {
        Transport.TCP: {port: _join(_tcp(tcp, port), server) for port in plan.ports(Transport.TCP)},
        Transport.UDP: {port: _join(udp(port), server) for port in plan.ports(Transport.UDP)},
    }


def _tcp(tcp: Mapping[int, Observation], port: int) -> Observation:
    return tcp.get(port) or Observation(Transport.TCP, port)


def _udp(sweep: Sweep | None, unsendable: Mapping[int, str], port: int) -> Observation:
    if not sweep or not sweep.sent.get(port):
        return Observation(Transport.UDP, port)
    answered = sweep.answered[port]
    if port in unsendable and not answered:
        return Observation(Transport.UDP, port, unsendable=unsendable[port])
    reply = Reply.PROOF if answered else Reply.NOTHING
    return Observation(Transport.UDP, port, sweep.sent[port], reply, answered=answered)


def _join(seen: Observation, server: ServerSide) -> Observation:
    transport, port = seen.transport, seen.port
    connections = server.connections if transport is Transport.TCP else None
    return replace(
        seen,
        at_socket=_count(server.sightings[transport], port) if seen.sent else None,
        connections=_count(connections, port),
        redirected_to=server.redirected[transport].get(port),
        untested=server.untested[transport].get(port, seen.untested),
    )


def _count(counts: PerPort | None, port: int) -> int | None:
    return None if counts is None else counts.get(port, 0)


def anything_came(sweep: Sweep | None, tcp: Mapping[int, Observation], server: ServerSide) -> bool:
    """Whether any packet made its way between the two sides, or from whoever else has the address."""
    arrived = any(server.sightings.values()) or bool(sweep and sweep.open)
    return arrived or any(seen.reply not in (None, Reply.NOTHING, Reply.UNREACHABLE) for seen in tcp.values())


def fell_silent(sweep: Sweep | None, server: ServerSide) -> bool:
    """Whether probes reached the server at first and later no more, while no answer came back that would tell.

    Ports whose answers alone are stopped are sighted at every try, but for what the path loses.
    """
    sightings = server.sightings[Transport.UDP]
    if not sweep or sweep.open or not sightings:
        return False
    sent = sum(sweep.sent.get(port, 0) for port in sightings)
    return sum(sightings.values()) < LEAST_SIGHTED * sent


def measure_loss(sweep: Sweep | None, server: ServerSide) -> Loss:
    """The path's loss each way, by the probes to ports that proved open."""
    sightings = server.sightings[Transport.UDP]
    if not sweep or sightings is None:
        return Loss()
    proven = [port for port, answers in sweep.answered.items() if answers]
    sent = sum(sweep.sent[port] for port in proven)
    arrived = sum(sightings.get(port, 0) for port in proven)
    answered = sum(sweep.answered[port] for port in proven)
    return Loss(_share(sent - arrived, sent), _share(arrived - answered, arrived))


def _share(part: int, whole: int) -> float | None:
    return round(min(1.0, max(0.0, part / whole)), 4) if whole else None


def measure_rtt(seconds: Iterable[float]) -> Rtt:
    """Round trips in seconds, as the report has them."""
    times: Sequence[float] = sorted(second * 1000 for second in seconds)
    if not times:
        return Rtt()
    at_95 = times[min(len(times) - 1, int(len(times) * 0.95))]
    return Rtt(round(times[0], 3), round(statistics.median(times), 3), round(at_95, 3))
