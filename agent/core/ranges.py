"""One set of whole numbers for all rooms: ports, or addresses as integers, kept as ranges."""

from __future__ import annotations

from bisect import bisect_left
from typing import Iterable, Iterator, Tuple

Range = Tuple[int, int]  # the first and the last number, both included

# Beyond every number that is kept here: IPv6 addresses have 128 bits.
_BEYOND = 1 << 129


class RangeSet:
    """An immutable set of whole numbers; `ranges` are sorted, disjoint, and none adjoins another.

    `|`, `&` and `-` are union, intersection and difference; `in`, `len`, iteration and truth are those of the numbers.
    The cost of `&` and `-` follows the shorter operand and the result: one port of a large set is found at once.
    """

    __slots__ = ("ranges",)

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        """Join ranges given in any order, overlapping or not; one whose first number is beyond its last is empty."""
        merged: list[Range] = []
        for first, last in sorted(ranges):
            if first > last:
                continue
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        self.ranges: tuple[Range, ...] = tuple(merged)

    @staticmethod
    def of(numbers: Iterable[int]) -> RangeSet:
        """Return the set of single numbers, given in any order and as often as they like."""
        ordered = sorted(set(numbers))
        gaps = [index for index in range(1, len(ordered)) if ordered[index] != ordered[index - 1] + 1]
        bounds = zip([0, *gaps], [*gaps, len(ordered)])
        return _normal((ordered[begin], ordered[end - 1]) for begin, end in bounds if begin < end)

    def __or__(self, other: RangeSet) -> RangeSet:
        return RangeSet(self.ranges + other.ranges)

    def __and__(self, other: RangeSet) -> RangeSet:
        short, long = sorted((self.ranges, other.ranges), key=len)
        return _normal(
            (max(first, low), min(last, high)) for first, last in short for low, high in _meeting(long, first, last)
        )

    def __sub__(self, other: RangeSet) -> RangeSet:
        kept = list(self.ranges)
        for first, last in (self & other).ranges:  # each is a part of one of ours
            at = bisect_left(kept, (last + 1, -_BEYOND)) - 1
            low, high = kept[at]
            kept[at : at + 1] = [(low, high) for low, high in ((low, first - 1), (last + 1, high)) if low <= high]
        return _normal(kept)

    def isdisjoint(self, other: RangeSet) -> bool:
        """Return whether no number is in both sets."""
        return not self & other

    def __contains__(self, number: int) -> bool:
        return bool(_meeting(self.ranges, number, number))

    def __iter__(self) -> Iterator[int]:
        return (number for first, last in self.ranges for number in range(first, last + 1))

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"RangeSet({self.ranges!r})"


def _normal(ranges: Iterable[Range]) -> RangeSet:
    """Return the set of ranges that are sorted and disjoint already."""
    result = RangeSet()
    result.ranges = tuple(ranges)
    return result


def _meeting(ranges: tuple[Range, ...], first: int, last: int) -> tuple[Range, ...]:
    """Return those of sorted ranges that share a number with `first`..`last`."""
    low = bisect_left(ranges, (first, first))
    if low and ranges[low - 1][1] >= first:
        low -= 1
    return ranges[low : bisect_left(ranges, (last + 1, -_BEYOND), low)]
