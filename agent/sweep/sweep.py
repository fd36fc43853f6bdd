"""The schedule of a UDP sweep: ports, time, answers and chance in; probes to send and when to wake out.

The first pass probes every port once, in random order and in rounds of a growing pace. Then come passes over what is
silent, each from a source port of its own, so that every probe of it opens a flow of its own, with canaries among
the probes: what the canaries of a pass lose is how likely an open port stayed silent in it. While no port has
answered there are no canaries; then round trips of the control channel, pings, measure the path.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Iterable, Iterator, NamedTuple, Sequence

from ..core.observation import Reason
from ..core.ports import port_ranges
from . import limit, pings
from .flows import FlowBudgets
from .limit import Kind, Limit, Outage
from .loss import MAX_CHANCE, Tally, pooled, upper_bound
from .pace import Pace
from .pings import Pings

BATCH = 32  # probes between two looks at the answers: so many answers fit into the smallest receive buffer
MIN_TRIES = 3
BLIND_TRIES, BLIND_TRIES_OF_FEW = 5, 7  # where no port answers, and where those are so few that all may be unlucky
FEW = 100  # ports
SURE_FALLS = 4
GENTLE = 20  # ports of each pass that are tried at the slowest pace while none answers, whatever limit there may be
MAX_TRIES = 30  # 20 % of loss each way takes about 20
PASS_GAP, PASS_REST = 1.0, 0.45  # seconds from start to start, and from end to start: bursts of loss are mostly shorter
MIN_CANARIES, MAX_CANARIES = 100, 400  # a pass, for few and for many ports: without a loss, it is below 4 %, 1 %
FLOWS_EACH = 12  # canaries to one port in a pass at most: each has a socket of its own, and Windows selects among 512
CANARY_EVERY, MIN_PROVEN = 10, 10  # of its probes, and as soon as so many ports are proven
FIRST_SOCKETS, PROBES_EACH = 4, 20  # that a sweep begins with, and how many probes of the first round each sends
CANARY_SHARE = 25  # of the ports, one in so many
# What somebody at a terminal waits for; what is still unclear then is unknown. A table of 3,000 flows, or a minute
# of being shut out by a guard and then its pace, leave time enough for 10,000 ports.
MAX_SECONDS = 180.0
PATIENT_TRIES = 4  # tries of each port for which a `max_rate` may ask: those of a clean path, and one more
MIN_TIMEOUT, MAX_TIMEOUT = 0.25, 3.0  # seconds to wait for a pass's last answers: a LAN's, a bad satellite's
SETTLED = 4.0  # round trips of the slowest canary: when all canaries have answered, so long for the others
MIN_SETTLED = 0.03  # seconds: what the other side's scheduler may add
HEARTBEAT = 1.0  # seconds between two calls at most, so that a longer break is noticed
STOPPED = 2.0  # seconds without a call: this process did not run, the computer slept


class Probe(NamedTuple):
    """A probe to send: its number, counted from 0, its port, and which of the client's sockets is to send it."""

    number: int
    port: int
    socket: int


class _Sent(NamedTuple):
    port: int
    socket: int
    at: float
    round: int
    canary: int | None = None  # its number in the tally of its pass
    tries: int = 0  # the pass, counted from 1
    outage: Outage | None = None  # that this tries the path in, by one of its groups; `known` tells which kind of flow
    group: int = 0
    known: bool = False


class _Pass:
    def __init__(self, socket: int, now: float) -> None:
        self.socket, self.began, self.canaries, self.pings = socket, now, Tally(), Tally()
        self.more: list[int] = []  # sockets for canaries beyond the first to a port
        self.slowest = 0.0  # seconds that a canary's answer took
        self.void = False  # the process was stopped in it


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
        self._rng = rng
        self._silent = list(ports)
        self.sent = dict.fromkeys(self._silent, 0)
        self.answered = dict.fromkeys(self._silent, 0)
        self._proven: list[int] = []
        self.rtts: list[float] = []
        self.done = not self._silent
        self.conclusive = True
        self._limit: Limit | None = None
        self._fell: tuple[float, int] | None = None  # when the pace first came down, and the answers until then
        self._heard_at = now
        self.timeout = min(max(3 * rtt, MIN_TIMEOUT), MAX_TIMEOUT)
        self._round_wait = 2 * rtt + 0.01  # and what the other side's scheduler adds
        self._pace = Pace(now, rtt, self._round_wait, self.timeout, max_rate)
        self._rooms: FlowBudgets = previous._rooms if previous else FlowBudgets(free_flows)
        self._max_chance, self._previous = max_chance, previous
        self._probes: list[_Sent] = []
        self._flows: set[tuple[int, int]] = set()
        self._heard: set[int] = set()
        self._lately: deque[_Sent] = deque(maxlen=limit.GROUP)
        self._passes: list[_Pass] = []
        self._sockets = 0
        self._first_sockets = [self._new_socket() for _ in range(FIRST_SOCKETS)]
        self._settled_socket = False
        self._late: list[int] = []
        self._queue: deque[tuple[int, bool]] = deque()
        self._outage: Outage | None = None
        self._trials: deque[tuple[int, int, bool]] = deque()
        self._known: list[tuple[int, int]] = []
        self._resumed_until = now - 1.0  # what is sent up to this is right behind an outage
        self._pings = Pings(rtt)
        self._began = now
        self._answers_until = self._pause_until = self._last_call = now
        # Who sets a `max_rate` has the time that it takes.
        own_time = MAX_SECONDS + (PATIENT_TRIES * len(self._silent) / max_rate if max_rate else 0.0)
        self.deadline = now + own_time if deadline is None else deadline
        # The ends of the ranges first: a guard that strikes has not struck yet, and they tell most.
        self._range_ends = frozenset(port for run in port_ranges(self._silent) for port in (run.first, run.last))
        self._silent = _shuffled(self._range_ends, rng)
        self._silent += _shuffled(set(self.sent).difference(self._range_ends), rng)
        self._begin_pass(now)

    @property
    def open(self) -> int:
        """How many ports have answered."""
        return len(self._proven)

    @property
    def passes(self) -> int:
        """How many passes have begun."""
        return len(self._passes)

    @property
    def chance(self) -> float | None:
        """How many ports, expected, are open and stayed silent throughout; None where nothing measured that.

        It counts on all ports, not on the silent ones: those are the unlucky ones of all. The open ports that the
        first pass left silent are known by those that answered later. Where no port answered, all that are open were
        unlucky together, which is likeliest where there is one.
        """
        if not self.open:
            bound = pooled(one.pings for one in self._passes)
            return bound ** len(self._pinged_passes) if self._pinged_passes else None
        bounds = [one.canaries.bound for one in self._passes[1:] if one.canaries.sent and not one.void]
        if not bounds:
            return None
        late = sum(1 for port in self._late if self.answered[port])
        return len(self.sent) * upper_bound(late, self.open) * math.prod(bounds)

    @property
    def loss(self) -> float:
        """The share of round trips that the path loses, as the canaries bound it from above; 0.0 without any."""
        measured = [one.canaries for one in self._passes[1:] if one.canaries.sent and not one.void]
        return pooled(measured) if measured else 0.0

    @property
    def limit(self) -> Limit | None:
        """The limit that was met last, of whatever kind; where it is sure, or the sweep came to no end."""
        # A busy computer makes the pace fall now and then; a limit, whenever it rises.
        enough = SURE_FALLS if self.conclusive else 1
        if self._limit or self._fell is None or self._pace.falls < enough:
            return self._limit
        since, answers = self._fell
        return Limit(Reason.RATE_LIMIT, rate=(len(self.rtts) - answers) / max(self._heard_at - since, 1.0))

    @property
    def is_shut_out(self) -> bool:
        """Whether nothing passes now, or passed when it ended, not even to ports that are open."""
        return self._outage is not None

    def waits_for_flows(self, now: float) -> bool:
        """Whether it sends nothing since there are enough flows already."""
        return not self.done and bool(self._queue) and not self._rooms.left(1, now)

    def probes_to_send(self, now: float) -> list[Probe]:
        """The probes to send now, a batch at most; empty until `next_timer`, or until answers end the wait."""
        self._notice_stop(now)
        while not self.done:
            if now >= self.deadline or self._rooms.are_none:
                self._finish(now, conclusive=not self._missing())
            elif self._outage and self._outage.over:
                self._end_outage(self._outage, now)
            elif self._outage and now > self._outage.began + limit.GIVE_UP:
                self._finish(now, conclusive=False)
            elif self._outage:
                return self._try_path(self._outage, now)
            elif now < self._pause_until or (now < self._answers_until and len(self._heard) < len(self._probes)):
                break
            elif not self._queue:
                self._end_pass(now)
            elif self._pace.round_is_full:
                self._next_round(now)
            else:
                return self._send(now)
        return []

    def on_answer(self, number: int, now: float) -> None:
        """The proof of a probe came back; the same one again counts no more."""
        if number in self._heard:
            return
        self._heard.add(number)
        probe = self._probes[number]
        if not self.answered[probe.port]:
            self._proven.append(probe.port)
        self.answered[probe.port] += 1
        self.rtts.append(now - probe.at)
        self._heard_at = now
        if probe.outage:
            probe.outage.answer(probe.group, probe.known, now)  # which may be past: of a later one it tells nothing
            return
        self._lately.append(probe)
        canary = probe.canary is not None
        self._pace.answer(probe.round, canary, not canary and self._stands_for_all(probe.port, probe.tries))
        if canary:
            self._answer_canary(self._passes[probe.tries - 1], probe, now)

    def next_timer(self, now: float) -> float:
        """When to call `probes_to_send` again, unless an answer comes before."""
        rest = max(self._pause_until, self._answers_until)
        if self._outage:
            at = now if self._outage.over else self._pause_until
        elif now < rest:
            at = rest
        else:
            at = max(self._pace.next_at(), self._rooms.next_at(now))
        return min(at, now + HEARTBEAT, max(now, self.deadline))

    def wants_ping(self, now: float) -> bool:
        """Whether a round trip of the control channel is to be measured now: `on_ping_sent`, and then `on_pong`."""
        # Where nothing passes a ping would wait for TCP to repeat it, longer and longer.
        if self.done or self._outage or now < self._began + pings.FIRST:
            return False
        return self._pings.is_due(now, self._ping_gap(now))

    def _ping_gap(self, now: float) -> float:
        if not self.open:
            return pings.GAP
        if self.waits_for_flows(now):
            return pings.ROOM_GAP
        # Behind some NATs a part of the probes comes from an address that is not answered before it is confirmed.
        if now < self._passes[-1].began + pings.EARLY:
            return pings.EARLY_GAP
        return pings.KEEP_ALIVE if self._pace.share == math.inf else pings.ROOM_GAP

    def on_ping_sent(self, now: float) -> None:
        """The control channel was asked something."""
        self._pings.send(now, self._passes[-1].pings)

    def hurry_ping(self) -> None:
        """There is something to confirm over the control channel, without which probes are not answered."""
        self._pings.hurry()

    def on_pong(self, now: float, free_flows: int | None = None, rate: float | None = None) -> None:
        """The control channel answered, and told how many flows the server's connection tracking has free.

        And how many probes a second the server has time for, where it shares that among clients.
        """
        self._pings.answer(now)
        self._pace.share = rate or math.inf
        if free_flows is not None and self._probes and now > self._probes[-1].at + self.timeout:
            self._rooms.learn(free_flows, now)  # what was sent has come there, or never will

    def is_unreachable(self, now: float) -> bool:
        """Whether nothing answers, and the control channel does not either."""
        return not self.open and self._pings.is_overdue(now)

    def seconds_left(self, now: float) -> float:
        """About how many seconds are left, should every silent port need its tries."""
        flows = len(self._queue)
        sending = max(flows / self._pace.rate, self._rooms.waiting(flows, now))
        tries = MIN_TRIES if self.open else self._blind_tries
        gaps = PASS_GAP * max(0, tries - self.passes if self.passes > 1 else 0)
        return min(sending + self.timeout + gaps, max(0.0, self.deadline - now))

    # What is sent

    def _send(self, now: float) -> list[Probe]:
        wanted = min(BATCH, len(self._queue), self._pace.allowance(now))
        probes = [self._probe(*self._next(), now) for _ in range(self._rooms.left(wanted, now))]
        self._rooms.take(len(probes), now)
        if not self._queue:
            self._answers_until = now + self.timeout
        elif self._pace.round_is_full and self._pace.climbing and self.passes == 1:
            self._answers_until = now + self._round_wait
        return probes

    def _next(self) -> tuple[int, bool]:
        """The next port of the queue; in the first pass now and then a canary, where not every port answers."""
        if self.passes == 1 and self.open >= MIN_PROVEN and self._pace.wants_canaries:
            if len(self._probes) % CANARY_EVERY == 0:
                return self._rng.choice(self._proven), True
        return self._queue.popleft()

    def _probe(self, port: int, is_canary: bool, now: float) -> Probe:
        current = self._passes[-1]
        number = current.canaries.send() if is_canary else None
        sent = _Sent(port, self._socket(current, port, is_canary), now, self._pace.round, number, self.passes)
        self._pace.send(now, is_canary, not is_canary and self._stands_for_all(port, self.passes))
        return self._record(sent)

    def _stands_for_all(self, port: int, tries: int) -> bool:
        """Whether a probe tells what share of the ports is open: later ones go to silent ports; ends are special."""
        return tries == 1 and port not in self._range_ends

    def _socket(self, current: _Pass, port: int, is_canary: bool) -> int:
        """The first probes come from several sockets, as a path may be dead for one; then from one that was heard."""
        if is_canary and self.passes > 1:
            return next(one for one in self._sockets_of(current) if (port, one) not in self._flows)
        if len(self._probes) < len(self._first_sockets) * PROBES_EACH:
            return self._first_sockets[len(self._probes) % len(self._first_sockets)]
        if self._lately and self._lately[0].tries == 1 == self.passes and not self._settled_socket:
            self._settled_socket, current.socket = True, self._lately[0].socket
        return current.socket

    def _sockets_of(self, current: _Pass) -> Iterator[int]:
        """Those of a pass and then more: where few ports are open each gets several canaries, all of them new flows.

        A second packet of a flow passes what lets only so many new flows pass, and would tell nothing of silent ports.
        """
        yield current.socket
        yield from current.more
        while True:
            current.more.append(self._new_socket())
            yield current.more[-1]

    def _record(self, sent: _Sent) -> Probe:
        self.sent[sent.port] += 1
        self._flows.add((sent.port, sent.socket))
        self._probes.append(sent)
        return Probe(len(self._probes) - 1, sent.port, sent.socket)

    def _answer_canary(self, its_pass: _Pass, probe: _Sent, now: float) -> None:
        assert probe.canary is not None, "it is one"
        its_pass.canaries.answer(probe.canary)
        its_pass.slowest = max(its_pass.slowest, now - probe.at)
        if its_pass is self._passes[-1] and not self._queue and not its_pass.canaries.lost:
            settled = self._probes[-1].at + max(MIN_SETTLED, SETTLED * its_pass.slowest)
            self._answers_until = min(self._answers_until, settled)

    def _new_socket(self) -> int:
        self._sockets += 1
        return self._sockets - 1

    # Rounds

    def _next_round(self, now: float) -> None:
        doubts_until = self._pace.doubts_until(now)
        if doubts_until > now:
            self._answers_until = doubts_until
        elif not self._judge_rounds(now):
            self._pace.next_round(now)
            self._answers_until = now

    def _judge_rounds(self, now: float) -> bool:
        """Learn from the rounds; whether the path turned out to be shut."""
        is_shut = self._pace.judge(now)
        if is_shut:
            self._begin_outage(now)
        if self._fell is None and self._pace.delivered is not None:
            self._fell = now, len(self.rtts)
        return is_shut

    # Passes

    def _missing(self) -> list[int]:
        return [port for port in self._silent if not self.answered[port]]

    def _end_pass(self, now: float) -> None:
        self._pace.next_round(now)
        if self._judge_rounds(now):
            return
        self._silent = self._missing()
        if self.passes == 1:
            self._late = self._silent
        next_pass = max(self._passes[-1].began + PASS_GAP, self._probes[-1].at + PASS_REST)
        if self._is_enough():
            self._finish(now, conclusive=True)
        elif self.passes >= MAX_TRIES:
            self._finish(now, conclusive=False)
        elif now < next_pass:
            self._pause_until = next_pass
        else:
            self._begin_pass(now)

    def _is_enough(self) -> bool:
        if not self._silent:
            return True
        chance = self.chance
        tries = MIN_TRIES if self.open else self._blind_tries
        done = sum(not one.void for one in self._passes) if self.open else len(self._pinged_passes)
        return done >= tries and chance is not None and chance <= self._max_chance

    @property
    def _blind_tries(self) -> int:
        return BLIND_TRIES if len(self.sent) > FEW else BLIND_TRIES_OF_FEW

    @property
    def _pinged_passes(self) -> list[_Pass]:
        """Those in which the control channel showed that the path was alive."""
        return [one for one in self._passes if one.pings.sent > one.pings.lost and not one.void]

    def _finish(self, now: float, conclusive: bool) -> None:
        self.done, self.conclusive = True, conclusive
        if self._outage:
            self._limit = self._outage.recognised(self._outage.kind(now, False, self._limit), now) or self._limit
        elif not conclusive and not self._limit and self._rooms.were_short:
            self._limit = Limit(Reason.FLOW_LIMIT, flows=self._rooms.least)

    def _begin_pass(self, now: float) -> None:
        """The silent ports in the order of the last pass, so that each has its pause, and canaries between them."""
        proven = self._proven
        wanted = min(max(len(self.sent) // CANARY_SHARE, MIN_CANARIES), MAX_CANARIES)
        canaries = min(wanted, FLOWS_EACH * len(proven))
        drawn = iter(spread(proven, canaries, self._rng) if proven else ())
        silent = iter(self._silent)
        places = range(len(self._silent) + canaries)
        among = set(self._rng.sample(places, canaries))
        self._queue.extend((next(drawn), True) if place in among else (next(silent), False) for place in places)
        if proven:
            self._pace.only_canaries()
        elif self._passes and self._passes[-1].pings.sent > 2 * self._passes[-1].pings.lost:
            self._pace.trust()
        if self._passes and not proven:
            self._pace.next_round(now, gently=min(GENTLE, len(self._silent)))
        self._passes.append(_Pass(self._new_socket(), now))

    # Outages

    def _begin_outage(self, now: float) -> None:
        began = self._pace.shut_since
        # What was sent until the last that was answered made its way, whether something behind blocked it or not.
        passed = self._probes[: max(self._heard) + 1]
        before = self._previous._probes if self._previous else []
        flows = {(one.port, one.socket) for one in [*before, *passed] if one.at > began - self._rooms.longest}
        last_second = sum(1 for one in passed if one.at > passed[-1].at - 1.0)
        self._outage = Outage(now, len(flows), last_second)
        self._known = [(one.port, one.socket) for one in self._lately if one.at > now - limit.KNOWN_SECONDS]
        self._pause_until = now

    def _group(self) -> list[tuple[int, int, bool]]:
        """Flows that passed lately, and new ones to open ports, from a socket of their own, since one may be dead."""
        known = [(*flow, True) for flow in self._known]
        socket = self._new_socket()
        return known + [(port, socket, False) for port in spread(self._proven, limit.GROUP, self._rng)]

    def _try_path(self, outage: Outage, now: float) -> list[Probe]:
        """One flow of a group, when it is time for it."""
        if now < self._pause_until:
            return []
        if not self._trials:
            if self._rooms.left(limit.GROUP, now) < limit.GROUP:
                outage.began += HEARTBEAT  # waiting for room is no sign of anything
                self._pause_until = now + HEARTBEAT
                return []
            outage.begin_group()
            self._trials.extend(self._group())
        port, socket, known = self._trials.popleft()
        self._passes[-1].socket = socket if not known else self._passes[-1].socket
        self._pause_until = now + (self._pace.widest_gap if self._trials else max(self.timeout, outage.pause))
        self._rooms.take(not known, now)
        sent = _Sent(port, socket, now, self._pace.round, None, 0, outage, len(outage.groups) - 1, known)
        return [self._record(sent)]

    def _end_outage(self, outage: Outage, now: float) -> None:
        self._outage, self._pause_until = None, now
        self._trials.clear()
        kind = outage.kind(now, self._pace.shut_since <= self._resumed_until, self._limit)
        self._limit = outage.recognised(kind, now) or self._limit
        if kind is Kind.FLOWS:
            self._rooms.add_table(outage.flows, outage.held)
        if kind is Kind.PACE:
            self._pace.give_way(now)
        elif kind is Kind.SHUT_OUT:
            self._pace.hold(outage.last_second / limit.GENTLER, now)
        else:
            self._pace.go_on(now)
        self._resumed_until = now + limit.SOON

    def _notice_stop(self, now: float) -> None:
        """What came while this process did not run is read before it is missed, and the time does not count."""
        stopped, self._last_call = now - self._last_call, now
        if stopped <= STOPPED:
            return
        self.deadline += stopped
        self._answers_until = max(self._answers_until, now + self.timeout)
        self._passes[-1].void = True
        self._pace.go_on(now)
        if self._outage:
            self._outage.began += stopped


def _shuffled(ports: Iterable[int], rng: random.Random) -> list[int]:
    ordered = sorted(ports)
    rng.shuffle(ordered)
    return ordered


def spread(ports: Sequence[int], wanted: int, rng: random.Random) -> list[int]:
    """`wanted` of the ports, each as often as any other, give or take one."""
    whole, rest = divmod(wanted, len(ports))
    return list(ports) * whole + rng.sample(list(ports), rest)
