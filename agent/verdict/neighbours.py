"""Judge neighbouring UDP ports together: one rule stops them all, and each saw only part of its effect."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Sequence

from ..core.observation import Observation, Where
from ..core.report import State
from . import refusal
from .conditions import Cause, Conditions
from .place import locate_stretch, loss_before


def unify_neighbours(ports: Sequence[Observation], causes: Sequence[Cause], conditions: Conditions) -> list[Cause]:
    """Return the causes of a requirement's UDP ports, those of each stretch of stopped ports weighed together."""
    unified = list(causes)
    loss = min(conditions.loss, loss_before(ports))
    # What a sample left out, or a program holds, does not end a stretch.
    tested = [index for index, cause in enumerate(causes) if cause.state is not State.UNTESTED]
    for stopped, group in groupby(tested, lambda index: causes[index].state in (State.FILTERED, State.REJECTED)):
        if not stopped:
            continue
        stretch = list(group)
        places = locate_stretch([ports[index] for index in stretch], loss, conditions.capture_incomplete)
        for index, where in zip(stretch, places):
            unified[index] = replace(unified[index], where=where)
        for _, at_one_place in groupby(stretch, lambda index: unified[index].where):
            _extend_refusals(ports, unified, list(at_one_place))
    return unified


def _extend_refusals(ports: Sequence[Observation], causes: list[Cause], stretch: Sequence[int]) -> None:
    """Call neighbours of refused ports refused, where the rate limit of ICMP errors explains that they told nothing."""
    if causes[stretch[0]].where is Where.RETURN_PATH:  # the server accepted these packets
        return
    refused = [causes[index] if causes[index].state is State.REJECTED else None for index in stretch]
    every_probe_refused = all(
        (ports[index].errors or 0) >= (ports[index].sent or 0) for index, cause in zip(stretch, refused) if cause
    )
    if not every_probe_refused:
        for index, cause in zip(stretch, refusal.extend(refused)):
            causes[index] = cause or causes[index]
