"""Start stopped services again: once the program has given their ports back, and until they hold those."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import replace
from typing import Callable, Sequence

from ..core.errors import Exit, UserError
from ..core.events import Event, Service, ServiceKind, ServicesRestored, ServiceTransition, Step
from ..core.plan import Transport
from ..system.commands import run_tool
from ..system.port_owners import bound_ports, list_directory
from ..system.privileges import has_root
from ..system.procfs import read_stat
from . import state_file
from .model import MAX_WHY, StopList, command, is_name
from .stop import TICK, Outcome, Report, run_command

END_SECONDS = 5.0  # for the program to end; closing ten thousand sockets takes less than one
QUIET_SECONDS = 0.5  # by then it has handled the signal, so that ports that are free now stay free
START_SECONDS = 30.0  # as long as for one to stop
RESET_SECONDS = 5.0  # systemd only forgets how often the unit was started
# How long all are waited for once they were started: what LiveKit needs to ask its STUN servers, and twice that again.
RUNNING_SECONDS = 60.0


def restore_left_stopped(show: Callable[[Event], None]) -> Exit:
    """Start what an earlier run left stopped; UserError where not all of it runs, or a guardian is at work."""
    check_can_stop()
    transitions: list[ServiceTransition] = []

    def report(transition: ServiceTransition) -> None:
        transitions.append(transition)
        if transition.service:
            show(transition)

    state_file.check_unlocked()
    if state_file.exists():
        with state_file.locked():
            stop_list = state_file.read_list()
            release_ports(stop_list, ["again"])
            start_services(stop_list, report)
    conclude(transitions, show)
    return Exit.PASS


def check_can_stop() -> None:
    """Raise UserError where services can neither be stopped nor started."""
    if sys.platform != "linux" or not has_root():
        raise UserError("cannot-stop", "Services cannot be stopped", "only root can, on Linux", "start it with sudo")


def conclude(transitions: Sequence[ServiceTransition], show: Callable[[Event], None]) -> None:
    """Show which services run again; UserError where one does not."""
    running = [transition.service for transition in transitions if transition.step is Step.RUNNING]
    failed = {transition.service: transition.why for transition in transitions if transition.step is Step.FAILED}
    show(ServicesRestored(tuple(running), tuple(failed)))
    if failed:
        units = " ".join(f"-u {name}" for name in failed if is_name(ServiceKind.UNIT, name))
        hint = f"look with `{f'journalctl {units}' if units else 'docker ps --all'}`; {state_file.RESTORE}"
        raise UserError("not-back", f"{' and '.join(failed)} did not start again", next(iter(failed.values())), hint)


def start_time(pid: int) -> str:
    """Return when a process started, in clock ticks since boot: with its pid it is unique. Empty where it is gone."""
    process = read_stat(str(pid))
    return str(process.started) if process else ""


def is_running(stop_list: StopList) -> bool:
    """Return whether the program that had the services stopped still has a thread, and with it perhaps the ports."""
    pid = stop_list.pid
    threads = [read_stat(f"{pid}/task/{thread}") for thread in list_directory(f"/proc/{pid}/task")]
    return start_time(pid) == stop_list.began and any(thread and thread.state not in "ZX" for thread in threads)


def release_ports(stop_list: StopList, orders: Sequence[str]) -> None:
    """Return when that program has given its ports back: it has ended, or is asked to end, or is killed."""
    began = time.monotonic()
    if "end" not in orders:
        _signal(stop_list, signal.SIGTERM)
    while is_running(stop_list) and "restore" not in orders:
        waited = time.monotonic() - began
        if waited > END_SECONDS:
            _signal(stop_list, signal.SIGKILL)
        # The pipe by which it says that its ports are free did not outlive a guardian that was killed.
        free = "again" in orders and waited > QUIET_SECONDS and not any(map(_bound_ports, stop_list.services))
        if free or waited > 2 * END_SECONDS:
            return
        time.sleep(TICK)


def _signal(stop_list: StopList, number: int) -> None:
    with contextlib.suppress(OSError):
        if is_running(stop_list):
            os.kill(stop_list.pid, number)


def start_services(stop_list: StopList, report: Report) -> None:
    """Start all in the reverse order, and wait until they run. Those that do not stay on the list on disk."""
    outcomes: dict[Service, Outcome] = {}
    waiting = [*reversed(stop_list.services)]
    for service in waiting:
        report(ServiceTransition(Step.STARTING, service.name))
        if service.kind is ServiceKind.UNIT:
            # systemd starts a unit only so often in a while (StartLimitBurst=); after a check that is no failure.
            run_command(["systemctl", "reset-failed", "--", service.name], RESET_SECONDS)
        outcomes[service] = run_command(command(service, "start"), START_SECONDS)
    deadline = time.monotonic() + RUNNING_SECONDS
    failed: list[Service] = []
    while waiting:
        late = time.monotonic() > deadline
        for service in tuple(waiting):
            why, final = find_failure(service, outcomes[service])
            if not why or final or late:
                waiting.remove(service)
                failed += [service] if why else []
                report(ServiceTransition(Step.FAILED if why else Step.RUNNING, service.name, why[:MAX_WHY]))
        time.sleep(TICK if waiting else 0)
    if failed:
        state_file.write_list(replace(stop_list, services=tuple(reversed(failed))))
    else:
        state_file.remove_list()
    report(ServiceTransition(Step.DONE))


def find_failure(service: Service, outcome: Outcome) -> tuple[str, bool]:
    """Return why a service does not run yet, or empty, and whether waiting is of no use."""
    missing = sorted((port, transport.value) for transport, port in {*service.awaited} - _bound_ports(service))
    free = ", ".join(f"{port}/{transport}" for port, transport in missing)
    why = f"nothing listens on {free}" if free else ""
    if service.kind is not ServiceKind.UNIT:
        return outcome.error or why, bool(outcome.error)
    result = run_tool("systemctl", "show", "--property=ActiveState", "--value", "--", *service.members, service.name)
    if result.output is None:  # then only the ports tell
        return why if service.awaited else result.error, False
    states = {*result.output.split()} - {"active", "reloading"}
    if not states:
        return why, False
    # A unit that restarts by itself is activating. A start that took too long may find it stopped only now.
    final = states <= {"failed", "inactive"} and not outcome.late
    error = f": {outcome.error}" if outcome.error else ""
    return f"systemd reports it as {', '.join(sorted(states))}{error}", final


def _bound_ports(service: Service) -> set[tuple[Transport, int]]:
    """Return those of its ports that anything holds."""
    return {*service.awaited} & {
        (transport, port) for transport in Transport for port in bound_ports(transport).values()
    }
