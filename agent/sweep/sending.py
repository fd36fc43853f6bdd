"""Sending the queue of a pass: how many probes now, to which port or canary, and from which source port."""

from __future__ import annotations

import random
from collections import deque
from typing import Sequence

from .flows import FlowBudgets
from .limit import RateLimitSamples
from .pace import Pace
from .passes import Pass, Passes, plan_pass
from .probes import Probe, ProbeLog, SentProbe

BATCH = 32  # probes between two looks at the answers: so many answers fit into the smallest receive buffer
FIRST_SOCKETS, PROBES_EACH = 4, 20  # that a sweep begins with, and how many probes of the first round each sends
GENTLE = 20  # ports of each pass that are tried at the slowest pace while none answers, whatever limit there may be
CANARY_EVERY, MIN_PROVEN = 10, 10  # of the first pass's probes, and as soon as so many ports are proven
SETTLED = 4.0  # round trips of the slowest canary: when all canaries have answered, so long for the others
MIN_SETTLED = 0.03  # seconds: what the other side's scheduler may add


class SourcePorts:
    """Which of the client's sockets, numbered from 0, a probe leaves from: each pass has new ones, so new flows."""

    def __init__(self) -> None:
        self._count = 0
        self._first = [self.new() for _ in range(FIRST_SOCKETS)]
        self._settled = False

    def new(self) -> int:
        """Return one more."""
        self._count += 1
        return self._count - 1

    def for_port(self, number: int, current: Pass, heard: SentProbe | None) -> int:
        """Return one of several for the first probes, as a path may be dead for one; then one that was heard."""
        if number < FIRST_SOCKETS * PROBES_EACH:
            return self._first[number % FIRST_SOCKETS]
        if heard and heard.pass_number == 1 == current.number and not self._settled:
            self._settled, current.socket = True, heard.socket
        return current.socket

    def for_canary(self, port: int, current: Pass, flows: set[tuple[int, int]]) -> int:
        """Return one that makes a new flow: where few ports are open each gets several canaries.

        A second packet of a flow passes what lets only so many new flows pass, and would tell nothing of silent ports.
        """
        for socket in (current.socket, *current.more_sockets):
            if (port, socket) not in flows:
                return socket
        current.more_sockets.append(self.new())
        return current.more_sockets[-1]


class PassSender:
    """Sends the passes of a sweep, in rounds, as fast as the pace and the budgets of flows let it.

    A pass's last answers take `timeout` seconds to come.
    """

    def __init__(
        self, log: ProbeLog, passes: Passes, pace: Pace, budgets: FlowBudgets, rng: random.Random, now: float
    ) -> None:
        self._log, self._passes, self._pace, self._budgets, self._rng = log, passes, pace, budgets, rng
        self._round_wait, self.timeout = pace.wait, pace.patience
        self.source_ports = SourcePorts()
        self.queue: deque[tuple[int, bool]] = deque()  # a port, and whether the probe is a canary
        self.rate_limit = RateLimitSamples(now)
        self.answers_until = now  # until then nothing is sent, but where all has been answered

    @property
    def current(self) -> Pass:
        """Return the pass that is being sent."""
        return self._passes.current

    def begin_pass(self, silent: Sequence[int], now: float) -> None:
        """Begin a pass over the silent ports; where none has answered, its first ones go as slowly as it gets.

        Each pass after the first has an order of its own: in one order for all, what lets the first packets of a burst
        pass would let the same ports pass each time.
        """
        open_ports, control = self._log.open_ports, self._pace.control
        if self._passes.count:
            silent = self._rng.sample(silent, len(silent))
        self.queue.extend(plan_pass(silent, open_ports, len(self._log.sent), self._rng))
        if open_ports:
            control.only_canaries()
        elif self._passes.count:
            if self.current.pings.sent > 2 * self.current.pings.lost:
                control.trust_path()
            self._pace.next_round(now, gently=min(GENTLE, len(silent)))
        self._passes.begin(self.source_ports.new(), now)

    def send(self, now: float) -> list[Probe]:
        """Return the probes to send now."""
        wanted = min(BATCH, len(self.queue), self._pace.allowance(now))
        probes = [self._probe(*self._next(), now) for _ in range(self._budgets.available(wanted, now))]
        self._budgets.spend(len(probes), now)
        if not self.queue:
            self.answers_until = now + self.timeout
        elif self._pace.round_is_full and self._pace.control.is_climbing and self._passes.count == 1:
            self.answers_until = now + self._round_wait
        return probes

    def on_answer(self, probe: SentProbe, now: float) -> None:
        """Learn from the first answer to a probe; one that tried the path in an outage tells nothing of the pace."""
        self.rate_limit.on_answer(now)
        if probe.outage:
            return
        self._pace.on_answer(probe.round_number, probe.canary is not None, self._stands_for_all(probe))
        if probe.canary is None:
            return
        its_pass = self._passes.of(probe)
        its_pass.canaries.on_answer(probe.canary)
        its_pass.slowest_canary = max(its_pass.slowest_canary, now - probe.at)
        if its_pass is self._passes.current and not self.queue and not its_pass.canaries.lost:
            settled = self._log.probes[-1].at + max(MIN_SETTLED, SETTLED * its_pass.slowest_canary)
            self.answers_until = min(self.answers_until, settled)

    def next_round(self, now: float) -> bool:
        """Begin a round, or wait for late answers to the last ones; return whether the path turned out to be shut."""
        doubts_until = self._pace.doubts_until(now)
        if doubts_until > now:
            self.answers_until = doubts_until
        elif self.judge_rounds(now):
            return True
        else:
            self._pace.next_round(now)
            self.answers_until = now
        return False

    def judge_rounds(self, now: float) -> bool:
        """Learn from the rounds; return whether the path turned out to be shut."""
        is_shut = self._pace.judge(now)
        if self._pace.control.delivered is not None:
            self.rate_limit.on_fall(now)
        return is_shut

    def _next(self) -> tuple[int, bool]:
        """Return the next port; in the first pass now and then a canary, where not every port answers."""
        open_ports = self._log.open_ports
        if self._passes.count == 1 and len(open_ports) >= MIN_PROVEN and self._pace.control.wants_canaries:
            if len(self._log.probes) % CANARY_EVERY == 0:
                return self._rng.choice(open_ports), True
        return self.queue.popleft()

    def _probe(self, port: int, is_canary: bool, now: float) -> Probe:
        current, log = self._passes.current, self._log
        if is_canary and current.number > 1:
            socket = self.source_ports.for_canary(port, current, log.flows)
        else:
            socket = self.source_ports.for_port(len(log.probes), current, log.recent[0] if log.recent else None)
        canary = current.canaries.on_sent() if is_canary else None
        probe = SentProbe(port, socket, now, self._pace.round_number, canary, current.number)
        self._pace.on_sent(now, is_canary, self._stands_for_all(probe))
        return log.add(probe)

    def _stands_for_all(self, probe: SentProbe) -> bool:
        """Return whether it tells what share of the ports is open: later ones go to silent ports; ends are special."""
        return probe.canary is None and probe.pass_number == 1 and probe.port not in self._log.range_ends
