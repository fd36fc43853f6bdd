from __future__ import annotations

import pytest

from agent.core.counters import Counters


@pytest.mark.parametrize(
    ("earlier", "now", "difference"),
    [
        (5, 5, 0),
        (5, 12, 7),
        (5, 4, None),  # it passed its end, or began anew
        (None, 5, None),
        (5, None, None),
        (None, None, None),
        (0, 1_000_000_005, 1_000_000_000),
    ],
)
def test_what_was_dropped_meanwhile(earlier: int | None, now: int | None, difference: int | None) -> None:
    assert Counters(now, 3).since(Counters(earlier, 1)) == Counters(difference, 2)
    assert Counters(listen_drops=now).since(Counters(listen_drops=earlier)) == Counters(listen_drops=difference)
    assert Counters(slow_turns=now).since(Counters(slow_turns=earlier)) == Counters(slow_turns=difference)
    assert Counters(3, now).since(Counters(1, earlier)) == Counters(2, difference)
