"""What came of many networks, as the table in RESULT.md."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Iterable, Sequence

from tests.simulation.result import Result
from tests.simulation.weather import KINDS

PATH = Path(__file__).parent / "RESULT.md"

HEAD = """\
# What the sweep makes of random networks

The client's own sweep and verdicts on a virtual clock, over networks drawn at random: `weather.py` says of what.
Wrong is a port called open that was blocked, or filtered that was open. `{command} --write` makes this anew.
Not drawn, as nobody outside can tell it from a shut server: a limit where fewer than one port in a hundred is open, and
a stall of UDP alone, not of the control channel, that begins before the first answers and lasts more than 4 seconds.

| network | networks | verdicts | wrong | unknown | seconds, median | seconds, 95 % |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def render(results: Sequence[Result]) -> str:
    """The table: a row for each kind of network, and one for all."""
    command = f"python3 -m tests.simulation --seed {results[0].seed} --networks {len(results)}"
    rows = [_row(kind, [one for one in results if one.kind == kind]) for kind in KINDS]
    return HEAD.format(command=command) + "".join([*rows, _row("**all**", results)]) + _reasons(results)


def _row(name: str, results: Sequence[Result]) -> str:
    if not results:
        return ""
    ports, unknown = sum(one.ports for one in results), sum(one.unknown for one in results)
    seconds = [one.seconds for one in results]
    cells = (
        name,
        f"{len(results):,}",
        f"{ports:,}",
        f"{sum(len(one.wrong) for one in results):,}",
        f"{unknown:,} ({unknown / ports:.2%})",
        f"{statistics.median(seconds):.1f}",
        f"{_at_95(seconds):.1f}",
    )
    return f"| {' | '.join(cells)} |\n"


def _at_95(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def _reasons(results: Sequence[Result]) -> str:
    """Why ports stayed unknown, by the kind of network."""
    reasons = sorted({reason for one in results for reason in one.reasons})
    if not reasons:
        return ""
    lines = ["\nUnknown ports, by reason:\n", f"| network | {' | '.join(reasons)} |"]
    lines.append(f"| --- |{' ---: |' * len(reasons)}")
    for kind in KINDS:
        counts: Counter[str] = Counter()
        for one in results:
            if one.kind == kind:
                counts.update(one.reasons)
        if counts:
            lines.append(f"| {kind} | {' | '.join(f'{counts[reason]:,}' for reason in reasons)} |")
    return "\n".join(lines) + "\n"
