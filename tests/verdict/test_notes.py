"""What is noted of limits that a check got along with."""

from __future__ import annotations

import random

import pytest

from agent.core.observation import Reason
from agent.sweep.limit import Limit
from agent.sweep.sweep import Sweep
from agent.verdict.notes import of_limit

# Limits, by their numbers: who changes one changes it here too.
NOTABLE_RATE = 3000


class Met(Sweep):
    """A sweep that met a limit."""

    def __init__(self, limit: Limit | None, conclusive: bool = True) -> None:
        super().__init__([], random.Random(1), 0.02, 0.0)
        self.conclusive, self._recovery.limit = conclusive, limit


@pytest.mark.parametrize(
    ("limit", "note"),
    [
        (Limit(Reason.RATE_LIMIT, rate=1234.4),
         "Something on the path lets only about 1,234 packets a second pass; the check kept to that."),
        (Limit(Reason.RATE_LIMIT, rate=NOTABLE_RATE), None),  # nobody would notice
        (Limit(Reason.RATE_LIMIT), None),
        (Limit(Reason.FLOW_LIMIT, flows=3000, seconds=31.0),
         "A connection-tracking table on the path has room for only about 3,000 connections; the check kept to that."),
        (Limit(Reason.SCAN_BLOCK, rate=500.0, seconds=1061.4),
         "Something on the path blocked this computer for 1,061 s, as scan protection does."),
        (None, None),
    ],
)  # fmt: skip
def test_a_limit_that_the_check_got_along_with_is_noted(limit: Limit | None, note: str | None) -> None:
    assert list(of_limit(Met(limit))) == ([note] if note else [])
    assert list(of_limit(Met(limit, conclusive=False))) == []  # then it is the reason of a finding
    assert list(of_limit(None)) == []
