"""From a path that fell silent back to a sweep: when to try which flow, and what to do when new ones pass."""

from __future__ import annotations

import random
from typing import Sequence

from .flows import FlowBudgets
from .limit import Limit
from .outage import GENTLER, GROUP, KNOWN_SECONDS, SOON, Kind, Outage
from .pace import Pace
from .passes import spread
from .probes import Probe, ProbeLog, SentProbe
from .sending import PassSender

HEARTBEAT = 1.0  # seconds between two calls of a sweep at most, so that a longer break is noticed


class PathRecovery:
    """The outages of one sweep, and the limit that they show."""

    def __init__(
        self, log: ProbeLog, sender: PassSender, pace: Pace, budgets: FlowBudgets, rng: random.Random, now: float
    ) -> None:
        self._log, self._sender, self._pace, self._budgets, self._rng = log, sender, pace, budgets, rng
        self.before: Sequence[SentProbe] = ()  # of the sweep before
        self.outage: Outage | None = None
        self.limit: Limit | None = None
        self._pause_until = now
        self._resumed_until = now - 1.0  # what is sent up to this is right behind an outage

    def next_timer(self, now: float) -> float:
        """Return when to try the path, or to end the outage."""
        return now if self.outage and self.outage.over else self._pause_until

    def begin(self, now: float) -> None:
        """Begin an outage."""
        passed, kept_since = self._log.passed(), self._pace.shut_since - self._budgets.longest_life
        flows = {(probe.port, probe.socket) for probe in [*self.before, *passed] if probe.at > kept_since}
        last_second = sum(1 for probe in passed if probe.at > passed[-1].at - 1.0)
        known = [(probe.port, probe.socket) for probe in self._log.recent if probe.at > now - KNOWN_SECONDS]
        self.outage = Outage(now, len(flows), last_second, known)
        self._pause_until = now

    def probes_to_send(self, now: float) -> list[Probe]:
        """Return one flow of a group, when it is time for it."""
        outage = self.outage
        if not outage or now < self._pause_until:
            return []
        if not outage.trials:
            if self._budgets.available(GROUP, now) < GROUP:
                outage.began += HEARTBEAT  # waiting for flows is no sign of anything
                self._pause_until = now + HEARTBEAT
                return []
            # From a socket of their own, since one may be dead.
            outage.begin_group(spread(self._log.open_ports, GROUP, self._rng), self._sender.source_ports.new())
        port, socket, group, known = outage.trials.popleft()
        if not known:
            self._sender.current.socket = socket
        self._pause_until = now + (self._pace.widest_gap if outage.trials else max(self._sender.timeout, outage.pause))
        self._budgets.spend(not known, now)
        round_number = self._pace.round_number
        return [self._log.add(SentProbe(port, socket, now, round_number, outage=outage, group=group, known=known))]

    def end(self, now: float) -> None:
        """Go on with the sweep, as what the outage showed has it."""
        outage = self.outage
        assert outage, "there is one"
        kind = outage.kind(now, self._pace.shut_since <= self._resumed_until, self.limit)
        self.limit, self.outage = outage.limit(kind, now) or self.limit, None
        if kind is Kind.FLOWS:
            self._budgets.add_table(outage.flows, outage.held)
        elif kind is Kind.PACE:
            self._pace.control.give_way(now)
        elif kind is Kind.SHUT_OUT:
            self._pace.control.fix(outage.last_second / GENTLER, now)
        self._pace.resume(now)
        self._resumed_until = now + SOON

    def give_up(self, now: float) -> None:
        """End the sweep in an outage: what it showed so far is the limit."""
        if self.outage:
            self.limit = self.outage.limit(self.outage.kind(now, False, self.limit), now) or self.limit
