"""Which ports are walked towards, and what the walk says of a finding: where a trace ends, not who ended it."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable, Mapping

from ..core.observation import Hop, Where
from ..core.plan import Transport
from ..core.report import Finding, State


def to_walk(findings: Iterable[Finding]) -> dict[Transport, int]:
    """For each transport of which something stopped ports before the server, the first of them."""
    ports: dict[Transport, int] = {}
    for one in filter(_is_stopped_before, findings):
        ports.setdefault(one.transport, one.ports.first)
    return ports


def with_hops(findings: Iterable[Finding], hops: Mapping[Transport, Hop | None]) -> tuple[Finding, ...]:
    """The findings, those that were walked towards with the farthest hop that still answered."""
    findings = tuple(findings)
    walked = to_walk(findings)
    return tuple(
        _with_hop(one, hops.get(one.transport)) if walked.get(one.transport) == one.ports.first else one
        for one in findings
    )


def _is_stopped_before(finding: Finding) -> bool:
    # A walk's packets are small: those that only large ones miss are passed.
    return finding.state is State.FILTERED and finding.where is Where.BEFORE_SERVER and not finding.only_small


def _with_hop(finding: Finding, hop: Hop | None) -> Finding:
    if hop is None:
        return finding
    return replace(finding, evidence=replace(finding.evidence, hops=hop.distance, last_hop=hop.address))
