"""The probes of a sweep: which were sent, from where and when, and which were answered."""

from __future__ import annotations

from collections import deque
from typing import Iterable, NamedTuple, Protocol

from ..core.ports import port_ranges
from .outage import GROUP, Outage


class Probe(NamedTuple):
    """A probe to send: its number, counted from 0, its port, and which of the client's sockets is to send it."""

    number: int
    port: int
    socket: int


class Schedule(Protocol):
    """A schedule of probes: pure, with times of one clock that only goes forward."""

    @property
    def done(self) -> bool:
        """Return whether nothing more is to be sent or waited for."""

    def probes_to_send(self, now: float) -> list[Probe]:
        """Return the probes to send now."""

    def on_answer(self, number: int, now: float) -> None:
        """Take the proof of the probe of that number."""

    def next_timer(self, now: float) -> float:
        """Return when to call `probes_to_send` again, unless an answer comes before."""


class SentProbe(NamedTuple):
    """A probe that was sent in a round and a pass (counted from 1; 0 for one that tries the path in an outage)."""

    port: int
    socket: int
    at: float
    round_number: int
    canary: int | None = None  # its number in the tally of its pass
    pass_number: int = 0
    outage: Outage | None = None
    group: int = 0  # of that outage
    known: bool = False  # in a flow that had passed before


class ProbeLog:
    """All probes of one sweep over these ports."""

    def __init__(self, ports: Iterable[int]) -> None:
        self.sent = dict.fromkeys(ports, 0)  # how often, by port
        self.answered = dict.fromkeys(self.sent, 0)
        self.range_ends = frozenset(port for run in port_ranges(self.sent) for port in (run.first, run.last))
        self.open_ports: list[int] = []  # in the order of their first answers
        self.rtts: list[float] = []
        self.probes: list[SentProbe] = []
        self.flows: set[tuple[int, int]] = set()  # a port and a socket
        self.recent: deque[SentProbe] = deque(maxlen=GROUP)  # those answered last, but for an outage's
        self._numbers: set[int] = set()  # of those answered

    @property
    def all_answered(self) -> bool:
        """Return whether every probe was answered."""
        return len(self._numbers) >= len(self.probes)

    def add(self, probe: SentProbe) -> Probe:
        """Add a probe that is to be sent; return it with its number."""
        self.sent[probe.port] += 1
        self.flows.add((probe.port, probe.socket))
        self.probes.append(probe)
        return Probe(len(self.probes) - 1, probe.port, probe.socket)

    def on_answer(self, number: int, now: float) -> SentProbe | None:
        """Count the answer to a probe; return the probe, None where it was answered before."""
        if number in self._numbers:
            return None
        self._numbers.add(number)
        probe = self.probes[number]
        if not self.answered[probe.port]:
            self.open_ports.append(probe.port)
        self.answered[probe.port] += 1
        self.rtts.append(now - probe.at)
        if not probe.outage:
            self.recent.append(probe)
        return probe

    def passed(self) -> list[SentProbe]:
        """Return those sent until the last that was answered: they made their way, if not to a port that answers."""
        return self.probes[: max(self._numbers) + 1]
