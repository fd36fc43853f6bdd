"""Name what the check of an address may have done next: values that `order` yields, and whoever runs it carries out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Generator, Mapping, Sequence, TypeVar, Union

from ..core.observation import Observation, Refusal
from ..core.plan import Transport
from ..protocol import messages
from ..sweep.sweep import Sweep
from .control_client import ControlLost
from .service_records import ServiceResults


@dataclass(frozen=True)
class Progress:
    """What the client is doing: `done` of `total` ports are known to be open, `left` is in seconds."""

    doing: str
    done: int = 0
    total: int = 0
    left: float | None = None


@dataclass(frozen=True)
class Now:
    """Get the time in seconds, of the clock that the sweeps run by."""


@dataclass(frozen=True)
class Ask:
    """Ask the server questions that do not depend on each other; get their answers, all of the `expected` type.

    ControlLost where one of them does not come, or is another.
    """

    questions: tuple[messages.Message, ...]
    expected: type[Any]


@dataclass(frozen=True)
class StartTcp:
    """Begin to probe TCP ports; one that is named again is tried again."""

    ports: Sequence[int]


@dataclass(frozen=True)
class WaitForTcp:
    """Wait for the TCP ports, at most so many seconds, and get an Observation of each that is through."""

    seconds: float | None = None


@dataclass(frozen=True)
class TryOpenTcp:
    """Get whether a TCP port that proved open does so again; None where none did."""


@dataclass(frozen=True)
class StartServices:
    """Begin to probe the ports that services hold, and speak what is SERVED there."""

    served: Mapping[Transport, Mapping[int, messages.ServiceProtocol]]


@dataclass(frozen=True)
class WaitForServices:
    """Wait until they are through, and get the ServiceResults."""


@dataclass(frozen=True)
class RunSweep:
    """Run a sweep to its end, or until the control channel is lost; by `large` packets in the flows that it opened.

    `earlier` sweeps and ports `to_come` are for the progress that users see.
    """

    sweep: Sweep
    earlier: Sequence[Sweep] = ()
    to_come: int = 0
    large: bool = False


@dataclass(frozen=True)
class ReadLateAnswers:
    """Take in what a busy server answered late: behind its word on what it saw, all of that is here."""


@dataclass(frozen=True)
class ProbePorts:
    """Ask open ports again, by large packets in their flows or small ones in a new flow; get those that stay silent.

    `timeout` are the seconds between two tries, `rate` is how many probes a second are sent at most.
    """

    ports: Sequence[int]
    timeout: float
    rate: float
    large: bool = True
    tries: int | None = None


@dataclass(frozen=True)
class Trace:
    """Get the farthest Hop that answers on the way to a port; None where none does."""

    transport: Transport
    port: int


@dataclass(frozen=True)
class Finish:
    """Begin nothing more, and get the ClientResults."""


@dataclass(frozen=True)
class ClientResults:
    """What the client saw of all ports, whether the check came to its end or not. Fields are those of CheckEvidence."""

    tcp: Mapping[int, Observation] = field(default_factory=dict)
    later: Sequence[Observation] = ()
    unsendable: Mapping[int, str] = field(default_factory=dict)
    refusals: Mapping[int, Refusal] = field(default_factory=dict)
    foreign: Mapping[int, str] = field(default_factory=dict)
    services: ServiceResults = field(default_factory=ServiceResults)


Step = Union[
    Progress, Now, Ask, StartTcp, WaitForTcp, TryOpenTcp, StartServices, WaitForServices, RunSweep, ReadLateAnswers,
    ProbePorts, Trace, Finish,
]  # fmt: skip
Result = TypeVar("Result")
# What yields steps, is sent their results, and returns a result of its own.
Steps = Generator[Step, Any, Result]


def sweep_progress(step: RunSweep, address: str, now: float) -> Progress:
    """Return what users see of a sweep, and of those before and after it."""
    sweep = step.sweep
    doing = f"UDP ports of {address}, try {sweep.passes}"
    if sweep.is_shut_out:
        doing = "shut out, waiting"
    elif sweep.waits_for_flows(now):
        doing = "waiting for room for more connections"
    left = sweep.seconds_left(now) * (1 + step.to_come / len(sweep.sent))
    sweeps = [*step.earlier, sweep]
    total = step.to_come + sum(len(sweep.sent) for sweep in sweeps)
    return Progress(doing, sum(sweep.open for sweep in sweeps), total, left)


def run_steps(order: Steps[Result], carry_out: Callable[[Step], Any]) -> Result:
    """Have each step carried out, and return what they come to; what stops a step is thrown into the order."""
    result: Any = None
    failure: BaseException | None = None
    while True:
        try:
            step = order.throw(failure) if failure else order.send(result)
        except StopIteration as end:
            report: Result = end.value
            return report
        result, failure = None, None
        try:
            result = carry_out(step)
        except (ControlLost, KeyboardInterrupt) as error:
            failure = error
