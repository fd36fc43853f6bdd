from __future__ import annotations

from typing import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.ranges import RangeSet
from tests.core.values import ANY

# Few numbers, so that ranges meet, adjoin and cover each other.
RANGES = st.lists(st.tuples(st.integers(-3, 40), st.integers(-3, 40)), max_size=12)


def numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def pairs(ranges: RangeSet) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    return zip(ranges.ranges, ranges.ranges[1:])


@ANY
@given(RANGES, RANGES)
def test_it_is_the_same_as_a_plain_set(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    left, right = RangeSet(one), RangeSet(other)
    plain, others = numbers(one), numbers(other)
    for result, expected in (
        (left, plain), (left | right, plain | others), (left & right, plain & others), (left - right, plain - others),
    ):  # fmt: skip
        assert list(result) == sorted(expected)
        assert (len(result), bool(result)) == (len(expected), bool(expected))
        assert all(before[1] + 1 < after[0] for before, after in pairs(result))
        assert result == RangeSet.of(expected)
        assert hash(result) == hash(RangeSet.of(expected))
        assert [number in result for number in range(-5, 43)] == [number in expected for number in range(-5, 43)]
    assert left.isdisjoint(right) is plain.isdisjoint(others)
    assert (left == right) is (plain == others)


def test_addresses_of_ipv6_fit() -> None:
    everything = RangeSet([(0, 2**128 - 1)])
    assert (everything - RangeSet([(1, 2**128 - 2)])).ranges == ((0, 0), (2**128 - 1, 2**128 - 1))
    assert everything - everything == RangeSet()
    assert 2**128 - 1 in everything


def test_it_is_no_set_of_another_kind() -> None:
    assert RangeSet([(1, 2)]) != {1, 2}
    assert repr(RangeSet([(1, 2), (3, 4)])) == "RangeSet(((1, 4),))"
    with pytest.raises(AttributeError):
        RangeSet().other = 1  # type: ignore[attr-defined]
