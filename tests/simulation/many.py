"""Many networks at a time, on all cores."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from functools import partial
from typing import Iterable, Iterator

from tests.simulation.result import Result
from tests.simulation.run import simulate
from tests.simulation.weather import PORTS, random_network


def simulate_many(seeds: Iterable[int], ports: int, jobs: int, kind: str | None = None) -> Iterator[Result]:
    """The results of these seeds' networks, as they come."""
    # A fresh interpreter for each worker: a fork of a process with threads may hang.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(partial(_simulate, ports, kind), seeds)


def command(seed: int, ports: int, kind: str | None = None) -> str:
    """The command line that shows one network in full."""
    more = (f" --ports {ports}" if ports != PORTS else "") + (f" --kind '{kind}'" if kind else "")
    return f"python3 -m tests.simulation --seed {seed} --networks 1{more}"


class Crashed(Exception):
    """A sweep, or the simulation, ended in an error."""


def _simulate(ports: int, kind: str | None, seed: int) -> Result:
    try:
        result = simulate(random_network(seed, ports, kind))
    except Exception as error:
        raise Crashed(command(seed, ports, kind)) from error
    return replace(result, findings=())  # which would take long to hand over
