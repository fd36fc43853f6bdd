"""Name what the check of an address may have done next: values that `order` yields, and whoever runs it carries out."""

from __future__ import annotations

from typing import Any, Callable, Generator, Mapping, NamedTuple, Sequence, TypeVar, Union

from ..core.plan import Transport
from ..protocol import messages
from ..sweep.repeated import TRIES
from ..sweep.sweep import Sweep
from .control_client import ControlLost
from .service_records import Port


class Progress(NamedTuple):
    """What the client is doing: `done` of `total` ports are known to be open, `left` is in seconds."""

    doing: str
    done: int = 0
    total: int = 0
    left: float | None = None


Tell = Callable[[Progress], None]


class Now:
    """Get the time in seconds, of the clock that the sweeps run by."""


class Ask(NamedTuple):
    """Ask the server a question; get its answer of the `expected` type. ControlLost where that does not come."""

    question: messages.Message
    expected: type[Any]


class StartTcp(NamedTuple):
    """Begin to probe TCP ports; one that is named again is tried again."""

    ports: Sequence[int]


class WaitForTcp(NamedTuple):
    """Wait for the TCP ports, at most so many seconds, and get an Observation of each that is through."""

    seconds: float | None = None


class TryOpenTcp:
    """Get whether a TCP port that proved open does so again; None where none did."""


class StartServices(NamedTuple):
    """Begin to probe the ports that services hold, by what these speak."""

    served: Mapping[Port, messages.ServiceProtocol]


class WaitForServices:
    """Wait until these are through, and get the ServiceResults."""


class RunSweep(NamedTuple):
    """Run a sweep to its end, or until the control channel is lost."""

    sweep: Sweep
    earlier: Sequence[Sweep] = ()  # for the progress that users see, as the ports `to_come`
    to_come: int = 0
    large: bool = False  # by large packets, in the flows that an earlier sweep opened


class ReadLateAnswers:
    """Take in what a busy server answered late: behind its word on what it saw, all of that is here."""


class ProbePorts(NamedTuple):
    """Ask open ports again, and get those that stay silent."""

    ports: Sequence[int]
    timeout: float  # seconds between two tries
    rate: float  # probes a second at most
    large: bool = True  # by large packets in the ports' flows; else by small ones in a new flow
    tries: int = TRIES


class Trace(NamedTuple):
    """Get the farthest Hop that answers on the way to a port; None where none does."""

    transport: Transport
    port: int


class Finish:
    """Begin nothing more, and get what the client saw of all ports: UdpEvidence, TcpEvidence, ServiceResults."""


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
    advance: Callable[[Any], Step] = order.send
    value: Any = None
    while True:
        try:
            step = advance(value)
        except StopIteration as end:
            report: Result = end.value
            return report
        try:
            advance, value = order.send, carry_out(step)
        except (ControlLost, KeyboardInterrupt) as error:
            advance, value = order.throw, error
