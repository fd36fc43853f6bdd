"""Hold what the rules about a port share: the conditions of the whole check, and the cause that a rule returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.counters import Counters
from ..core.observation import Interceptor, Observation, Reason, Where
from ..core.report import State
from ..sweep.limit import Limit


@dataclass(frozen=True)
class Conditions:
    """Under what conditions the observations of one address were made."""

    control: bool = True  # the server was still there when the evidence was complete; without it silence proves nothing
    aborted: bool = False  # the user interrupted the check
    conclusive: bool = True  # the UDP sweep made enough passes to rule out chance
    chance: float | None = None  # expected number of ports that loss alone silenced in the UDP sweep
    chance_of_large: float | None = None  # the same for the follow-up with large packets
    unsure_of_large: Reason | None = None  # why that follow-up could not tell
    loss: float = 0.0  # the share of round trips that the path loses, 0 to 1
    limit: Limit | None = None  # what else kept probes from passing
    closed: tuple[Observation, ...] = ()  # TCP ports that had accepted this client and then stopped it
    shut_out: bool = False  # in the end nothing was reachable for this client, not even what had been
    counters: Counters = field(default_factory=Counters)  # what the server's kernel dropped during the check
    address: str = ""  # the server's, as it was checked

    @property
    def capture_incomplete(self) -> bool:
        """Return whether the server missed packets at its network interface: then it cannot say that none came."""
        return bool(self.counters.capture_drops)


@dataclass(frozen=True)
class Cause:
    """One state and one cause: what the ports of a finding have in common. Fields as those of a finding."""

    state: State
    where: Where | None = None
    by: str | None = None
    reason: Reason | None = None
    owner: str | None = None
    shown: str | None = None
    icmp: str | None = None
    interceptor: Interceptor | None = None
    through: str | None = None


def unknown(reason: Reason, shown: str | None = None) -> Cause:
    """Return the cause of a port for which there is not enough evidence."""
    return Cause(State.UNKNOWN, reason=reason, shown=shown)


def foreign(port: Observation) -> Cause:
    """Return the cause of a port where something other than the pnmcheck server answered."""
    return Cause(State.INTERCEPTED, shown=port.shown, interceptor=port.interceptor)
