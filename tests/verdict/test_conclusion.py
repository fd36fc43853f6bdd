"""From findings to verdicts."""

from __future__ import annotations

import pytest

from agent.core.plan import Need
from agent.core.ports import PortRange
from agent.core.report import Finding, State, Verdict
from agent.verdict.conclusion import verdict_of, worst
from tests.verdict.ports import UDP

R, RECOMMENDED = Need.REQUIRED, Need.RECOMMENDED


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([(R, State.OPEN)], Verdict.PASS),
        ([(R, State.OPEN), (RECOMMENDED, State.FILTERED)], Verdict.PASS),
        ([(R, State.OPEN), (Need.OPTIONAL, State.UNKNOWN)], Verdict.PASS),
        ([(R, State.OPEN), (R, State.FILTERED)], Verdict.FAIL),
        ([(R, State.OPEN), (R, State.REJECTED)], Verdict.FAIL),
        ([(R, State.OPEN), (R, State.INTERCEPTED)], Verdict.FAIL),
        ([(R, State.UNKNOWN), (R, State.FILTERED)], Verdict.FAIL),
        ([(R, State.OPEN), (R, State.UNTESTED)], Verdict.INCONCLUSIVE),
        ([(R, State.OPEN), (R, State.UNKNOWN)], Verdict.INCONCLUSIVE),
        ([(RECOMMENDED, State.OPEN)], Verdict.INCONCLUSIVE),
        ([], Verdict.INCONCLUSIVE),
    ],
)
def test_the_verdict_of_findings(found: list[tuple[Need, State]], verdict: Verdict) -> None:
    findings = [Finding(UDP, PortRange(1, 1), need, "what for", state) for need, state in found]
    assert verdict_of(findings) is verdict


P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741


@pytest.mark.parametrize(
    ("verdicts", "verdict"), [([P], P), ([P, P], P), ([P, F], F), ([I, F], F), ([P, I], I), ([I], I), ([], I)]
)
def test_the_verdict_of_all_addresses_is_the_worst(verdicts: list[Verdict], verdict: Verdict) -> None:
    assert worst(verdicts) is verdict
