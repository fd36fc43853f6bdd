"""Findings of one cause together, as people are told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from .observation import Reason
from .ports import PortRange
from .report import BLOCKED, Finding, State


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
        """Return one of them: they differ in their ports, and where nothing is blocked in their purposes."""
        return self.findings[0]

    @property
    def ports(self) -> tuple[PortRange, ...]:
        """Return all their ports."""
        return tuple(finding.ports for finding in self.findings)

    def __len__(self) -> int:
        return sum(map(len, self.ports))


def group_findings(findings: Sequence[Finding]) -> list[FindingGroup]:
    """Group the findings that are not open by cause; blocked ones by their purpose too."""
    groups: dict[object, list[int]] = {}
    for number, finding in enumerate(findings):
        if finding.state is not State.OPEN:
            purpose = finding.purpose if finding.state in BLOCKED else None
            why = (
                finding.where,
                finding.by,
                finding.reason,
                finding.owner,
                finding.shown,
                finding.icmp,
                finding.interceptor,
            )
            cause = (finding.transport, purpose, finding.state, *why)
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
        for number, finding in enumerate(findings):
            neighbour = findings[number - 1] if number and _adjoin(findings[number - 1], finding) else None
            if neighbour is None:
                tried = None
            elif finding.unsampled or neighbour.unsampled:
                self._beside.update((number - 1, number))
            if finding.unsampled or finding.reason is Reason.BUSY:
                continue
            if tried is not None:
                self._before[number] = tried
            tried = number if finding.state is not State.UNTESTED else None  # the server has told all of these

    def extent(self, numbers: Sequence[int]) -> tuple[PortRange, ...]:
        """Return the ports of these findings, joined over gaps."""
        joined: list[PortRange] = []
        for before, number in zip([-1, *numbers], numbers):
            ports = self._findings[number].ports
            if self._before.get(number) == before:
                ports = PortRange(joined.pop().first, ports.last)
            joined.append(ports)
        return tuple(joined)

    def beside(self, numbers: Sequence[int]) -> bool:
        """Return whether one of these findings lies at a gap."""
        return not self._beside.isdisjoint(numbers)


def _adjoin(finding: Finding, other: Finding) -> bool:
    return finding.transport is other.transport and finding.ports.last + 1 == other.ports.first
