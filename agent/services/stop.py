"""Stop services, one after the other, by systemd or Docker."""

from __future__ import annotations

import os
import signal
import time
from subprocess import DEVNULL, PIPE, Popen
from typing import Callable, NamedTuple, Sequence

from ..core.events import ServiceTransition, Step
from ..system.commands import PATH
from .model import MAX_WHY, StopList, command

# A unit that still runs after this time refuses to stop; systemd itself kills it after 90 s by default.
STOP_SECONDS = 30.0
TICK = 0.05  # services are to run again within seconds

Report = Callable[[ServiceTransition], None]


class Outcome(NamedTuple):
    """What came of a command: why it failed, or empty, and whether that was for want of time."""

    error: str = ""
    late: bool = False


def stop_services(stop_list: StopList, orders: Sequence[str], report: Report) -> None:
    """Stop what is on the list, in this order, until there is an order to end."""
    for service in stop_list.services:
        if orders:
            return
        report(ServiceTransition(Step.STOPPING, service.name))
        error = run_command(command(service, "stop"), STOP_SECONDS, orders).error
        report(ServiceTransition(Step.NOT_STOPPED if error else Step.STOPPED, service.name, error))
    report(ServiceTransition(Step.READY))


def run_command(words: Sequence[str], seconds: float, orders: Sequence[str] = ()) -> Outcome:
    """Run a command that changes a service; kill it after so many seconds, or when there is an order."""
    try:
        environment = {**os.environ, "PATH": PATH, "LC_ALL": "C"}
        process = Popen(words, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env=environment, start_new_session=True)
    except OSError as error:
        return Outcome(f"{words[0]} cannot be run: {error.strerror}")
    with process:
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline and not orders:
            time.sleep(TICK)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            if orders:
                return Outcome("the check ended first")
            return Outcome(f"{words[0]} did not finish in {seconds:.0f} s", late=True)
        assert process.stderr
        os.set_blocking(process.stderr.fileno(), False)  # a process that it started may still hold it open
        text = (process.stderr.read(MAX_WHY) or b"").decode("utf-8", "replace").strip().partition("\n")[0]
    return Outcome((text or f"{words[0]} failed with status {process.returncode}") if process.returncode else "")
