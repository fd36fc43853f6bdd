"""Port numbers, runs of them, and the grammar in which users write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator

from .errors import UsageError

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
        """Whether the two runs share a port."""
        return self.first <= other.last and other.first <= self.last

    def without(self, other: PortRange) -> list[PortRange]:
        """What of this run is not in the other."""
        ends = (self.first, min(self.last, other.first - 1)), (max(self.first, other.last + 1), self.last)
        return [PortRange(first, last) for first, last in ends if first <= last]


def parse_ports(text: str) -> tuple[PortRange, ...]:
    """Read a list such as `80,443,7000-7010`, or `none`, into sorted runs.

    Raises UsageError, which shows the offending piece, for anything else: an empty item, a port outside 1 to 65535, a
    reversed range, a port that is named twice.
    """
    if text.strip() == "none":
        return ()
    items = text.split(",")
    if len(items) > MAX_ITEMS:
        raise UsageError(f"too many ports in a list of {len(items)} items", f"at most {MAX_ITEMS} are read",
                         "write neighbours as a range: 50000-60000")  # fmt: skip
    ranges = sorted(_parse_item(item.strip(), text) for item in items)
    for before, after in zip(ranges, ranges[1:]):
        if before.overlaps(after):
            raise UsageError(f"port list '{text}'", f"'{after}' names ports that '{before}' has already",
                             "name each port once")  # fmt: skip
    return tuple(ranges)


def _parse_item(item: str, text: str) -> PortRange:
    hint = "write ports as 80,443,7000-7010, or none"
    if not item:
        raise UsageError(f"port list '{text}'", "an item between the commas is empty", hint)
    ends = item.split("-")
    if len(ends) > 2 or not all(end.isascii() and end.isdigit() for end in ends):
        raise UsageError(f"port list '{text}'", f"'{item}' is neither a port nor a range of ports", hint)
    for end in ends:
        # The length first: int() of thousands of digits is slow, and newer Pythons refuse it.
        digits = end.lstrip("0") or "0"
        if len(digits) > len(str(HIGHEST)) or not LOWEST <= int(digits) <= HIGHEST:
            raise UsageError(f"port list '{text}'", f"'{item}' is outside {LOWEST} to {HIGHEST}", hint)
    first, last = (int(end.lstrip("0")) for end in (ends[0], ends[-1]))
    if first > last:
        raise UsageError(f"port list '{text}'", f"the range '{item}' runs backwards", f"write {last}-{first}")
    return PortRange(first, last)


def runs(ports: Iterable[int]) -> tuple[PortRange, ...]:
    """Join single ports, in any order, into the fewest runs."""
    found: list[PortRange] = []
    first = last = 0
    for port in sorted(set(ports)):
        if first and port == last + 1:
            last = port
            continue
        if first:
            found.append(PortRange(first, last))
        first = last = port
    if first:
        found.append(PortRange(first, last))
    return tuple(found)


def list_ports(ranges: Iterable[PortRange], transport: str, most: int = MAX_LISTED) -> str:
    """Runs as people read them, joined and in order: `80, 443, 7000-7010/tcp`; past `most`, how many more there are."""
    joined = runs(port for run in ranges for port in run)
    named = ", ".join(map(str, joined[:most])) + f"/{transport}"
    more = len(joined) - most
    return f"{named} and {more:,} more runs" if more > 0 else named
