"""The schedule of a UDP sweep: ports, time, answers and chance in; probes to send and when to wake out.

The first pass probes every port once, in random order and in rounds of a growing pace. Then come passes over what is
silent, each from a source port of its own, so that every probe of it opens a flow of its own, with canaries among
the probes: what the canaries of a pass lose is how likely an open port stayed silent in it.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Iterable, Sequence

from .loss import MAX_CHANCE, upper_bound
from .pace import Pace

ROUND_SECONDS = 0.1  # at least a round trip, so that a round is judged before many more are sent
BATCH = 32  # probes between two looks at the answers: so many answers fit into the smallest receive buffer
MIN_TRIES = 4
BLIND_TRIES = 7  # where nothing measures the path: 20 % of loss each way silence so many in one case of 1,000
MAX_TRIES = 30  # 20 % of loss each way takes about 20
PASS_GAP = 1.0  # seconds: bursts of loss are mostly shorter
MIN_CANARIES, MAX_CANARIES = 100, 400  # a pass, for few and for many ports: without a loss, it is below 4 %, 1 %
CANARY_SHARE = 25  # of the ports, one in so many
MAX_SECONDS = 90.0  # what somebody at a terminal waits for; what is still unclear then is unknown
MIN_TIMEOUT, MAX_TIMEOUT = 0.25, 3.0  # seconds to wait for a pass's last answers: a LAN's, a bad satellite's


@dataclass(frozen=True)
class Probe:
    """A probe to send: its number, counted from 0, its port, and which of the client's sockets is to send it."""

    number: int
    port: int
    socket: int


@dataclass
class _Canaries:
    sent: int = 0
    answered: int = 0


@dataclass(frozen=True)
class _Sent:
    port: int
    canaries: _Canaries | None
    round: int
    at: float


class Sweep:
    """One client's sweep over the UDP ports of one address.

    Times are seconds of any clock that only goes forward; `rtt` is the path's round trip as it was measured before.
    """

    def __init__(self, ports: Iterable[int], chance: random.Random, rtt: float, now: float) -> None:
        self._chance = chance
        self._silent = list(ports)
        self.sent = dict.fromkeys(self._silent, 0)
        self.answered = dict.fromkeys(self._silent, 0)
        self.open = 0
        self.rtts: list[float] = []
        self.done = not self._silent
        self.conclusive = True
        self._timeout = min(max(3 * rtt, MIN_TIMEOUT), MAX_TIMEOUT)
        self._round_wait = 2 * rtt + 0.03  # and what the other side's scheduler adds
        self._pace = Pace(now, max(ROUND_SECONDS, rtt), self._round_wait, self._timeout)
        self._probes: list[_Sent] = []
        self._heard: set[int] = set()
        self._passes: list[_Canaries] = []
        self._late: list[int] = []
        self._queue: deque[tuple[int, bool]] = deque()
        self._answers_until = self._pause_until = now
        self._ends = now + MAX_SECONDS
        self._begin_pass()

    @property
    def tries(self) -> int:
        """How many passes have begun."""
        return len(self._passes)

    @property
    def chance(self) -> float | None:
        """How many of all ports, expected, are open and stayed silent throughout; None where no canary measured that.

        It counts on all ports, not on the silent ones: those are the unlucky ones of all.
        """
        bounds = [upper_bound(one.sent - one.answered, one.sent) for one in self._passes if one.sent]
        if not bounds:
            return None
        # The first pass had no canaries. What its open ports lost is known, but not what a silent port's flow met
        # that was refused from the start: so it counts no better than the worst pass of fresh flows.
        late = sum(1 for port in self._late if self.answered[port])
        return len(self.sent) * math.prod(bounds) * max(upper_bound(late, self.open), *bounds)

    @property
    def loss(self) -> float:
        """The share of round trips that the path loses, as the canaries bound it from above; 0.0 without any."""
        sent, answered = sum(one.sent for one in self._passes), sum(one.answered for one in self._passes)
        return upper_bound(sent - answered, sent) if sent else 0.0

    def due(self, now: float) -> list[Probe]:
        """The probes to send now, a batch at most; empty until `wake`, or until answers end the wait."""
        while not self.done:
            if now > self._ends:
                self._finish(conclusive=not self._missing())
            elif now < self._pause_until or (now < self._answers_until and len(self._heard) < len(self._probes)):
                break
            elif not self._queue:
                self._end_pass(now)
            elif self._pace.round_is_full:
                self._next_round(now)
            else:
                return self._send(now)
        return []

    def answer(self, number: int, now: float) -> None:
        """The proof of a probe came back; the same one again counts no more."""
        if number in self._heard:
            return
        self._heard.add(number)
        probe = self._probes[number]
        self.open += not self.answered[probe.port]
        self.answered[probe.port] += 1
        self.rtts.append(now - probe.at)
        self._pace.answer(probe.round)
        if probe.canaries:
            probe.canaries.answered += 1

    def wake(self, now: float) -> float:
        """When to call `due` again, unless an answer comes before."""
        rest = max(self._pause_until, self._answers_until)
        return rest if now < rest else self._pace.next_at()

    def left(self) -> float:
        """About how many seconds are left, should every silent port need its tries."""
        sending = len(self._queue) / self._pace.rate
        tries = MIN_TRIES if self.open else BLIND_TRIES
        return sending + self._timeout + PASS_GAP * max(0, tries - self.tries if self.tries > 1 else 0)

    def _send(self, now: float) -> list[Probe]:
        probes = []
        for _ in range(min(BATCH, len(self._queue), self._pace.allowance(now))):
            port, canary = self._queue.popleft()
            canaries = self._passes[-1] if canary else None
            if canaries:
                canaries.sent += 1
            self.sent[port] += 1
            probes.append(Probe(len(self._probes), port, self.tries - 1))
            self._probes.append(_Sent(port, canaries, self._pace.round, now))
            self._pace.send(now)
        if not self._queue:
            self._answers_until = now + self._timeout
        elif self._pace.round_is_full and self._pace.climbing and self.tries == 1:
            self._answers_until = now + self._round_wait
        return probes

    def _next_round(self, now: float) -> None:
        climbs = self.tries == 1  # afterwards mostly blocked ports are left, whose share tells nothing
        doubts_until = self._pace.doubts_until(now) if climbs else now
        if doubts_until > now:
            self._answers_until = doubts_until
        else:
            self._pace.next_round(now, judge=climbs)

    def _missing(self) -> list[int]:
        return [port for port in self._silent if not self.answered[port]]

    def _end_pass(self, now: float) -> None:
        self._silent = self._missing()
        if self.tries == 1:
            self._late = self._silent
        next_pass = self._probes[-1].at + PASS_GAP
        if self._is_enough():
            self._finish(conclusive=True)
        elif self.tries >= MAX_TRIES:
            self._finish(conclusive=False)
        elif now < next_pass:
            self._pause_until = next_pass
        else:
            self._begin_pass()

    def _is_enough(self) -> bool:
        if not self._silent:
            return True
        # Where nothing is open, nothing measures the path, and the port that chance hides best is one that is alone.
        if self.chance is None:
            return self.tries >= BLIND_TRIES
        return self.tries >= MIN_TRIES and self.chance <= MAX_CHANCE

    def _finish(self, conclusive: bool) -> None:
        self.done, self.conclusive = True, conclusive

    def _begin_pass(self) -> None:
        queue = [(port, False) for port in self._silent]
        proven = [port for port, answers in self.answered.items() if answers]
        if proven:
            wanted = min(max(len(self.sent) // CANARY_SHARE, MIN_CANARIES), MAX_CANARIES)
            queue += [(port, True) for port in spread(proven, wanted, self._chance)]
        self._chance.shuffle(queue)
        self._queue.extend(queue)
        self._passes.append(_Canaries())


def spread(ports: Sequence[int], wanted: int, chance: random.Random) -> list[int]:
    """`wanted` of the ports, each as often as any other, give or take one."""
    whole, rest = divmod(wanted, len(ports))
    return list(ports) * whole + chance.sample(list(ports), rest)
