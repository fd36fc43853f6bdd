"""`python3 -m tests.simulation`: sweep over many random networks; exit status 1 if any verdict was wrong."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Sequence

from tests.simulation import table
from tests.simulation.many import Case, simulate_many
from tests.simulation.result import Result
from tests.simulation.run import simulate
from tests.simulation.weather import KINDS, PORTS, random_network

SHOWN = 20  # wrong ports, and findings of a single network


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do what it says; the exit status."""
    options = _parser().parse_args(arguments)
    if options.networks == 1:
        return _one(options.seed, options.ports, options.kind)
    results = []
    seeds = range(options.seed, options.seed + options.networks)
    cases = [Case(seed, options.ports, options.kind) for seed in seeds]
    for result in simulate_many(cases, options.jobs):
        results.append(result)
        if result.wrong:
            print("\n" + _complaint(result, options.kind), flush=True)
        if options.verbose:
            print(_line(result), flush=True)
        _progress(results, options.networks)
    print(file=sys.stderr)
    text = table.render(sorted(results, key=lambda one: one.seed))
    print(text, end="")
    if options.write:
        table.PATH.write_text(text, encoding="utf-8")
    return 1 if any(one.wrong for one in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.simulation", description=__doc__)
    parser.add_argument("--networks", type=_count, default=1000, metavar="N", help="how many; one is shown in full")
    parser.add_argument("--seed", type=int, default=1, metavar="FIRST", help="of the first network; then one by one")
    parser.add_argument("--ports", type=_count, default=PORTS, metavar="N", help="of each network")
    parser.add_argument("--kind", choices=KINDS, help="draw networks of this kind alone")
    parser.add_argument("--jobs", type=_count, default=os.cpu_count() or 1, metavar="N", help="networks at a time")
    parser.add_argument("--verbose", action="store_true", help="a line for each network")
    parser.add_argument("--write", action="store_true", help=f"write the table to {table.PATH.name} too")
    return parser


def _count(text: str) -> int:
    """A number of things, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of one or more")
    return int(text)


def _one(seed: int, ports: int, kind: str | None) -> int:
    weather = random_network(seed, ports, kind)
    print(weather.describe())
    result = simulate(weather)
    print(f"{result.seconds:.2f} s, {result.probes:,} probes; {result.states}")
    for number, one in enumerate(result.sockets):
        seconds = f"{one.began:.2f} to {one.ended:.2f} s"
        print(f"  socket {number}: {seconds}, {one.sent:,} sent, {one.answered:,} answered")
    print(f"unknown: {result.reasons or 'none'}; control channel at the end: {'there' if result.control else 'lost'}")
    for finding in result.findings[:SHOWN]:
        words = [one.value for one in (finding.where, finding.reason) if one]
        seen = finding.evidence
        evidence = f"(sent {seen.sent}, at socket {seen.at_socket}, answered {seen.answered}, chance {seen.chance})"
        print(f"  {finding.ports}: {finding.state.value}", *words, evidence)
    if len(result.findings) > SHOWN:
        print(f"  and {len(result.findings) - SHOWN:,} findings more")
    if result.wrong:
        print(_complaint(result, kind))
    return 1 if result.wrong else 0


def _complaint(result: Result, kind: str | None) -> str:
    lines = [f"WRONG: {len(result.wrong):,} of {result.ports:,} ports in {result.description}"]
    lines += [
        f"  {one.port} was called {one.state.value}: sent {one.sent}, at the server {one.at_socket}"
        for one in result.wrong[:SHOWN]
    ]
    return "\n".join([*lines, f"  {Case(result.seed, result.ports, kind).command}"])


def _line(result: Result) -> str:
    states = ", ".join(f"{state} {ports:,}" for state, ports in sorted(result.states.items()))
    reasons = ", ".join(f"{reason} {ports:,}" for reason, ports in sorted(result.reasons.items()))
    course = f"{result.seed}: {result.seconds:.1f} s, {result.probes:,} probes"
    return "; ".join([course, states, reasons or "-", result.description])


def _progress(results: Sequence[Result], networks: int) -> None:
    wrong, unknown = sum(len(one.wrong) for one in results), sum(one.unknown for one in results)
    line = f"{len(results):,} of {networks:,} networks, {sum(one.ports for one in results):,} ports"
    if sys.stderr.isatty():
        print(f"\r{line}, {wrong} wrong, {unknown:,} unknown", end="", file=sys.stderr, flush=True)
    elif len(results) % 50 == 0:
        print(f"{line}, {wrong} wrong, {unknown:,} unknown", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
