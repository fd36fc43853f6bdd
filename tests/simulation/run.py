"""A sweep over a network on a virtual clock: what the client's loop does, its verdicts, and whether they are true."""

from __future__ import annotations

import heapq
import inspect
import random
from collections import Counter
from typing import Any, Callable, Iterable

from agent.client.udp import TICK
from agent.core.address import Family
from agent.core.plan import MEDIA, Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.core.report import Finding, State
from agent.sweep.pings import OVERDUE
from agent.sweep.probes import Probe
from agent.sweep.sweep import Sweep
from agent.verdict.address_report import find
from agent.verdict.evidence import CheckEvidence, ControlEvidence, ServerRecords, TcpEvidence, UdpEvidence
from tests.simulation.control import Question, ask
from tests.simulation.network import Network
from tests.simulation.result import Result, Socket, Wrong
from tests.simulation.rules import truths
from tests.simulation.weather import Weather

SEND_SECONDS = 20e-6  # what it takes to build a probe and to send it
TAKE_SECONDS = 10e-6  # what it takes to prove an answer
TURN_SECONDS = 20e-6  # what a turn of the loop takes by itself
# A sweep that takes longer on the virtual clock, or looks at it more often without anything to do, hangs.
MAX_SECONDS = 3600.0
MAX_IDLE = 1_000_000
PINGS = 3  # round trips of the control channel before a sweep: hello, and who listens where

Make = Callable[..., Any]  # a sweep, or what looks like one


class Hangs(Exception):
    """A sweep did not end."""


def simulate(weather: Weather, make: Make = Sweep) -> Result:
    """Sweep over a network and judge it as the client does."""
    client = _Client(weather, make)
    client.run()
    return client.judge()


class _Client:
    def __init__(self, weather: Weather, make: Make) -> None:
        self._weather = weather
        self._network = Network(weather.path, random.Random(f"network {weather.seed}"))
        self._rtt = _measure_rtt(weather)
        self._sweep = _sweep(weather, make, self._rtt)
        self._pings = hasattr(self._sweep, "wants_ping")
        self._ping: Question | None = None
        self._probes: list[Probe] = []
        self._sockets: list[Socket] = []
        self._coming: list[tuple[float, int]] = []
        self._sleeps = sorted(weather.sleeps, key=lambda one: one.at)
        self._now = 0.0

    def run(self) -> None:
        """What the client's loop does."""
        sweep, idle = self._sweep, 0
        while not sweep.done:
            if self._sleeps and self._sleeps[0].at <= self._now:
                self._fall_asleep()
            due_at = self._now
            probes = sweep.probes_to_send(due_at)
            if probes:
                self._send(probes)
            if self._pings:
                self._look_after_ping()
            if sweep.is_unreachable(self._now):
                break
            if not probes and not sweep.done:
                self._wait(due_at)
                idle += 1
            self._now += TURN_SECONDS
            if self._coming:
                self._take()
            if self._now > MAX_SECONDS or idle > MAX_IDLE:
                raise Hangs(f"seed {self._weather.seed}: after {self._now:.1f} s in {self._weather.describe()}")

    def judge(self) -> Result:
        """The verdicts, and what is wrong with them."""
        weather, sweep, ports = self._weather, self._sweep, self._weather.ports
        sightings = ask(self._network, self._rtt, self._now, OVERDUE)
        plan = Plan("simulation", (Requirement(Transport.UDP, PortRange(ports[0], ports[-1]), MEDIA, Need.REQUIRED),))
        server = ServerRecords()
        if sightings is not None:
            server.sightings = {Transport.UDP: self._network.sightings, Transport.TCP: {}}
        lost = sightings is None
        findings = find(
            CheckEvidence(
                plan,
                ControlEvidence("192.0.2.1", Family.IPV4, "192.0.2.1", lost=lost),
                server,
                UdpEvidence([sweep]),
                # A port that the client was let in by is tried again; here that is the control channel's.
                TcpEvidence(shut_out=lost and sweep.is_shut_out),
            )
        )
        states: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for finding in findings:
            states[finding.state.value] += len(finding.ports)
            if finding.state is State.UNKNOWN:
                reasons[finding.reason.value if finding.reason else "no reason"] += len(finding.ports)
        return Result(
            weather.seed, weather.kind, weather.describe(), self._now, len(self._probes), tuple(self._sockets),
            len(ports), dict(states), self._wrong(findings), dict(reasons), findings, sightings is not None,
        )  # fmt: skip

    def _wrong(self, findings: Iterable[Finding]) -> tuple[Wrong, ...]:
        weather, sent, seen = self._weather, self._sweep.sent, self._network.sightings
        path, since = weather.path, weather.path.delay  # no probe arrives before
        true = truths(path.rules, path.changes, since, self._now, weather.ports)
        return tuple(
            Wrong(port, finding.state, sent[port], seen.get(port, 0))
            for finding in findings
            if finding.state is not State.UNKNOWN
            for port in finding.ports
            if finding.state not in true[port]
        )

    def _send(self, probes: list[Probe]) -> None:
        now, network, coming = self._now, self._network, self._coming
        for probe in probes:
            now += SEND_SECONDS
            assert probe.number == len(self._probes), "probes are numbered in their order"
            self._probes.append(probe)
            self._note(probe.socket, now)
            for at in network.send(probe.socket, probe.port, now):
                heapq.heappush(coming, (at, probe.number))
        self._now = now

    def _note(self, number: int, now: float) -> None:
        sockets = self._sockets
        while len(sockets) <= number:
            sockets.append(Socket(now, now))
        sockets[number].ended = now
        sockets[number].sent += 1

    def _wait(self, due_at: float) -> None:
        wakes = min(self._sweep.next_timer(due_at), self._now + TICK)
        if self._coming and self._coming[0][0] < wakes:
            wakes = self._coming[0][0]
        if self._ping and self._ping.wake < wakes:
            wakes = self._ping.wake
        self._now = max(self._now, wakes)

    def _take(self) -> None:
        """Hand the answers that have come to the sweep; what the receive buffer did not hold is lost."""
        until, coming, taken = self._now, self._coming, 0
        network, answer = self._network, self._sweep.on_answer
        while coming and coming[0][0] <= until:
            at, number = heapq.heappop(coming)
            probe = self._probes[number]
            if network.checks_answers and not network.admits(probe.socket, probe.port, at):
                continue
            taken += 1
            if taken <= self._weather.buffer:
                self._now += TAKE_SECONDS
                self._sockets[probe.socket].answered += 1
                answer(number, self._now)

    def _fall_asleep(self) -> None:
        sleep = self._sleeps.pop(0)
        self._now += sleep.seconds
        while sleep.lost and self._coming and self._coming[0][0] <= self._now:
            heapq.heappop(self._coming)

    def _look_after_ping(self) -> None:
        sweep = self._sweep
        if self._ping and self._ping.look(self._now):
            self._ping = None
            sweep.on_pong(self._now, self._network.free_flows(self._now))
        if not self._ping and not sweep.done and sweep.wants_ping(self._now):
            sweep.on_ping_sent(self._now)
            self._ping = Question(self._network, self._rtt, self._now)
            self._ping.look(self._now)


def _measure_rtt(weather: Weather) -> float:
    """The shortest round trip of the control channel before the sweep, as the client has it."""
    least = 2 * weather.path.delay
    before = Network(weather.path, random.Random(f"before {weather.seed}"))  # one that nothing has passed yet
    times = [ask(before, least, 0.0, OVERDUE) for _ in range(PINGS)]
    return min((one for one in times if one is not None), default=least)


def _sweep(weather: Weather, make: Make, rtt: float) -> Any:
    """A sweep that is told of the server's free flows, where it can be told."""
    known = inspect.signature(Sweep).parameters
    more = {"free_flows": weather.path.flows} if "free_flows" in known else {}
    return make(weather.ports, random.Random(f"client {weather.seed}"), rtt, 0.0, **more)
