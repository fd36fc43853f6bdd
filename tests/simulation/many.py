"""Many networks at a time, on all cores."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from typing import Iterable, Iterator, NamedTuple

from tests.simulation.result import Result
from tests.simulation.run import simulate
from tests.simulation.weather import PORTS, random_network


class Case(NamedTuple):
    """Which network to draw: by a seed, how many ports it has, and of which kind, or any."""

    seed: int
    ports: int = PORTS
    kind: str | None = None

    @property
    def command(self) -> str:
        """Return the command line that shows it in full."""
        more = (f" --ports {self.ports}" if self.ports != PORTS else "") + (
            f" --kind '{self.kind}'" if self.kind else ""
        )
        return f"python3 -m tests.simulation --seed {self.seed} --networks 1{more}"


def simulate_many(cases: Iterable[Case], jobs: int) -> Iterator[Result]:
    """Return the results of these networks, as they come."""
    # A fresh interpreter for each worker: a fork of a process with threads may hang.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_simulate, cases)


class Crashed(Exception):
    """A sweep, or the simulation, ended in an error."""


def _simulate(case: Case) -> Result:
    try:
        result = simulate(random_network(*case))
    except Exception as error:
        raise Crashed(case.command) from error
    return replace(result, findings=())  # which would take long to hand over
