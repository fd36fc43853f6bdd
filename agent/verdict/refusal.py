"""Infer what refused a run of ports from the few ICMP errors that came back from it.

ICMP errors are rate-limited: Linux sends six to one target at once and then one a second, so of a thousand ports that a
rule rejects perhaps ten return an error. A sweep's order is random, so these are a random draw of the ports that are
refused alike: a gap among them that chance does not explain is a run of ports that something else silences.
"""

from __future__ import annotations

import itertools
from typing import Iterable, Iterator, Sequence, TypeVar

from ..core.ports import port_ranges

# The share of stretches, rejected by one rule, that are split wrongly: a check has a handful of stretches, and the
# ports of a part that is split off wrongly are called filtered.
MAX_WRONG_SPLIT = 1e-5
# A single error may come from a rule for that port alone, or from a brief problem of a router.
MIN_ERRORS = 2
# Ports to probe from connected sockets where the system reports ICMP errors only on those; and how many runs of ports.
MAX_ASKED, MAX_RUNS = 20, 10

_Refuser = TypeVar("_Refuser")


def extend(errors: Sequence[_Refuser | None]) -> list[_Refuser | None]:
    """Return what refused each port of a stretch; None for a port that is silent as far as is known.

    `errors` has, for the ports in their order, all silent or refused, the sender of the error that came back, or None.
    Between ports with errors of different senders the stretch is split in the middle.
    """
    refused = list(errors)
    ports = [index for index, sender in enumerate(errors) if sender is not None]
    begin = 0
    groups = [list(group) for _, group in itertools.groupby(ports, lambda index: errors[index])]
    for group, after in itertools.zip_longest(groups, groups[1:]):
        end = (group[-1] + after[0] + 1) // 2 if after else len(errors)
        for first, last in _refused_parts(group, begin, end):
            refused[first:last] = [errors[group[0]]] * (last - first)
        begin = end
    return refused


def _refused_parts(ports: Sequence[int], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a stretch, `begin` to before `end`, that were refused throughout; `ports` returned errors."""
    pending = [(ports, begin, end)]
    while pending:
        ports, begin, end = pending.pop()
        if len(ports) < MIN_ERRORS:
            continue
        # Errors at the ends are no random draw: the ends of the plan's ranges are probed first, those of a part cut it.
        drawn = sum(begin < port < end - 1 for port in ports)
        # Silence lies between these: from the beginning, between two ports, to the end.
        marks = [begin - 1, *ports, end]
        gaps = [after - before - 1 for before, after in zip(marks, marks[1:])]
        cuts = [index for index, gap in enumerate(gaps) if too_long(gap, end - begin, drawn)]
        if not cuts and too_close(end - begin - gaps[0] - gaps[-1], end - begin, drawn):
            cuts = [0, len(ports)]
        if not cuts:
            yield begin, end
            continue
        for cut, upto in zip([-1, *cuts], [*cuts, None]):
            part = ports[max(cut, 0) : upto]
            if part:
                pending.append((part, begin if cut < 0 else part[0], end if upto is None else part[-1] + 1))


def too_long(gap: int, ports: int, errors: int) -> bool:
    """Return whether chance does not leave `gap` neighbours silent, where `errors` of a stretch's `ports` returned one.

    Each error misses a given gap with the chance 1 - gap / ports, and there are errors + 1 gaps.
    """
    return (errors + 1) * (1 - gap / ports) ** errors <= MAX_WRONG_SPLIT


def too_close(span: int, ports: int, errors: int) -> bool:
    """Return whether chance does not put all errors within `span` of a stretch's `ports`.

    One error is the first, and each of the others lies behind it in the span with the chance span / ports. No error, or
    a single one, is never too close.
    """
    return max(errors, 1) * (span / ports) ** max(errors - 1, 0) <= MAX_WRONG_SPLIT


def ports_to_ask(silent: Iterable[int]) -> list[int]:
    """Return up to MAX_ASKED silent ports: of the longest runs, the first and the last and some between."""
    longest = sorted(port_ranges(silent), key=len, reverse=True)[:MAX_RUNS]
    steps = MAX_ASKED // len(longest) - 1 if longest else 0
    return sorted({run.first + (len(run) - 1) * step // steps for run in longest for step in range(steps + 1)})
