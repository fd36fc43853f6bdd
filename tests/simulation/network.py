"""A network between a client and a server: what becomes of each probe and of its answers.

On its way a probe meets, in this order: a stall, the router's table of flows and its limit on new ones, a dead route,
the scan guard, policers, a queue, loss, the rules, the server's connection tracking, the server. Its answer meets the
rules, policers, a queue, loss, a stall, and once more the guard and the router's table, which may have forgotten the
flow.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Sequence

from tests.simulation.guard import Guarding, ScanGuard
from tests.simulation.loss import Bursts, GilbertElliott
from tests.simulation.policer import FlowPolicer, Policer, Policing, Shaper, Shaping
from tests.simulation.rules import Change, Rules
from tests.simulation.stall import Stall, hold
from tests.simulation.tables import FlowTable, Tracking

TWICE = 0.0005  # seconds between a packet and its double
NAT = Tracking(65536, 120.0)  # what forgets its flows where nothing else is said of the router
NOTHING: tuple[float, ...] = ()
OPEN = Rules()


@dataclass(frozen=True)
class Way:
    """One way of a path: its random loss, its bursts of loss, its policers, its queue."""

    loss: float = 0.0
    bursts: Bursts | None = None
    policing: tuple[Policing, ...] = ()
    shaping: Shaping | None = None
    loss_from: float = 0.0  # when the random loss begins


@dataclass(frozen=True)
class Path:
    """All of a network. Times are in seconds, `delay` and `jitter` one way, `reordered` and `doubled` are shares."""

    delay: float = 0.01
    jitter: float = 0.0  # at most, on top of the delay, for each packet by itself
    reordered: float = 0.0
    reordered_by: float = 0.005
    doubled: float = 0.0  # of the packets each way
    to_server: Way = Way()
    to_client: Way = Way()
    router: Tracking | None = None
    bindings: Policing | None = None  # of new flows, by the router
    server: Tracking | None = None
    guard: Guarding | None = None
    rebindings: tuple[float, ...] = ()  # when the router forgets all flows
    stalls: tuple[Stall, ...] = ()
    dead_legs: int = 0  # of a hundred equal routes, by a hash of the flow: packets of such a flow never arrive
    dead_sockets: int = 0  # of a hundred of the client's sockets: packets of such a source port never arrive
    dead_source_ports: frozenset[int] = frozenset()  # the client's sockets, by number, whose packets never arrive
    rules: Rules = OPEN
    changes: tuple[Change, ...] = ()

    @property
    def flows(self) -> int | None:
        """The free entries of the server's connection tracking, as it tells them; None without one."""
        return self.server.capacity if self.server else None


class Network:
    """A path at work. Calls come in the order of time."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self._path, self._chance, self._random = path, chance, chance.random
        self._there, self._back = _Way(path.to_server, chance), _Way(path.to_client, chance)
        router = path.router or (NAT if path.rebindings else None)
        self._router = FlowTable(router) if router else None
        self._server = FlowTable(path.server) if path.server else None
        self._guard = ScanGuard(path.guard) if path.guard else None
        self._bindings = FlowPolicer(path.bindings) if path.bindings else None
        self._rebindings = list(path.rebindings)
        self._rules, self._changes = path.rules, list(path.changes)
        self._stalls_back = tuple(stall for stall in path.stalls if not stall.one_way)
        self._salt = chance.getrandbits(32)
        self._varies = bool(path.jitter or path.reordered)
        self._gated = bool(path.stalls or router or path.bindings or path.guard or path.dead_legs or path.dead_sockets)
        self._gated |= bool(path.dead_source_ports)
        self.checks_answers = bool(router or (path.guard and path.guard.answers))
        self.sightings: dict[int, int] = {}

    def free_flows(self, now: float) -> int | None:
        """The entries that the server's connection tracking has free, as it tells them; None without one."""
        return self._server.free(now) if self._server else None

    def send(self, socket: int, port: int, now: float) -> Sequence[float]:
        """When the answers of a probe come back to the client, unless `admits` drops them."""
        if self._gated:
            passed = self._gate(socket << 16 | port, now)
            if passed is None:
                return NOTHING
            now = passed
        path = self._path
        through = self._there.through(now)
        if through is None:
            return NOTHING
        now = through
        while self._changes and now + path.delay >= self._changes[0].at:
            self._rules = self._changes.pop(0).rules
        rules = self._rules
        if port in rules.blocked:
            return NOTHING
        if self._server is not None and not self._server.passes(socket << 16 | port, now):
            return NOTHING
        copies = 2 if path.doubled and self._random() < path.doubled else 1
        self.sightings[port] = self.sightings.get(port, 0) + copies
        if port in rules.mute:
            return NOTHING
        if copies == 1 and not path.doubled:
            at = self._return(now + path.delay)
            return NOTHING if at is None else (at,)
        return self._doubled_returns(now + path.delay, copies, sent=now)

    def admits(self, socket: int, port: int, now: float) -> bool:
        """Whether an answer that comes now gets to the client; asked only where `checks_answers`."""
        if self._guard and self._path.guard and self._path.guard.answers and self._guard.locked(now):
            return False
        if self._router is None:
            return True
        self._rebind(now)
        return self._router.replies(socket << 16 | port, now)

    def reaches(self, now: float) -> float | None:
        """When the answer to a packet of the control channel comes, None where one of the two is lost."""
        path, guard = self._path, self._guard
        if guard and path.guard and path.guard.control and guard.locked(now):
            return None
        passed = hold(path.stalls, now, control=True)
        through = None if passed is None else self._there.through(passed, control=True)
        return None if through is None else self._return(through + path.delay, control=True)

    def _gate(self, flow: int, now: float) -> float | None:
        """When a probe leaves the client's side of the path; None where it never does."""
        path = self._path
        if path.stalls:
            passed = hold(path.stalls, now)
            if passed is None:
                return None
            now = passed
        if path.rebindings:
            self._rebind(now)
        if self._router is not None and not self._router.passes(flow, now):
            return None
        if self._bindings and not self._bindings.passes(flow, now):
            return None
        if path.dead_sockets and hash((flow >> 16, self._salt)) % 100 < path.dead_sockets:
            return None
        if flow >> 16 in path.dead_source_ports:
            return None
        if path.dead_legs and hash((flow, self._salt)) % 100 < path.dead_legs:
            return None
        if self._guard and not self._guard.passes(flow, now):
            return None
        return now

    def _rebind(self, now: float) -> None:
        while self._rebindings and self._rebindings[0] <= now:
            del self._rebindings[0]
            if self._router is not None:
                self._router.forget()

    def _return(self, at: float, control: bool = False) -> float | None:
        """When an answer that the server sends at a time comes to the client; None where it does not."""
        path = self._path
        through = self._back.through(at, control)
        if through is None:
            return None
        at = through + path.delay
        if self._varies:
            at += self._random() * path.jitter + self._random() * path.jitter
            if self._random() < path.reordered:
                at += path.reordered_by
        return hold(self._stalls_back, at, control) if self._stalls_back else at

    def _doubled_returns(self, at: float, copies: int, sent: float) -> list[float]:
        found = []
        for copy in range(copies):
            back = self._return(at + copy * TWICE)
            if back is not None:
                found.append(back)
                if self._random() < self._path.doubled:
                    found.append(back + TWICE)
        return found


class _Way:
    """One way at work."""

    def __init__(self, way: Way, chance: random.Random) -> None:
        self._loss, self._loss_from, self._random = way.loss, way.loss_from, chance.random
        self._bursts = GilbertElliott(way.bursts, chance) if way.bursts else None
        self._policers = [(one.control, Policer(one)) for one in way.policing]
        self._shaper = Shaper(way.shaping) if way.shaping else None

    def through(self, at: float, control: bool = False) -> float | None:
        """When a packet that comes at a time is through all but the delay; None where it is lost."""
        for counts, policer in self._policers:
            if (counts or not control) and not policer.passes(at):
                return None
        if self._shaper:
            leaves = self._shaper.leaves(at)
            if leaves is None:
                return None
            at = leaves
        if self._loss and at >= self._loss_from and self._random() < self._loss:
            return None
        return None if self._bursts is not None and self._bursts.loses(at) else at
