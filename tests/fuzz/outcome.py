"""What came of trying one target, and how a run is written down."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

CRASHES = Path(__file__).with_name("crashes")
RESULT = Path(__file__).with_name("RESULT.md")


@dataclass(frozen=True)
class Outcome:
    """`coverage` are the edges of the program that were reached, None where nobody counted; `crashes` are files."""

    target: str
    inputs: int
    seconds: float
    coverage: int | None
    crashes: tuple[str, ...] = ()


def crash_files(target: str) -> list[Path]:
    """The inputs that broke a target, now or at any time."""
    return sorted(one for one in (CRASHES / target).glob("*") if one.is_file())


HEAD = """| target | inputs | seconds | inputs a second | edges reached | crashes |
| --- | ---: | ---: | ---: | ---: | ---: |"""


def row(one: Outcome) -> str:
    """A line of the table."""
    rate = one.inputs / max(one.seconds, 0.001)
    edges = "-" if one.coverage is None else f"{one.coverage:,}"
    cells = (one.target, f"{one.inputs:,}", f"{one.seconds:,.0f}", f"{rate:,.0f}", edges, str(len(one.crashes)))
    return f"| {' | '.join(cells)} |"


def whole(outcomes: Sequence[Outcome]) -> str:
    """The last line of the table."""
    crashes = tuple(crash for one in outcomes for crash in one.crashes)
    total = Outcome("**all**", sum(one.inputs for one in outcomes), sum(one.seconds for one in outcomes), None, crashes)
    return row(total)


def document(outcomes: Sequence[Outcome], how: str) -> str:
    """The run as RESULT.md has it."""
    date, python = time.strftime("%Y-%m-%d", time.gmtime()), platform.python_version()
    inputs = sum(one.inputs for one in outcomes)
    return "\n".join((
        "# What the decoders make of any bytes",
        "",
        f"{inputs:,} inputs, {how}, Python {python}, {date}. A crash is anything but a value or the decoder's own",
        "exception, an input that takes 10 seconds, or one that takes 1 GiB. "
        "`python3 -m tests.fuzz --write` makes this anew.",
        "",
        HEAD,
        *map(row, outcomes),
        whole(outcomes),
        "",
    ))  # fmt: skip
