"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Sequence

import agent
from tests.bench.cases import CASES, Case, network
from tests.bench.measure import Run, measure
from tests.bench.table import replaced, table
from tests.bench.tools import TOOLS, Tool

RESULTS = Path(__file__).with_name("README.md")
Results = dict[tuple[str, str], list[Run]]


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    missing = [tool for tool in ("ip", "nft") if not shutil.which(tool)]
    if os.geteuid() != 0 or missing:
        print(f"needs {', '.join(['root', *missing])}, for networks of its own", file=sys.stderr)
        return 2
    first = about(options.tools, options.runs)
    runs: Results = {}
    for case in options.cases:
        run_case(case, options, runs)
    results = f"{first}\n\n{table(options.tools, options.cases, runs, options.limit)}"
    print(results, end="")
    if options.write:
        options.write.write_text(replaced(options.write.read_text(encoding="utf-8"), results), encoding="utf-8")
    return 0


def run_case(case: Case, options: argparse.Namespace, runs: Results) -> None:
    """One after another and then all again, so that a busy minute of this machine falls on every tool alike."""
    tools = [tool for tool in options.tools if tool.ours or not case.ours_alone]
    with network(case) as net:
        for number in range(options.runs):
            for tool in tools:
                run = measure(net, case, tool, options.ports, options.limit)
                print(f"{case.name} {number + 1}/{options.runs} {tool.name}: {told(run)}", file=sys.stderr)
                runs.setdefault((tool.name, case.name), []).append(run)


def told(run: Run) -> str:
    """One run in a line."""
    if math.isinf(run.seconds):
        return "stopped at the limit"
    return run.failure or f"{run.seconds:.2f} s, {run.wrong} wrong, {run.unknown} unknown, {run.packets} packets"


def about(tools: Sequence[Tool], runs: int) -> str:
    """Where, when and with what it is measured, and how busy the machine is with other things."""
    kernel = ".".join(platform.release().split(".")[:2])
    programs = dict.fromkeys(tool.program for tool in tools if tool.program)
    versions = [f"pnmcheck {agent.__version__}", *filter(None, map(version, programs))]
    times = "one run" if runs == 1 else f"medians of {runs} runs"
    date = time.strftime("%Y-%m-%d", time.gmtime())
    machine = f"{os.cpu_count()} cores, Linux {kernel}, load {os.getloadavg()[0]:.1f} before"
    return f"{machine}, {date} UTC, {times}; {', '.join(versions)}"


def version(program: str) -> str:
    """`nmap 7.93`; nothing where it is not there."""
    if not shutil.which(program):
        return ""
    # Masscan calls this a failure.
    said = subprocess.run([program, "--version"], capture_output=True, encoding="utf-8", check=False).stdout
    found = re.search(r"version ([\d.]+)", said)
    return f"{program} {found[1].rstrip('.') if found else ''}".strip()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python3 -m tests.bench", description=sys.modules["tests.bench"].__doc__)
    made.add_argument("--runs", type=positive, default=3, help="of each tool in each case (%(default)s)")
    made.add_argument("--limit", type=positive, default=120, help="seconds that a run may take (%(default)s)")
    made.add_argument("--ports", type=port_range, default="50000-60000", metavar="FIRST-LAST", help="(%(default)s)")
    made.add_argument("--tools", type=some_of(TOOLS), default=list(TOOLS), help=named(TOOLS))
    usual = [case for case in CASES if not case.ours_alone]
    made.add_argument("--cases", type=some_of(CASES), default=usual, help=f"{named(CASES)}; {named(usual)} if not said")
    to = "put the table between the markers of this file, too; by default of tests/bench/README.md"
    made.add_argument("--write", type=Path, metavar="FILE", nargs="?", const=RESULTS, help=to)
    return made


def named(things: Sequence[Tool] | Sequence[Case]) -> str:
    return ", ".join(one.name for one in things)


def some_of(things: Sequence[Tool] | Sequence[Case]) -> Callable[[str], list[Tool | Case]]:
    """The reader of a list of names, which stay in the order of the table; `all` is all of them."""

    def read(text: str) -> list[Tool | Case]:
        names = [one.name for one in things] if text == "all" else text.split(",")
        strange = set(names).difference(one.name for one in things)
        if strange:
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(strange))}: not among {named(things)}, all")
        return [one for one in things if one.name in names]

    return read


def port_range(text: str) -> str:
    found = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    if not found or not 1024 <= int(found[1]) <= int(found[2]) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a range such as 50000-60000")
    return text


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
