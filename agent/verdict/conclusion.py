"""Conclude the verdict: of one address from its findings, of a check from its addresses."""

from __future__ import annotations

from typing import Iterable

from ..core.plan import Need
from ..core.report import BLOCKED, Finding, State, Verdict


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Return `fail` where a required port is blocked, `pass` where every one is open, else `inconclusive`."""
    states = {finding.state for finding in findings if finding.need is Need.REQUIRED}
    if states & BLOCKED:
        return Verdict.FAIL
    return Verdict.PASS if states == {State.OPEN} else Verdict.INCONCLUSIVE


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of a check: `fail` where one address fails, `pass` where all pass, else `inconclusive`."""
    distinct = set(verdicts)
    if Verdict.FAIL in distinct:
        return Verdict.FAIL
    return Verdict.PASS if distinct == {Verdict.PASS} else Verdict.INCONCLUSIVE
