"""Who refused a run of ports, where ICMP errors told it of some of them.

Errors are limited: Linux sends six to one target at once and then one a second, so of a thousand ports that a rule
rejects perhaps ten tell. A sweep's order is random, so these are a random draw of the ports that are refused alike: a
gap among them that chance does not make is a run of ports that something else keeps silent.
"""

from __future__ import annotations

import itertools
from typing import Iterable, Iterator, Sequence, TypeVar

from ..core.ports import port_ranges

# Of a hundred thousand stretches that one rule rejects so many are split in vain: a check has a handful of them, and
# where silence is split off in vain its ports are called filtered, which is wrong.
MAX_IN_VAIN = 1e-5
# One port that tells may be one that a rule of its own names, or a router's passing trouble.
LEAST_TOLD = 2
# Where the system tells of an error only on a socket that is connected to the port, so many are tried, of so many runs.
MAX_ASKED, MAX_RUNS = 20, 10

_Refuser = TypeVar("_Refuser")


def extend(told: Sequence[_Refuser | None]) -> list[_Refuser | None]:
    """Who refused each port of a stretch; None for one that is silent for all that is known.

    `told` are the same before: the ports in their order, all silent or refused, each with who told so. Between two
    that tell of different refusers the stretch is split in its middle.
    """
    refused = list(told)
    ports = [number for number, one in enumerate(told) if one is not None]
    begin = 0
    groups = [list(group) for _, group in itertools.groupby(ports, lambda number: told[number])]
    for group, after in itertools.zip_longest(groups, groups[1:]):
        end = (group[-1] + after[0] + 1) // 2 if after else len(told)
        for first, last in _alike(group, begin, end):
            refused[first:last] = [told[group[0]]] * (last - first)
        begin = end
    return refused


def _alike(told: Sequence[int], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a stretch, `begin` to before `end`, that one refuser refused throughout, as these ports told."""
    pending = [(told, begin, end)]
    while pending:
        told, begin, end = pending.pop()
        if len(told) < LEAST_TOLD:
            continue
        # Ends tell for other reasons than chance: those of the plan's ranges are tried first, those of a part cut it.
        drawn = sum(begin < one < end - 1 for one in told)
        # From one mark to the next there is silence: from the beginning, between two ports, to the end.
        marks = [begin - 1, *told, end]
        gaps = [after - before - 1 for before, after in zip(marks, marks[1:])]
        cuts = [number for number, gap in enumerate(gaps) if too_long(gap, end - begin, drawn)]
        if not cuts and too_close(end - begin - gaps[0] - gaps[-1], end - begin, drawn):
            cuts = [0, len(told)]
        if not cuts:
            yield begin, end
            continue
        for cut, upto in zip([-1, *cuts], [*cuts, None]):
            part = told[max(cut, 0) : upto]
            if part:
                pending.append((part, begin if cut < 0 else part[0], end if upto is None else part[-1] + 1))


def too_long(gap: int, ports: int, told: int) -> bool:
    """Whether chance does not leave so many neighbours silent, where so many of a stretch's ports told of a refusal.

    Each of the `told` misses a given gap with the chance 1 - gap / ports, and there are told + 1 gaps.
    """
    return (told + 1) * (1 - gap / ports) ** told <= MAX_IN_VAIN


def too_close(span: int, ports: int, told: int) -> bool:
    """Whether chance does not put all of the ports that told so close together: from the first to the last are `span`.

    One of them is the first, and each of the others lies behind it in the span with the chance span / ports. No port
    or one is never too close.
    """
    return max(told, 1) * (span / ports) ** max(told - 1, 0) <= MAX_IN_VAIN


def to_ask(silent: Iterable[int]) -> list[int]:
    """Of each run of silent ports, the longest first, the first and the last and some between: MAX_ASKED in all."""
    longest = sorted(port_ranges(silent), key=len, reverse=True)[:MAX_RUNS]
    steps = MAX_ASKED // len(longest) - 1 if longest else 0
    return sorted({run.first + (len(run) - 1) * step // steps for run in longest for step in range(steps + 1)})
