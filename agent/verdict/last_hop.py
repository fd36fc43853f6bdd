"""Choose the ports to trace the route to, and add to their findings the last router that answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable, Mapping

from ..core.observation import Hop, Where
from ..core.plan import Transport
from ..core.report import Finding, State


def ports_to_trace(findings: Iterable[Finding]) -> dict[Transport, int]:
    """Return, for each transport with ports blocked before the server, the first of them."""
    ports: dict[Transport, int] = {}
    for finding in filter(_is_blocked_before, findings):
        ports.setdefault(finding.transport, finding.ports.first)
    return ports


def with_last_hops(findings: Iterable[Finding], hops: Mapping[Transport, Hop | None]) -> tuple[Finding, ...]:
    """Return the findings, those that were traced with the last hop that answered: the cause is there or behind it."""
    findings = tuple(findings)
    traced = ports_to_trace(findings)
    return tuple(
        _with_hop(finding, hops.get(finding.transport))
        if traced.get(finding.transport) == finding.ports.first
        else finding
        for finding in findings
    )


def _is_blocked_before(finding: Finding) -> bool:
    # A trace's packets are small: they pass where only large ones are dropped.
    return finding.state is State.FILTERED and finding.where is Where.BEFORE_SERVER and not finding.only_small


def _with_hop(finding: Finding, hop: Hop | None) -> Finding:
    if hop is None:
        return finding
    return replace(finding, evidence=replace(finding.evidence, hops=hop.distance, last_hop=hop.address))
