"""Locate where silent UDP ports are blocked, by what the server's network interface and sockets saw of their probes."""

from __future__ import annotations

from itertools import groupby
from typing import Iterable, Sequence

from ..core.observation import Observation, Where
from ..sweep.loss import MAX_CHANCE, upper_bound


def locate(port: Observation, capture_incomplete: bool = False) -> Where:
    """Return how far one port's probes came; `capture_incomplete` says that the interface may have missed some.

    What was seen is certain. What was not may have been lost on the way: `locate_stretch` weighs that.
    """
    if port.at_socket:
        # The host's own rules for outgoing packets stopped an answer that never left.
        left = port.answers_sent or port.answers_sent is None or capture_incomplete
        return Where.RETURN_PATH if left else Where.SERVER_HOST
    if port.at_interface:
        return Where.SERVER_HOST
    return Where.UNKNOWN if capture_incomplete or port.at_interface is None else Where.BEFORE_SERVER


def locate_stretch(ports: Sequence[Observation], loss: float, capture_incomplete: bool) -> list[Where]:
    """Return how far the probes of neighbouring silent ports came, port by port.

    `loss` is the share of probes that the path loses, 0 to 1. A port whose few probes may all be lost is taken to be
    like its neighbours, where those on both sides are alike; otherwise it is unknown.
    """
    places = [locate(port, capture_incomplete) for port in ports]
    for where, group in groupby(range(len(places)), key=places.__getitem__):
        indexes = list(group)
        if where is Where.BEFORE_SERVER:
            _doubt(places, indexes, ports, loss)
    return places


def loss_before(ports: Iterable[Observation]) -> float:
    """Return the share of probes that the path loses on the way to the server at most, above 0 and up to 1.

    It is measured by the ports of which the interface saw any probe. The loss of round trips is higher: it includes
    the way back, and answers that a busy client reads too late.
    """
    reached = [(port.sent or 0, port.at_interface) for port in ports if port.at_interface]
    sent = sum(sent for sent, _ in reached)
    return upper_bound(sent - sum(min(sent, arrived) for sent, arrived in reached), sent)


def _doubt(places: list[Where], indexes: Sequence[int], ports: Sequence[Observation], loss: float) -> None:
    """Correct a run of ports that seem blocked before the server, where loss alone may have kept their probes from it.

    The ports beside the run came further.
    """
    first, last = indexes[0], indexes[-1]
    beside = {places[index] for index in (first - 1, last + 1) if 0 <= index < len(places)}
    if len(beside) == 1 and _chance(ports[first : last + 1], loss) > MAX_CHANCE:
        places[first : last + 1] = [*beside] * len(indexes)
        return
    # The exact port where the run begins and ends is uncertain: doubt its edges, from the outside inwards.
    for inwards in ([indexes] if first else []) + ([indexes[::-1]] if last + 1 < len(places) else []):
        for count, index in enumerate(inwards, 1):
            if _chance([ports[other] for other in inwards[:count]], loss) <= MAX_CHANCE:
                break
            places[index] = Where.UNKNOWN


def _chance(ports: Sequence[Observation], loss: float) -> float:
    """Return how probable it is that the path lost every probe to these ports."""
    return loss ** sum(port.sent or 0 for port in ports)
