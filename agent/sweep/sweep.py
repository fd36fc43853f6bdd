"""The schedule of a UDP sweep: ports, time, answers and chance in; probes to send and the next timer out.

The first pass probes every port once, in random order and in rounds of a growing pace. Then come passes over what is
silent, each from a source port of its own, so that every probe of it opens a flow of its own, with canaries among
the probes.
"""

from __future__ import annotations

import math
import random
from typing import Iterable, Sequence, Union

from ..core.observation import Reason
from . import pings
from .flows import FlowBudgets
from .limit import Limit
from .loss import MAX_CHANCE
from .outage import GIVE_UP
from .pace import Pace
from .passes import Passes
from .pings import ControlPings
from .probes import Probe, ProbeLog
from .recovery import HEARTBEAT, PathRecovery
from .sending import PassSender

MAX_TRIES = 30  # 20 % of loss each way takes about 20
PASS_GAP, PASS_REST = 1.0, 0.45  # seconds from start to start, and from end to start: bursts of loss are mostly shorter
# What somebody at a terminal waits for; what is still unclear then is unknown. A table of 3,000 flows, or a minute
# of being shut out by a guard and then its pace, leave time enough for 10,000 ports.
MAX_SECONDS = 180.0
PATIENT_TRIES = 4  # tries of each port for which a `max_rate` may ask: those of a clean path, and one more
MIN_TIMEOUT, MAX_TIMEOUT = 0.25, 3.0  # seconds to wait for a pass's last answers: a LAN's, a bad satellite's
SCHEDULER_SECONDS = 0.01  # that the other side's scheduler adds to the two round trips that a round's answers take
STOPPED = 2.0  # seconds without a call: this process did not run, the computer slept


class Sweep:
    """One client's sweep over the UDP ports of one address.

    Times are seconds of any clock that only goes forward; `rtt` is the path's round trip as it was measured before.
    `free_flows` are the entries that the server's own connection tracking has free, None where it has none.
    `max_rate` is how many probes a second the user allows. It has time until `deadline`, or MAX_SECONDS and what a
    `max_rate` adds; `timeout` is how many seconds it waits for answers. `max_chance` is how many ports, expected, loss
    alone may leave silent; `previous`, the sweep over other ports whose flows the same tables keep.
    """

    def __init__(
        self,
        ports: Iterable[int],
        rng: random.Random,
        rtt: float,
        now: float,
        *,
        free_flows: int | None = None,
        max_rate: float | None = None,
        deadline: float | None = None,
        max_chance: float = MAX_CHANCE,
        previous: Sweep | None = None,
    ) -> None:
        self._max_chance, self._log = max_chance, ProbeLog(ports)
        self.sent, self.answered, self.rtts = self._log.sent, self._log.answered, self._log.rtts
        self.done, self.conclusive = not self.sent, True
        self.timeout = min(max(3 * rtt, MIN_TIMEOUT), MAX_TIMEOUT)
        self._pace = Pace(now, rtt, 2 * rtt + SCHEDULER_SECONDS, self.timeout, max_rate)
        self._flow_budgets: FlowBudgets = previous._flow_budgets if previous else FlowBudgets(free_flows)
        self._passes, budgets = Passes(len(self.sent)), self._flow_budgets
        self._sender = PassSender(self._log, self._passes, self._pace, budgets, rng, now)
        self._recovery = PathRecovery(self._log, self._sender, self._pace, budgets, rng, now)
        if previous:
            self._recovery.before = previous._log.probes
        self._pings = ControlPings(rtt, now)
        self._pause_until = self._last_call = now
        # Who sets a `max_rate` has the time that it takes.
        own_time = MAX_SECONDS + (PATIENT_TRIES * len(self.sent) / max_rate if max_rate else 0.0)
        self.deadline = now + own_time if deadline is None else deadline
        # The ends of the ranges first: a guard that strikes has not struck yet, and they tell most.
        self._silent = _shuffled(self._log.range_ends, rng)
        self._silent += _shuffled(self.sent.keys() - self._log.range_ends, rng)
        self._sender.begin_pass(self._silent, now)

    @property
    def open(self) -> int:
        """Return how many ports have answered."""
        return len(self._log.open_ports)

    @property
    def passes(self) -> int:
        """Return how many passes have begun."""
        return self._passes.count

    @property
    def chance(self) -> float | None:
        """Return how many ports, expected, are open and stayed silent throughout; None where nothing measured that."""
        return self._passes.chance(self.open, sum(1 for port in self._passes.late if self.answered[port]))

    @property
    def loss(self) -> float:
        """Return the share of round trips that the path loses, as the canaries bound it; 0.0 without any."""
        return self._passes.loss

    @property
    def limit(self) -> Limit | None:
        """Return the limit that was met last, of whatever kind."""
        rates = self._sender.rate_limit
        return self._recovery.limit or rates.limit(self._pace.control.falls, self.conclusive)

    @property
    def is_shut_out(self) -> bool:
        """Return whether nothing passes now, or passed when it ended, not even to ports that are open."""
        return self._recovery.outage is not None

    def waits_for_flows(self, now: float) -> bool:
        """Return whether it sends nothing since there are enough flows already."""
        return not self.done and bool(self._sender.queue) and not self._flow_budgets.available(1, now)

    def probes_to_send(self, now: float) -> list[Probe]:
        """Return the probes to send now, a batch at most; none until `next_timer`, or until answers end the wait."""
        self._notice_stop(now)
        while not self.done:
            outage = self._recovery.outage
            if now >= self.deadline or self._flow_budgets.is_zero:
                self._finish(now, conclusive=not self._still_silent())
            elif outage and outage.over:
                self._recovery.end(now)
            elif outage and now > outage.began + GIVE_UP:
                self._finish(now, conclusive=False)
            elif outage:
                return self._recovery.probes_to_send(now)
            elif now < self._pause_until or (now < self._sender.answers_until and not self._log.all_answered):
                break
            elif not self._sender.queue:
                self._end_pass(now)
            elif self._pace.round_is_full:
                if self._sender.next_round(now):
                    self._recovery.begin(now)
            else:
                return self._sender.send(now)
        return []

    def on_answer(self, number: int, now: float) -> None:
        """Count the proof of a probe; the same one again counts no more."""
        probe = self._log.on_answer(number, now)
        if probe is None:
            return
        if probe.outage:  # which may be past: of a later one it tells nothing
            probe.outage.on_answer(probe.group, probe.known, now)
        self._sender.on_answer(probe, now)

    def next_timer(self, now: float) -> float:
        """Return when to call `probes_to_send` again, unless an answer comes before."""
        rest = max(self._pause_until, self._sender.answers_until)
        if self._recovery.outage:
            at = self._recovery.next_timer(now)
        elif now < rest:
            at = rest
        else:
            at = max(self._pace.next_send_time(), self._flow_budgets.next_available(now))
        return min(at, now + HEARTBEAT, max(now, self.deadline))

    def wants_ping(self, now: float) -> bool:
        """Return whether to measure a round trip of the control channel now: `on_ping_sent`, and then `on_pong`."""
        is_early = now < self._passes.current.began + pings.EARLY
        shares_server = self._pace.control.server_share < math.inf
        gap = pings.gap(bool(self.open), self.waits_for_flows(now), is_early, shares_server)
        # Where nothing passes a ping would wait for TCP to repeat it, longer and longer. But what waits to be confirmed
        # has just come in, and may be why nothing passes.
        return not self.done and (self._pings.hurried or not self.is_shut_out) and self._pings.is_due(now, gap)

    def on_ping_sent(self, now: float) -> None:
        """Note that the control channel was asked something."""
        self._pings.on_sent(now, self._passes.current.pings)

    def hurry_ping(self) -> None:
        """Ask for a ping at once: it confirms something without which probes are not answered."""
        self._pings.hurried = True

    def on_pong(self, now: float, free_flows: int | None = None, rate: float | None = None) -> None:
        """Take a pong: how many flows the server's connection tracking has free, and the `rate`, in probes a second,
        that the server has time for, where it shares that among clients."""
        self._pings.on_answer(now)
        self._pace.control.server_share = rate or math.inf
        if free_flows is not None and self._log.probes and now > self._log.probes[-1].at + self.timeout:
            self._flow_budgets.on_free_flows(free_flows, now)  # what was sent has come there, or never will

    def is_unreachable(self, now: float) -> bool:
        """Return whether nothing answers, and the control channel does not either."""
        return not self.open and self._pings.is_overdue(now)

    def seconds_left(self, now: float) -> float:
        """Return about how many seconds are left, should every silent port need its tries."""
        flows = len(self._sender.queue)
        sending = max(flows / self._pace.rate, self._flow_budgets.seconds_until(flows, now))
        gaps = PASS_GAP * max(0, self._passes.wanted(self.open) - self.passes if self.passes > 1 else 0)
        return min(sending + self.timeout + gaps, max(0.0, self.deadline - now))

    def _still_silent(self) -> list[int]:
        return [port for port in self._silent if not self.answered[port]]

    def _end_pass(self, now: float) -> None:
        self._pace.next_round(now)
        if self._sender.judge_rounds(now):
            self._recovery.begin(now)
            return
        self._silent = self._still_silent()
        if self.passes == 1:
            self._passes.late = self._silent
        next_pass = max(self._passes.current.began + PASS_GAP, self._log.probes[-1].at + PASS_REST)
        if not self._silent or self._passes.are_enough(self.open, self.chance, self._max_chance):
            self._finish(now, conclusive=True)
        elif self.passes >= MAX_TRIES:
            self._finish(now, conclusive=False)
        elif now < next_pass:
            self._pause_until = next_pass
        else:
            self._sender.begin_pass(self._silent, now)

    def _finish(self, now: float, conclusive: bool) -> None:
        self.done, self.conclusive = True, conclusive
        if self._recovery.outage:
            self._recovery.give_up(now)
        elif not conclusive and not self._recovery.limit and self._flow_budgets.was_short:
            self._recovery.limit = Limit(Reason.FLOW_LIMIT, flows=self._flow_budgets.smallest)

    def _notice_stop(self, now: float) -> None:
        """Read what came while this process did not run before it is missed; the time does not count."""
        stopped, self._last_call = now - self._last_call, now
        if stopped <= STOPPED:
            return
        self.deadline += stopped
        self._sender.answers_until = max(self._sender.answers_until, now + self.timeout)
        self._passes.current.is_void = True
        self._pace.resume(now)
        if self._recovery.outage:
            self._recovery.outage.began += stopped


def _shuffled(ports: Iterable[int], rng: random.Random) -> list[int]:
    ordered = sorted(ports)
    rng.shuffle(ordered)
    return ordered


def combined_chance(sweeps: Iterable[Sweep]) -> float | None:
    """Return how many ports, expected, loss alone left silent in all; None where one with silent ports cannot tell."""
    chances = [sweep.chance for sweep in sweeps if sweep.open < len(sweep.sent)]
    measured = [chance for chance in chances if chance is not None]
    return sum(measured) if measured and len(measured) == len(chances) else None


class CombinedSweep:
    """What one Sweep of all the ports would tell now; `limit` is rather that of one that is not conclusive."""

    def __init__(self, sweeps: Sequence[Sweep]) -> None:
        self.sent = {port: sent for sweep in sweeps for port, sent in sweep.sent.items()}
        self.answered = {port: answers for sweep in sweeps for port, answers in sweep.answered.items()}
        self.rtts = [rtt for sweep in sweeps for rtt in sweep.rtts]
        self.open = sum(sweep.open for sweep in sweeps)
        self.done = all(sweep.done for sweep in sweeps)
        self.conclusive = all(sweep.conclusive for sweep in sweeps)
        self.chance = combined_chance(sweeps)
        self.loss = max((sweep.loss for sweep in sweeps), default=0.0)
        limits = [sweep.limit for sweep in sorted(sweeps, key=lambda sweep: sweep.conclusive) if sweep.limit]
        self.limit = limits[0] if limits else None
        self.is_shut_out = any(sweep.is_shut_out for sweep in sweeps)


AnySweep = Union[Sweep, CombinedSweep]
