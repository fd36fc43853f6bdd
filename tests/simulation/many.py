"""Many networks at a time, on all cores."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from functools import partial
from typing import Iterable, Iterator

from .run import Result, simulate
from .weather import random_network


def simulate_many(seeds: Iterable[int], ports: int, jobs: int) -> Iterator[Result]:
    """The results of these seeds' networks, as they come."""
    # A fresh interpreter for each worker: a fork of a process with threads may hang.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(partial(_simulate, ports), seeds)


def _simulate(ports: int, seed: int) -> Result:
    return replace(simulate(random_network(seed, ports)), findings=())  # which would take long to hand over
