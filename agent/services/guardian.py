"""Stops services and starts them again: a process apart, which outlives the program that wants their ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace
from typing import Callable, Sequence

from ..core.errors import DecodeError, Exit, UsageError
from ..core.plan import Transport
from ..core.service import Service, ServiceKind, ServiceTransition, Step
from ..system.commands import PATH, run_tool
from ..system.port_owners import bound_ports
from . import stop_list as disk
from .model import MAX_WHY, StopList, command, read_stop_list

# A unit that is not down by then refuses; systemd itself kills it after 90 s by default. As long for one to start.
STOP_SECONDS = START_SECONDS = 30.0
RESET_SECONDS = 5.0  # it does nothing but forget
# All are waited for this long once they were started: what LiveKit needs to ask its STUN servers, and twice again.
BACK_SECONDS = 60.0
# Beyond its time, in which the program has long ended by itself.
MARGIN_SECONDS = 30.0
END_SECONDS = 5.0  # for the program to end; closing ten thousand sockets takes less than one
QUIET_SECONDS = 0.5  # by then it has taken a signal, so that what is free now stays so
TICK = 0.05  # services are to be back within seconds

_LATE = "did not finish in"

Say = Callable[[ServiceTransition], None]


def guard() -> Exit:
    """Do what the list on stdin says, and have it undone when stdin ends, whatever happens."""
    _need_root()
    orders: list[str] = []
    _outlive(orders)
    with disk.guarding():
        if disk.is_left():  # it was killed, and systemd has started it anew
            todo = disk.read_list()
            orders.append("again")
        else:
            todo = _listen(orders)
            disk.write_list(todo)
        try:
            _stop(todo, orders)
        finally:
            if orders[:1] != ["restore"]:
                _end(todo, orders)
            _restore(todo, _say)
    return Exit.PASS


def restore_now(say: Say) -> bool:
    """Start what the list on disk names, if there is one; whether all is back. UserError where a guardian runs."""
    _need_root()
    disk.refuse_second()
    if not disk.is_left():
        return True
    with disk.guarding():
        todo = disk.read_list()
        _end(todo, ["again"])
        return _restore(todo, say)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise UsageError("this needs root", "only root stops and starts services", "start it with sudo")


def _outlive(orders: list[str]) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: orders.append("term"))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-1000")


def _listen(orders: list[str]) -> StopList:
    """The list, which comes first; what comes later becomes orders."""
    lines = open(0, "rb", closefd=False)  # noqa: SIM115 - it is read until this ends
    try:
        todo = read_stop_list(lines.readline(disk.MAX_LIST))
    except DecodeError as error:
        raise UsageError("--guardian", f"this is for pnmcheck itself: {error}") from None

    def follow() -> None:
        for line in lines:
            orders.append(line.decode("ascii", "replace").strip())
        orders.append("end")

    threading.Thread(target=follow, daemon=True).start()
    return todo


def _say(moved: ServiceTransition) -> None:
    with contextlib.suppress(OSError):  # nobody is left to be told
        os.write(1, json.dumps(vars(moved)).encode("ascii") + b"\n")


def _stop(todo: StopList, orders: Sequence[str]) -> None:
    """Stop what is on the list, and wait for an order, or until the time is over."""
    for service in todo.services:
        if orders:
            return
        _say(ServiceTransition(Step.STOPPING, service.name))
        why = _run(command(service, "stop"), STOP_SECONDS, orders)
        _say(ServiceTransition(Step.NOT_STOPPED if why else Step.STOPPED, service.name, why))
    _say(ServiceTransition(Step.READY))
    ends = time.monotonic() + todo.seconds + MARGIN_SECONDS
    while not orders and time.monotonic() < ends:
        time.sleep(TICK)


def _run(words: Sequence[str], seconds: float, orders: Sequence[str] = ()) -> str:
    """Run it for so long at most, and no longer than there is no order; why it failed, or empty."""
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
            env={**os.environ, "PATH": PATH, "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as error:
        return f"{words[0]} cannot be run: {error.strerror}"
    with process:
        ends = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < ends and not orders:
            time.sleep(TICK)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            return "the check ended meanwhile" if orders else f"{words[0]} {_LATE} {seconds:.0f} s"
        assert process.stderr
        os.set_blocking(process.stderr.fileno(), False)  # what it started may have it still
        told = (process.stderr.read(MAX_WHY) or b"").decode("utf-8", "replace").strip().partition("\n")[0]
    return (told or f"{words[0]} failed with status {process.returncode}") if process.returncode else ""


def _end(todo: StopList, orders: Sequence[str]) -> None:
    """Have the program give its ports back: it has ended, or is asked to, or is made to."""
    began = time.monotonic()
    if "end" not in orders:
        _kill(todo, signal.SIGTERM)
    while disk.runs_still(todo) and "restore" not in orders:
        waited = time.monotonic() - began
        if waited > END_SECONDS:
            _kill(todo, signal.SIGKILL)
        # The pipe by which it says that its ports are free did not outlive a guardian that was killed.
        free = "again" in orders and waited > QUIET_SECONDS and not any(map(_held, todo.services))
        if free or waited > 2 * END_SECONDS:
            return
        time.sleep(TICK)


def _kill(todo: StopList, number: int) -> None:
    with contextlib.suppress(OSError):
        if disk.runs_still(todo):
            os.kill(todo.pid, number)


def _held(service: Service) -> list[tuple[Transport, int]]:
    """Those of its ports that somebody holds."""
    ports = {transport: {*bound_ports(transport).values()} for transport in Transport}
    return [(transport, port) for transport, port in service.awaited if port in ports[transport]]


def _restore(todo: StopList, say: Say) -> bool:
    """Start all in reverse order, and see that they are back; whether all are. Those that are not stay on the list."""
    failed: dict[Service, str] = {}
    waiting = [*reversed(todo.services)]
    for service in waiting:
        say(ServiceTransition(Step.STARTING, service.name))
        if (
            service.kind is ServiceKind.UNIT
        ):  # it may be started only so often in a while (StartLimitBurst=): that is no failure
            _run(["systemctl", "reset-failed", "--", service.name], RESET_SECONDS)
        failed[service] = _run(command(service, "start"), START_SECONDS)
    ends, away = time.monotonic() + BACK_SECONDS, []
    while waiting:
        late = time.monotonic() > ends
        for service in tuple(waiting):
            why, final = _missing(service, failed[service])
            if not why or final or late:
                waiting.remove(service)
                away += [service] if why else []
                say(ServiceTransition(Step.FAILED if why else Step.RUNNING, service.name, why[:MAX_WHY]))
        time.sleep(TICK if waiting else 0)
    if away:
        disk.write_list(replace(todo, services=tuple(reversed(away))))
    else:
        disk.remove_list()
    say(ServiceTransition(Step.DONE))
    return not away


def _missing(service: Service, failed: str) -> tuple[str, bool]:
    """Why a service is not back, if it is not, and whether waiting is of no use."""
    lacking = ", ".join(f"{port}/{one.value}" for one, port in sorted({*service.awaited} - {*_held(service)}))
    why = f"nothing listens on {lacking}" if lacking else ""
    if service.kind is not ServiceKind.UNIT:
        return failed or why, bool(failed)
    told = run_tool("systemctl", "show", "--property=ActiveState", "--value", "--", *service.members, service.name)
    if told.output is None:  # then the ports alone tell
        return why if service.awaited else told.error, False
    states = {*told.output.split()} - {"active", "reloading"}
    if not states:
        return why, False
    # What restarts by itself is activating. A start that is still under way may find it stopped only now.
    final = states <= {"failed", "inactive"} and _LATE not in failed
    return f"systemd says that it is {', '.join(sorted(states))}" + (failed and f": {failed}"), final
