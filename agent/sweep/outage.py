"""A path that lets nothing new pass: how it is tried, and what its silence tells.

A path that falls silent is not probed on. A few flows that it let pass before, and a few new ones to ports that are
known to be open, are tried again and again until the new ones pass. Where the old ones pass meanwhile, a table of
flows is full; where they do not, this computer is shut out; where the new ones pass at once, it is a matter of pace.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import Iterable, NamedTuple, Sequence

from ..core.observation import Reason
from .limit import Limit

GROUP = 10  # flows of each kind: a path that loses half of all round trips lets three of them pass, 19 times in 20
PASSED = 3
PAUSES = (1.0, 2.0, 4.0)  # seconds between groups; the last for all that follow: a guard may count them
QUICK_PAUSE = 2.0  # where old flows pass nobody minds, and entries of a table come free one by one
KNOWN_SECONDS = 20.0  # a flow is not forgotten sooner: 30 s are what the shortest tables keep it (Linux)
SMALL_TABLE = 1000  # flows: no router is sold with less; who shuts out after fewer counts something else
STALL = 10.0  # seconds: a radio, a route or a busy machine stalls for less; guards and tables shut out for longer
GIVE_UP = 75.0  # seconds: guards shut out for a minute, and what lasts longer lasts too long
GENTLER = 4  # times slower than when a guard struck
SOON = 0.2  # seconds behind an outage: when nothing of these passes either, it was no passing trouble


class Kind(enum.Enum):
    """The causes of a silence that came over all ports alike."""

    PACE = "only so many packets a second pass"
    STALL = "nothing passed for a moment"
    FLOWS = "only so many flows are kept"
    SHUT_OUT = "this computer was shut out for a while"


class Trial(NamedTuple):
    """A probe of an outage's group, in a flow that had passed before (`known`) or in a new one."""

    port: int
    socket: int
    group: int
    known: bool


@dataclass
class _Group:
    known: int = 0  # of the flows that had passed before: how many were answered
    fresh: int = 0


@dataclass
class Outage:
    """The path lets nothing new pass since `began`.

    Of the flows that had passed, `flows` are young enough to be kept in a table, and `last_second` were of the last
    second before; `known_flows` passed lately.
    """

    began: float
    flows: int
    last_second: int
    known_flows: Sequence[tuple[int, int]] = ()
    groups: list[_Group] = field(default_factory=list)
    trials: deque[Trial] = field(default_factory=deque)
    over: bool = False
    held: float = 0.0  # how long it lasted

    def begin_group(self, ports: Iterable[int] = (), socket: int = 0) -> None:
        """Begin a group: the known flows, then new ones to these ports from that socket."""
        self.groups.append(_Group())
        number = len(self.groups) - 1
        self.trials.extend(Trial(*flow, number, True) for flow in self.known_flows)
        self.trials.extend(Trial(port, socket, number, False) for port in ports)

    def on_answer(self, group: int, known: bool, now: float) -> None:
        """Count the answer to a flow of that group, however late."""
        answered = self.groups[group]
        answered.known += known
        answered.fresh += not known
        if answered.fresh >= PASSED and not self.over:
            self.over, self.held = True, now - self.began

    @property
    def pause(self) -> float:
        """Return the seconds until the next group."""
        pause = PAUSES[min(len(self.groups), len(PAUSES)) - 1]
        return min(pause, QUICK_PAUSE) if self.lets_known_pass else pause

    @property
    def lets_known_pass(self) -> bool:
        """Return whether flows that passed before go on passing while new ones do not."""
        return any(group.known >= PASSED > group.fresh for group in self.groups)

    def kind(self, now: float, again: bool, before: Limit | None) -> Kind:
        """Return what it was, or is so far.

        `again`: the same happened a moment ago. `before`: the limit that was met then.
        """
        if (self.held if self.over else now - self.began) < STALL:
            return Kind.PACE if self.over and again else Kind.STALL
        is_guard = before is not None and before.reason is Reason.SCAN_BLOCK
        return Kind.FLOWS if self.lets_known_pass and self.flows >= SMALL_TABLE and not is_guard else Kind.SHUT_OUT

    def limit(self, kind: Kind, now: float) -> Limit | None:
        """Return the limit that was met; None where it is one of the pace, or none."""
        seconds = self.held if self.over else now - self.began
        if kind is Kind.FLOWS:
            return Limit(Reason.FLOW_LIMIT, flows=self.flows, seconds=seconds)
        if kind is Kind.SHUT_OUT:
            return Limit(Reason.SCAN_BLOCK, rate=float(self.last_second), seconds=seconds)
        return None
