from __future__ import annotations

from agent.server.limits import TokenBucket


def test_many_at_once_and_then_as_fast_as_the_rate_lets() -> None:
    ration = TokenBucket(3, 2.0)
    assert [ration.consume(10.0) for _ in range(5)] == [True, True, True, False, False]
    assert [ration.consume(10.4), ration.consume(10.5), ration.consume(10.6)] == [False, True, False]
    assert [ration.consume(1000.0) for _ in range(5)] == [True, True, True, False, False]
