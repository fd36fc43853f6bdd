"""How far the packets of silent UDP ports came, by what the server's interface and sockets saw of them."""

from __future__ import annotations

from itertools import groupby
from typing import Iterable, Sequence

from ..core.observation import Observation, Where
from ..sweep.loss import MAX_CHANCE, upper_bound


def place(seen: Observation, missed: bool) -> Where:
    """How far one port's probes came; `missed` says that the interface's watch did not see all.

    What was seen is certain. What was not may have been lost on the way: `places` weighs that.
    """
    if seen.at_socket:
        # An answer that never left was stopped by the host's own rules for outgoing packets.
        return Where.RETURN_PATH if seen.answers_sent or missed or seen.answers_sent is None else Where.SERVER_HOST
    if seen.at_interface:
        return Where.SERVER_HOST
    return Where.UNKNOWN if missed or seen.at_interface is None else Where.BEFORE_SERVER


def places(silent: Sequence[Observation], loss: float, missed: bool) -> list[Where]:
    """How far the probes of a stretch of neighbouring silent ports came, port by port.

    `loss` is the share of probes that the path loses: a port whose few probes it may have lost all is taken to be like
    its neighbours, where those on both sides are alike, and else unknown.
    """
    found = [place(seen, missed) for seen in silent]
    for where, group in groupby(range(len(found)), key=found.__getitem__):
        numbers = list(group)
        if where is Where.BEFORE_SERVER:
            _doubt(found, numbers, silent, loss)
    return found


def loss_before(seen: Iterable[Observation]) -> float:
    """The share of probes that the path loses on the way to the server at most, 0 < result <= 1.

    By what the interface saw of the ports of which it saw any. A busy computer, which takes in answers too late, and
    what is lost on the way back make a round trip's loss higher than this.
    """
    reached = [(one.sent or 0, one.at_interface) for one in seen if one.at_interface]
    sent = sum(sent for sent, _ in reached)
    return upper_bound(sent - sum(min(sent, came) for sent, came in reached), sent)


def _doubt(found: list[Where], numbers: Sequence[int], silent: Sequence[Observation], loss: float) -> None:
    """Weigh whether loss alone kept a run of ports from the server that has ports beside it which came further."""
    first, last = numbers[0], numbers[-1]
    beside = {found[number] for number in (first - 1, last + 1) if 0 <= number < len(found)}
    if len(beside) == 1 and _chance(silent[first : last + 1], loss) > MAX_CHANCE:
        found[first : last + 1] = [*beside] * len(numbers)
        return
    # Where it begins is not known to the port.
    for inwards in ([numbers] if first else []) + ([numbers[::-1]] if last + 1 < len(found) else []):
        for many, number in enumerate(inwards, 1):
            if _chance([silent[one] for one in inwards[:many]], loss) <= MAX_CHANCE:
                break
            found[number] = Where.UNKNOWN


def _chance(silent: Sequence[Observation], loss: float) -> float:
    """How probable it is that the path lost every probe to these ports."""
    return loss ** sum(seen.sent or 0 for seen in silent)
