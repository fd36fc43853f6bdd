"""A small network on a virtual clock, and what a sweep over it did: the client's loop, but in no time."""

from __future__ import annotations

import functools
import heapq
import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Iterator, Sequence

from agent.sweep.probes import Probe
from agent.sweep.sending import BATCH
from agent.sweep.sweep import Sweep

STEP = 1e-5  # seconds that one turn of a client's loop takes at least
FLOW_LIFE = 30.0
NEVER = (0.0, 0.0)
HANGS = 4000.0  # seconds: no sweep takes so long


@dataclass(frozen=True)
class Network:
    """A path, and the ports that something on it blocks; times are in seconds, and what is 0 is not there."""

    rtt: float = 0.02
    loss: float = 0.0  # each way
    lossy_from: float = 0.0
    blocked: frozenset[int] = frozenset()
    rate: float = 0.0  # what a policer lets pass a second
    burst: int = 50  # what it lets pass at once
    late: float = 0.0  # the share of answers that come two seconds late
    doubled: bool = False
    stall: tuple[float, float] = NEVER  # what comes in that time comes at its end
    outage: tuple[float, float] = NEVER  # what comes in that time is lost
    table: int = 0  # flows that a router keeps for 30 seconds each
    guard: int = 0  # new flows within a second for which a guard shuts this computer out
    ban: float = 60.0
    dead: frozenset[int] = frozenset()  # sockets whose probes never arrive
    pong: float | None = 0.0  # what the control channel takes longer than a round trip; None: it is dead
    free: int | None = None  # flows that the server's connection tracking has free, as pongs tell
    slow_pongs: float = 0.0  # the share of pongs that come 0.3 seconds later still
    sleep: tuple[float, float] = NEVER  # when this computer sleeps, and for how long


class Path:
    """A network at work."""

    def __init__(self, network: Network, chance: random.Random) -> None:
        self._network, self._chance = network, chance
        self._tokens, self._filled = float(network.burst), 0.0
        self._table: OrderedDict[tuple[int, int], float] = OrderedDict()
        self._new: deque[float] = deque()
        self._banned_until = -1.0

    def answers(self, probe: Probe, now: float) -> Iterator[float]:
        """When the answers to a probe come."""
        network, chance = self._network, self._chance
        if not self._passes(probe, now) or probe.port in network.blocked:
            return
        loss = network.loss if now >= network.lossy_from else 0.0
        if loss and (chance.random() < loss or chance.random() < loss):
            return
        at = now + network.rtt + (2.0 if network.late and chance.random() < network.late else 0.0)
        if network.stall[0] <= at < network.stall[1]:
            at = network.stall[1]
        yield from [at, at + 0.001] if network.doubled else [at]

    def pong(self, now: float) -> Iterator[float]:
        """When the control channel answers."""
        if self._network.pong is not None:
            slow = 0.3 if self._chance.random() < self._network.slow_pongs else 0.0
            yield now + self._network.rtt + self._network.pong + slow

    def _passes(self, probe: Probe, now: float) -> bool:
        network = self._network
        dead = probe.socket in network.dead or network.outage[0] <= now < network.outage[1]
        return not dead and self._keeps((probe.port, probe.socket), now) and not self._polices(now)

    def _polices(self, now: float) -> bool:
        network = self._network
        if not network.rate:
            return False
        self._tokens = min(network.burst, self._tokens + (now - self._filled) * network.rate)
        self._filled = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False

    def _keeps(self, flow: tuple[int, int], now: float) -> bool:
        """Whether the guard and the router's table let a flow pass."""
        network, table = self._network, self._table
        if not (network.table or network.guard):
            return True
        while table and next(iter(table.values())) <= now - FLOW_LIFE:
            table.popitem(last=False)
        if now < self._banned_until:
            return False
        if flow in table:
            table.move_to_end(flow)
        elif network.table and len(table) >= network.table:
            return False
        else:
            self._new.append(now)
        table[flow] = now
        while self._new and self._new[0] <= now - 1.0:
            self._new.popleft()
        if network.guard and len(self._new) > network.guard:
            self._banned_until = now + network.ban
            return False
        return True


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
    path = Path(network, random.Random(-seed))
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
            for at in path.answers(probe, now):
                heapq.heappush(coming, (at, probe.number))
        if sweep.wants_ping(now):
            sweep.on_ping_sent(now)
            course.pings.append(now)
            pongs.extend(path.pong(now))
        if not probes and not sweep.done:
            wake = sweep.next_timer(now)
            course.wakes.append(wake - now)
            now = max(now, min([wake, *pongs, *(at for at, _ in coming[:1])]))
        now += STEP
        while coming and coming[0][0] <= now:
            sweep.on_answer(heapq.heappop(coming)[1], now)
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
