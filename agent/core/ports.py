"""Port numbers, ranges and sets of them, and the grammar in which users write them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Iterable, Iterator, TypeVar

from .errors import UsageError
from .ranges import RangeSet

LOWEST, HIGHEST = 1, 65535
# A list that somebody types has a few items; a plan of two such lists has to fit into a line of the control channel.
MAX_ITEMS = 500
# Runs named in a sentence; who needs each of a thousand reads the JSON.
MAX_LISTED = 12


@dataclass(frozen=True, order=True)
class PortRange:
    """A run of ports, both ends included: 1 <= first <= last <= 65535; ValueError where that does not hold."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not LOWEST <= self.first <= self.last <= HIGHEST:
            raise ValueError(f"not a run of ports: {self.first}-{self.last}")

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def overlaps(self, other: PortRange) -> bool:
        """Return whether the two ranges share a port."""
        return self.first <= other.last and other.first <= self.last


def parse_ports(text: str) -> tuple[PortRange, ...]:
    """Read a list such as `80,443,7000-7010`, or `none`, into sorted runs; UsageError shows what is wrong in it."""
    if text.strip() == "none":
        return ()
    items = text.split(",")
    if len(items) > MAX_ITEMS:
        raise UsageError(f"too many ports in a list of {len(items)} items", f"at most {MAX_ITEMS} are read",
                         "write neighbours as a range: 50000-60000")  # fmt: skip
    ranges = sorted(_parse_item(item.strip(), text) for item in items)
    twice = find_overlap(ranges)
    if twice:
        raise UsageError(f"port list '{text}'", f"'{twice[1]}' names ports that '{twice[0]}' has already",
                         "name each port once")  # fmt: skip
    return tuple(ranges)


def _parse_item(item: str, text: str) -> PortRange:
    hint = "write ports as 80,443,7000-7010, or none"
    if not item:
        raise UsageError(f"port list '{text}'", "an item between the commas is empty", hint)
    ends = item.split("-")
    if len(ends) > 2 or not all(end.isascii() and end.isdigit() for end in ends):
        raise UsageError(f"port list '{text}'", f"'{item}' is neither a port nor a range of ports", hint)
    # Six digits are too many: int() of thousands is slow, and newer Pythons refuse it.
    first, last = (int(end.lstrip("0")[:6] or "0") for end in (ends[0], ends[-1]))
    if not (LOWEST <= first <= HIGHEST and LOWEST <= last <= HIGHEST):
        raise UsageError(f"port list '{text}'", f"'{item}' is outside {LOWEST} to {HIGHEST}", hint)
    if first > last:
        raise UsageError(f"port list '{text}'", f"the range '{item}' runs backwards", f"write {last}-{first}")
    return PortRange(first, last)


def find_overlap(ranges: Iterable[PortRange]) -> tuple[PortRange, PortRange] | None:
    """Return two ranges that share a port; None where no port is in two of them."""
    ordered = sorted(ranges)
    return next((pair for pair in zip(ordered, ordered[1:]) if pair[0].overlaps(pair[1])), None)


def port_set(ranges: Iterable[PortRange]) -> RangeSet:
    """Return the ports of some ranges as one set, for unions, intersections and differences."""
    return RangeSet((ports.first, ports.last) for ports in ranges)


def port_ranges(ports: Iterable[int]) -> tuple[PortRange, ...]:
    """Return the fewest ranges that have these ports, given in any order; of a RangeSet its own."""
    joined = ports if isinstance(ports, RangeSet) else RangeSet.of(ports)
    return tuple(PortRange(first, last) for first, last in joined.ranges)


_Value = TypeVar("_Value")


def ranges_by_value(values: Iterable[tuple[int, _Value]]) -> Iterator[tuple[PortRange, _Value]]:
    """Join neighbouring ports that have the same value; the ports have to come in ascending order."""
    # What grows with the place in the row as it does is without a gap.
    grouped = itertools.groupby(enumerate(values), lambda row: (row[1][0] - row[0], row[1][1]))
    for (_, value), group in grouped:
        ports = [port for _, (port, _) in group]
        yield PortRange(ports[0], ports[-1]), value


def list_ports(ranges: Iterable[PortRange], transport: str, most: int = MAX_LISTED) -> str:
    """Return ranges as people read them, joined and in order: `80, 443, 7000-7010/tcp`; past `most`, how many more."""
    joined = port_ranges(port_set(ranges))
    named = ", ".join(map(str, joined[:most])) + f"/{transport}"
    more = len(joined) - most
    return f"{named} and {more:,} more runs" if more > 0 else named
