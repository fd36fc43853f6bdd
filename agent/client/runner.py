"""Carry out the steps of a check with sockets and threads."""

from __future__ import annotations

import time
from typing import Any, Callable

from ..net.connect import Target
from ..protocol import stun
from ..sweep.repeated import TRIES
from . import steps
from .control import ControlChannel
from .service_records import ServiceResults
from .services import ServiceProbes
from .steps import Result, Steps, run_steps, sweep_progress
from .tcp import ProbeContext, TcpProbes
from .traceroute import trace
from .udp import Prober

Tell = Callable[[steps.Progress], None]


class StepRunner:
    """The sockets and threads of the check of one address, and what they have seen so far."""

    def __init__(self, target: Target, context: ProbeContext, channel: ControlChannel, tell: Tell) -> None:
        self._target, self._context, self._channel, self._tell = target, context, channel, tell
        self._tcp = TcpProbes(target, context)
        self._services: ServiceProbes | None = None
        self._udp = Prober(target, context.id, context.key)
        self._actions: dict[type, Callable[[Any], Any]] = {
            steps.Progress: tell,
            steps.Now: lambda step: time.perf_counter(),
            steps.Ask: self._ask,
            steps.StartTcp: lambda step: self._tcp.start(step.ports),
            steps.WaitForTcp: self._wait_for_tcp,
            steps.TryOpenTcp: lambda step: self._tcp.try_open(),
            steps.StartServices: self._start_services,
            steps.WaitForServices: self._wait_for_services,
            steps.RunSweep: self._run_sweep,
            steps.ReadLateAnswers: lambda step: self._udp.catch_up(),
            steps.ProbePorts: self._probe_ports,
            steps.Trace: lambda step: trace(target, step.transport, step.port),
            steps.Finish: self._finish,
        }

    def run(self, order: Steps[Result]) -> Result:
        """Carry out all steps, and return what they come to."""
        try:
            return run_steps(order, lambda step: self._actions[type(step)](step))
        finally:
            self._close()

    def _ask(self, step: steps.Ask) -> tuple[Any, ...]:
        # One at a time: a server takes no question before it has answered the last.
        return tuple(self._channel.ask(question, step.expected) for question in step.questions)

    def _wait_for_tcp(self, step: steps.WaitForTcp) -> dict[int, Any]:
        self._tcp.join(*(() if step.seconds is None else (step.seconds,)))
        return self._tcp.seen

    def _start_services(self, step: steps.StartServices) -> None:
        self._services = ServiceProbes(self._target, self._context, step.served)
        self._services.start()

    def _wait_for_services(self, step: steps.WaitForServices) -> Any:
        assert self._services, "they were started"
        self._services.join()
        return self._services.results()

    def _run_sweep(self, step: steps.RunSweep) -> None:
        self._udp.begin(step.sweep, stun.PADDING if step.large else 0)
        address = self._target.text
        self._udp.run(self._channel, lambda _: self._tell(sweep_progress(step, address, time.perf_counter())))
        if not step.large:
            self._udp.ask_who_refuses()

    def _probe_ports(self, step: steps.ProbePorts) -> frozenset[int]:
        return self._udp.follow_up(step.ports, step.timeout, step.rate, step.large, step.tries or TRIES)

    def _finish(self, step: steps.Finish) -> steps.ClientResults:
        self._close()
        udp, tcp = self._udp, self._tcp
        services = self._services.results() if self._services else ServiceResults()
        return steps.ClientResults(
            tcp.seen, tuple(tcp.later.values()), udp.unsendable, udp.refusals, udp.strangers, services
        )

    def _close(self) -> None:
        self._tcp.stop()
        if self._services:
            self._services.stop()
        self._udp.close()
