"""Findings of one cause together, as people are told of them."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Mapping, Sequence

from .observation import Reason
from .ports import PortRange
from .report import BLOCKED, Finding, State


@dataclass(frozen=True)
class FindingGroup:
    """Findings that are not open for one cause."""

    number: int  # of the first of them
    findings: tuple[Finding, ...]
    extent: tuple[
        PortRange, ...
    ]  # their ports, joined over those between them that a sample left out, or somebody holds
    sampled: bool = False  # a sample left out neighbours of theirs, so that nobody knows how far this reaches

    @property
    def first(self) -> Finding:
        """Return one of them: they differ in their ports, and where nothing is blocked in their purposes."""
        return self.findings[0]

    @property
    def ports(self) -> tuple[PortRange, ...]:
        """Return all their ports."""
        return tuple(finding.ports for finding in self.findings)

    def __len__(self) -> int:
        return sum(map(len, self.ports))


_CAUSE = operator.attrgetter("transport", "state", "where", "by", "reason", "owner", "shown", "icmp", "interceptor")


def group_findings(findings: Sequence[Finding]) -> list[FindingGroup]:
    """Group the findings that are not open by cause; blocked ones by their purpose too."""
    groups: dict[object, list[int]] = {}
    for number, finding in enumerate(findings):
        if finding.state is not State.OPEN:
            purpose = finding.purpose if finding.state in BLOCKED else None
            groups.setdefault((purpose, *_CAUSE(finding)), []).append(number)
    before, beside = _find_gaps(findings)
    return [
        FindingGroup(numbers[0], tuple(findings[number] for number in numbers), _extent(findings, numbers, before),
                     not beside.isdisjoint(numbers))
        for numbers in groups.values()
    ]  # fmt: skip


def _find_gaps(findings: Sequence[Finding]) -> tuple[dict[int, int], set[int]]:
    """Return for the number of each finding behind a gap that of the last one before it; and the numbers beside gaps.

    Gaps are what a sample left out, or somebody holds; only the first kind has a beside.
    """
    before: dict[int, int] = {}
    beside: set[int] = set()
    tried: int | None = None
    for number, finding in enumerate(findings):
        prior = findings[number - 1] if number else None
        if prior is None or (prior.transport, prior.ports.last + 1) != (
            finding.transport,
            finding.ports.first,
        ):
            tried = None
        elif finding.unsampled or prior.unsampled:
            beside.update((number - 1, number))
        if finding.unsampled or finding.reason is Reason.BUSY:
            continue
        if tried is not None:
            before[number] = tried
        tried = number if finding.state is not State.UNTESTED else None  # the server has told all of these
    return before, beside


def _extent(findings: Sequence[Finding], numbers: Sequence[int], before: Mapping[int, int]) -> tuple[PortRange, ...]:
    """Return the ports of these findings, joined over gaps."""
    joined: list[PortRange] = []
    for last, number in zip([-1, *numbers], numbers):
        ports = findings[number].ports
        joined.append(PortRange(joined.pop().first, ports.last) if before.get(number) == last else ports)
    return tuple(joined)
