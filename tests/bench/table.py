"""The results as a Markdown table."""

from __future__ import annotations

import math
import statistics
from typing import Mapping, Sequence

from tests.bench.cases import Case
from tests.bench.measure import Run
from tests.bench.tools import Tool

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
NOT_RUN = "–"
CORNER = "time, wrong ports, packets sent"


def table(
    tools: Sequence[Tool], cases: Sequence[Case], runs: Mapping[tuple[str, str], Sequence[Run]], limit: float
) -> str:
    """A row for each tool, a column for each case; `runs` is by the names of both."""
    rows = [[CORNER, *(case.title for case in cases)], ["---"] * (1 + len(cases))]
    for tool in tools:
        rows.append([tool.title, *(cell(runs.get((tool.name, case.name), ()), limit) for case in cases)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def cell(runs: Sequence[Run], limit: float) -> str:
    """Medians; of wrong verdicts the least and the most, since one bad run in three is no good tool."""
    if not runs:
        return NOT_RUN
    for run in runs:
        if run.failure:
            return run.failure.replace("|", "/")
    seconds = statistics.median(run.seconds for run in runs)
    if math.isinf(seconds):
        return f"> {limit:g} s"
    ended = [run for run in runs if not math.isinf(run.seconds)]
    parts = [in_seconds(seconds), f"{spread([run.wrong for run in ended])} wrong"]
    if any(run.unknown for run in ended):
        parts.append(f"{spread([run.unknown for run in ended])} unknown")
    parts.append(f"{statistics.median_low([run.packets for run in ended]):,} packets")
    return ", ".join(parts)


def in_seconds(seconds: float) -> str:
    """With as many digits as mean something."""
    return f"{seconds:.{2 if seconds < 1 else 1 if seconds < 10 else 0}f} s"


def spread(counts: Sequence[int]) -> str:
    """`3`, or `3-1,200` where they differ."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def replaced(text: str, results: str) -> str:
    """The text with the results in place of what was between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no {BEGIN} and {END}")
    return f"{before}{begin}\n\n{results}\n{end}{after}"
