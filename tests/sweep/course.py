"""A sweep over a small network on a virtual clock, and what it did when: the client's loop, but in no time."""

from __future__ import annotations

import functools
import heapq
import random
from dataclasses import dataclass, field
from typing import Iterator, Sequence

from agent.sweep.probes import Probe
from agent.sweep.sweep import Sweep
from tests.simulation.guard import Guarding
from tests.simulation.network import Network as SimulatedNetwork
from tests.simulation.network import Path, Way
from tests.simulation.policer import Policing
from tests.simulation.rules import Rules
from tests.simulation.stall import Stall
from tests.simulation.tables import Tracking

# The limits, by their numbers.
BATCH = 32

STEP = 1e-5  # seconds that one turn of a client's loop takes at least
FLOW_LIFE = 30.0
LATE = 2.0  # seconds
NEVER = (0.0, 0.0)
HANGS = 4000.0  # seconds: no sweep takes so long


@dataclass(frozen=True)
class Network:
    """A path in few words, and the ports that something on it blocks; times are in seconds, what is 0 is not there.

    Unlike a path of the simulation, it never touches the control channel but for `pong`.
    """

    rtt: float = 0.02
    loss: float = 0.0  # each way
    lossy_from: float = 0.0
    blocked: frozenset[int] = frozenset()
    rate: float = 0.0  # what a policer lets pass a second
    burst: int = 50  # what it lets pass at once
    late: float = 0.0  # the share of answers that come two seconds late
    doubled: bool = False
    stall: tuple[float, float] = NEVER  # what comes in that time comes at its end
    outage: tuple[float, float] = NEVER  # probes sent in that time are lost
    table: int = 0  # flows that a router keeps for 30 seconds each
    guard: int = 0  # new flows within a second for which a guard shuts this computer out
    ban: float = 60.0
    dead: frozenset[int] = frozenset()  # sockets whose probes never arrive
    pong: float | None = 0.0  # what the control channel takes longer than a round trip; None: it is dead
    free: int | None = None  # flows that the server's connection tracking has free, as pongs tell
    slow_pongs: float = 0.0  # the share of pongs that come 0.3 seconds later still
    sleep: tuple[float, float] = NEVER  # when this computer sleeps, and for how long

    def path(self) -> Path:
        """Return it as the simulation has it."""
        way = Way(self.loss, loss_from=self.lossy_from)
        policing = (Policing(self.rate, self.burst),) if self.rate else ()
        stalls = [Stall(begins, ends - begins, lost, control=False, one_way=lost)
                  for (begins, ends), lost in ((self.outage, True), (self.stall, False)) if ends]  # fmt: skip
        return Path(
            self.rtt / 2,
            reordered=self.late,
            reordered_by=LATE,
            doubled=float(self.doubled),
            to_server=Way(self.loss, policing=policing, loss_from=self.lossy_from),
            to_client=way,
            router=Tracking(self.table, FLOW_LIFE) if self.table else None,
            guard=Guarding(self.guard, 1.0, self.ban) if self.guard else None,
            stalls=tuple(stalls),
            dead_source_ports=self.dead,
            rules=Rules(self.blocked),
        )

    def pongs(self, now: float, chance: random.Random) -> Iterator[float]:
        """Return when the control channel answers."""
        if self.pong is not None:
            yield now + self.rtt + self.pong + (0.3 if chance.random() < self.slow_pongs else 0.0)


@dataclass(frozen=True)
class Sent:
    """A probe that was sent: when, in which pass, counted from 1, and whether the path was thought shut then."""

    at: float
    probe: Probe
    tries: int
    shut: bool


@dataclass
class Course:
    """A sweep that is over, and what it did when."""

    sweep: Sweep
    seconds: float = 0.0
    sent: list[Sent] = field(default_factory=list)
    proven: list[frozenset[int]] = field(default_factory=list)  # ports that had answered when a pass began
    pings: list[float] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)  # how far ahead

    def of_pass(self, tries: int) -> list[Sent]:
        """What was sent in a pass."""
        return [one for one in self.sent if one.tries == tries and not one.shut]

    def times(self, port: int) -> list[float]:
        """When a port was tried."""
        return [one.at for one in self.sent if one.probe.port == port]

    def silent(self) -> set[int]:
        """The ports that never answered."""
        return {port for port, answers in self.sweep.answered.items() if not answers}

    def most_within(self, seconds: float, since: float = 0.0) -> int:
        """The most probes in any time so long."""
        return _most_within(seconds, [one.at for one in self.sent if one.at >= since])

    def most_flows_within(self, seconds: float, since: float = 0.0) -> int:
        """The most new flows in any time so long."""
        flows: dict[tuple[int, int], float] = {}
        for one in self.sent:
            flows.setdefault((one.probe.port, one.probe.socket), one.at)
        return _most_within(seconds, [at for at in flows.values() if at >= since])


def _most_within(seconds: float, times: Sequence[float]) -> int:
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


@functools.lru_cache(maxsize=None)
def run(
    ports: Sequence[int], network: Network, seed: int = 1, flows: int | None = None, max_rate: float | None = None
) -> Course:
    """A sweep over a network."""
    sweep = Sweep(ports, random.Random(seed), network.rtt, 0.0, free_flows=flows, max_rate=max_rate)
    chance = random.Random(-seed)
    path = SimulatedNetwork(network.path(), chance)
    course = Course(sweep)
    coming: list[tuple[float, int]] = []
    pongs: list[float] = []
    now, awake = 0.0, network.sleep == NEVER
    while not sweep.done:
        assert now < HANGS
        if not awake and now >= network.sleep[0]:
            now, awake = now + network.sleep[1], True
        probes = sweep.probes_to_send(now)
        _note(course, probes, now)
        for probe in probes:
            for at in path.send(probe.socket, probe.port, now):
                heapq.heappush(coming, (at, probe.number))
        if sweep.wants_ping(now):
            sweep.on_ping_sent(now)
            course.pings.append(now)
            pongs.extend(network.pongs(now, chance))
        if not probes and not sweep.done:
            wake = sweep.next_timer(now)
            course.wakes.append(wake - now)
            now = max(now, min([wake, *pongs, *(at for at, _ in coming[:1])]))
        now += STEP
        while coming and coming[0][0] <= now:
            at, number = heapq.heappop(coming)
            probe = course.sent[number].probe
            if not path.checks_answers or path.admits(probe.socket, probe.port, at):
                sweep.on_answer(number, now)
        if pongs and pongs[0] <= now:
            pongs.clear()
            sweep.on_pong(now, network.free)
    course.seconds = now
    return course


def _note(course: Course, probes: Sequence[Probe], now: float) -> None:
    sweep = course.sweep
    assert len(probes) <= BATCH
    while sweep.passes > len(course.proven):
        course.proven.append(frozenset(port for port, answers in sweep.answered.items() if answers))
    for probe in probes:
        assert probe.number == len(course.sent)
        course.sent.append(Sent(now, probe, sweep.passes, sweep.is_shut_out))
