"""Carry out the steps of a check with sockets and threads."""

from __future__ import annotations

import time
from typing import Any, Callable

from ..verdict.evidence import TcpEvidence, UdpEvidence
from . import steps
from .control import ControlChannel
from .service_records import ServiceResults
from .services import ServiceProbes
from .steps import Result, Steps, Tell, run_steps
from .tcp import PortProbes, ProbeContext, probe
from .traceroute import trace
from .udp import Prober


class StepRunner:
    """The sockets and threads of the check of one address, and what they have seen so far."""

    def __init__(self, context: ProbeContext, channel: ControlChannel, tell: Tell) -> None:
        self._tcp: PortProbes[int] = PortProbes(lambda port, stopped: probe(port, context, stopped))
        self._services, self._udp = ServiceProbes(context), Prober(context, tell)
        self._actions: dict[type, Callable[[Any], Any]] = {
            steps.Progress: tell,
            steps.Now: lambda step: time.perf_counter(),
            steps.Ask: lambda step: channel.ask(step.question, step.expected),
            steps.StartTcp: lambda step: self._tcp.start(step.ports),
            steps.WaitForTcp: self._wait_for_tcp,
            steps.TryOpenTcp: lambda step: self._tcp.try_open(),
            steps.StartServices: lambda step: self._services.start_services(step.served),
            steps.WaitForServices: self._wait_for_services,
            steps.RunSweep: lambda step: self._udp.run(step, channel),
            steps.ReadLateAnswers: lambda step: self._udp.catch_up(),
            steps.ProbePorts: self._udp.follow_up,
            steps.Trace: lambda step: trace(context.target, step.transport, step.port),
            steps.Finish: self._finish,
        }

    def run(self, order: Steps[Result]) -> Result:
        """Carry out all steps, and return what they come to."""
        try:
            return run_steps(order, lambda step: self._actions[type(step)](step))
        finally:
            self._close()

    def _wait_for_tcp(self, step: steps.WaitForTcp) -> dict[int, Any]:
        self._tcp.join(step.seconds)
        return self._tcp.seen

    def _wait_for_services(self, step: steps.WaitForServices) -> ServiceResults:
        self._services.join()
        return self._services.results()

    def _finish(self, step: steps.Finish) -> tuple[UdpEvidence, TcpEvidence, ServiceResults]:
        self._close()
        udp, tcp = self._udp, self._tcp
        return (
            UdpEvidence(unsendable=udp.unsendable, refusals=udp.refusals, foreign=udp.strangers),
            TcpEvidence(tcp.seen, tuple(tcp.later.values())),
            self._services.results(),
        )

    def _close(self) -> None:
        self._tcp.stop()
        self._services.stop()
        self._udp.close()
