"""Join the observations of one address into findings: runs of ports with one state and one cause."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any, Iterable, Mapping, Sequence

from ..core.counters import Counters
from ..core.observation import Observation, Reason, Where
from ..core.plan import Plan, Requirement, Transport
from ..core.ports import PortRange
from ..core.report import Evidence, Finding, State
from .conditions import Cause, Conditions
from .neighbours import unify_neighbours
from .service_state import chance_of_silence
from .state import classify
from .tcp_state import is_stopped

Observations = Mapping[Transport, Mapping[int, Observation]]


def build_findings(plan: Plan, observations: Observations, conditions: Conditions) -> tuple[Finding, ...]:
    """Return the findings of one address, in the plan's order: every planned port is in exactly one."""
    tcp = observations.get(Transport.TCP, {}).values()
    closed = [port for port in tcp if port.accepted_before and is_stopped(port)]
    conditions = replace(conditions, closed=(*conditions.closed, *closed))
    findings = [
        finding
        for row in plan.requirements
        for finding in _findings_of(row, observations[row.transport], conditions)
    ]  # fmt: skip
    findings = _with_chance(findings, conditions.chance, of_large=False)
    return tuple(_with_chance(findings, conditions.chance_of_large, of_large=True))


def _findings_of(row: Requirement, observations: Mapping[int, Observation], conditions: Conditions) -> list[Finding]:
    ports = [observations[port] for port in row.ports]
    causes = [classify(port, conditions) for port in ports]
    if row.transport is Transport.UDP:
        causes = unify_neighbours(ports, causes, conditions)
    causes = [_without_spoofed_sender(cause, conditions) for cause in causes]
    findings = []
    for cause, group in groupby(range(len(ports)), key=causes.__getitem__):
        findings.append(_finding(row, [ports[index] for index in group], cause, conditions))
    return findings


def _without_spoofed_sender(cause: Cause, conditions: Conditions) -> Cause:
    """Drop the server as the sender where its packets never came: something before it refused them in its name."""
    spoofed = cause.where is Where.BEFORE_SERVER and cause.by == conditions.address
    return replace(cause, by=None) if spoofed and cause.by else cause


def _with_chance(findings: list[Finding], chance: float | None, of_large: bool) -> list[Finding]:
    """Share out the expected number of ports that loss alone silenced among the findings that it may have made."""

    def may_be_chance(finding: Finding) -> bool:
        filtered = finding.transport is Transport.UDP and finding.state is State.FILTERED
        return filtered and finding.evidence.chance is None and finding.only_small is of_large

    silent = sum(len(finding.ports) for finding in findings if may_be_chance(finding))
    if chance is None or not silent:
        return findings
    return [
        replace(finding, evidence=replace(finding.evidence, chance=chance / silent * len(finding.ports)))
        if may_be_chance(finding)
        else finding
        for finding in findings
    ]


def _finding(row: Requirement, ports: Sequence[Observation], cause: Cause, conditions: Conditions) -> Finding:
    # Drops may explain silence; beside any other state they would be noise.
    may_explain = cause.state in (State.FILTERED, State.UNKNOWN)
    counters = _counters_of(row.transport, conditions.counters) if may_explain else Counters()
    evidence = Evidence(
        _total(port.sent for port in ports),
        _total(port.at_interface for port in ports),
        _total(port.at_socket for port in ports),
        _total(port.answered for port in ports),
        answers_sent=_total(port.answers_sent for port in ports),
        **vars(counters),
        errors=_total(port.errors for port in ports),
        chance=_chance_of_services(ports, conditions.loss) if cause.state is State.FILTERED else None,
        **_measured_limit(ports[0], cause, conditions),
    )
    run = PortRange(ports[0].port, ports[-1].port)
    return Finding(row.transport, run, row.need, row.purpose, **vars(cause), evidence=evidence)


def _chance_of_services(ports: Sequence[Observation], loss: float) -> float | None:
    """Return how many of these ports loss alone may have silenced; None where not all were tested through services."""
    if any(port.service is None or port.transport is Transport.TCP for port in ports):
        return None
    return sum(chance_of_silence(port.answers_sent or port.sent or 0, loss) for port in ports)


def _counters_of(transport: Transport, counters: Counters) -> Counters:
    of_tcp = Counters(listen_drops=counters.listen_drops, slow_turns=counters.slow_turns)
    return of_tcp if transport is Transport.TCP else replace(counters, listen_drops=None, slow_turns=None)


def _measured_limit(port: Observation, cause: Cause, conditions: Conditions) -> dict[str, Any]:
    """Return what was measured of the limit on small probes, where that is what kept the port from a verdict."""
    limit = conditions.limit
    of_connections = port.transport is Transport.TCP and cause.reason is Reason.RATE_LIMIT
    if limit is None or cause.reason is not limit.reason or of_connections or port.only_small:
        return {}
    return {"rate": _tenths(limit.rate), "flows": limit.flows, "seconds": _tenths(limit.seconds)}


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)  # more was not measured


def _total(counts: Iterable[int | None]) -> int | None:
    """Return the sum of what was measured; None where nothing was."""
    measured = [count for count in counts if count is not None]
    return sum(measured) if measured else None
