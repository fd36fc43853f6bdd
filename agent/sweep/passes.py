"""The passes of a sweep: what each tries, in which order, and how sure they make that a silent port is shut.

What the canaries of a pass lose is how likely an open port stayed silent in it. While no port has answered there are
no canaries; then round trips of the control channel, pings, measure the path.
"""

from __future__ import annotations

import math
import random
from typing import Sequence

from .loss import LossTally, pooled, upper_bound
from .probes import SentProbe

MIN_TRIES = 3
BLIND_TRIES, BLIND_TRIES_OF_FEW = 5, 7  # where no port answers, and where those are so few that all may be unlucky
FEW = 100  # ports
MIN_CANARIES, MAX_CANARIES = 100, 400  # a pass, for few and for many ports: without a loss, it is below 4 %, 1 %
FLOWS_EACH = 12  # canaries to one port in a pass at most: each has a socket of its own, and Windows selects among 512
CANARY_SHARE = 25  # of the ports, one in so many


class Pass:
    """One pass, counted from 1, and the socket that its probes leave from."""

    def __init__(self, number: int, socket: int, now: float) -> None:
        self.number, self.socket, self.began = number, socket, now
        self.canaries, self.pings = LossTally(), LossTally()
        self.more_sockets: list[int] = []  # for canaries beyond the first to a port
        self.slowest_canary = 0.0  # seconds that its answer took
        self.is_void = False  # the process was stopped in it


class Passes:
    """The passes of a sweep over so many ports."""

    def __init__(self, ports: int) -> None:
        self._ports = ports
        self._passes: list[Pass] = []
        self.late: list[int] = []  # the ports that were silent after the first

    @property
    def count(self) -> int:
        """Return how many have begun."""
        return len(self._passes)

    @property
    def current(self) -> Pass:
        """Return the last."""
        return self._passes[-1]

    def begin(self, socket: int, now: float) -> None:
        """Begin one."""
        self._passes.append(Pass(self.count + 1, socket, now))

    def of(self, probe: SentProbe) -> Pass:
        """Return the pass in which a probe was sent."""
        return self._passes[probe.pass_number - 1]

    @property
    def loss(self) -> float:
        """Return the share of round trips that the path loses, as the canaries bound it from above; 0.0 without any."""
        measured = self._with_canaries
        return pooled(tried.canaries for tried in measured) if measured else 0.0

    def chance(self, open_ports: int, late: int) -> float | None:
        """Return how many ports, expected, are open and stayed silent throughout; None where nothing measured that.

        It counts on all ports, not on the silent ones: those are the unlucky ones of all. The open ports that the
        first pass left silent are known by the `late` that answered later. Where no port answered, all that are open
        were unlucky together, which is likeliest where there is one.
        """
        if not open_ports:
            bound = pooled(tried.pings for tried in self._passes)
            return bound ** len(self._with_pongs) if self._with_pongs else None
        if not self._with_canaries:
            return None
        bounds = math.prod(tried.canaries.bound for tried in self._with_canaries)
        return self._ports * upper_bound(late, open_ports) * bounds

    def wanted(self, open_ports: int) -> int:
        """Return how many it takes at least."""
        if open_ports:
            return MIN_TRIES
        return BLIND_TRIES if self._ports > FEW else BLIND_TRIES_OF_FEW

    def are_enough(self, open_ports: int, chance: float | None, max_chance: float) -> bool:
        """Return whether they make sure that the ports that are still silent are shut."""
        counted = sum(not tried.is_void for tried in self._passes) if open_ports else len(self._with_pongs)
        return counted >= self.wanted(open_ports) and chance is not None and chance <= max_chance

    @property
    def _with_canaries(self) -> list[Pass]:
        """Return those whose canaries measured the path; the first pass's probes of silent ports had none."""
        return [tried for tried in self._passes[1:] if tried.canaries.sent and not tried.is_void]

    @property
    def _with_pongs(self) -> list[Pass]:
        """Return those in which the control channel showed that the path was alive."""
        return [tried for tried in self._passes if tried.pings.sent > tried.pings.lost and not tried.is_void]


def plan_pass(
    silent: Sequence[int], open_ports: Sequence[int], ports: int, rng: random.Random
) -> list[tuple[int, bool]]:
    """Return the silent ports in this order, and canaries between them."""
    canaries = min(max(ports // CANARY_SHARE, MIN_CANARIES), MAX_CANARIES, FLOWS_EACH * len(open_ports))
    drawn, rest = iter(spread(open_ports, canaries, rng) if open_ports else ()), iter(silent)
    places = range(len(silent) + canaries)
    canary_places = set(rng.sample(places, canaries))
    return [(next(drawn), True) if place in canary_places else (next(rest), False) for place in places]


def spread(ports: Sequence[int], wanted: int, rng: random.Random) -> list[int]:
    """Return `wanted` of the ports, each as often as any other, give or take one."""
    whole, rest = divmod(wanted, len(ports))
    return list(ports) * whole + rng.sample(list(ports), rest)
