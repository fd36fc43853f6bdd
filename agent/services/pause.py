"""Pause the services that hold a plan's ports while a check runs: the program's side of the guardian."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from functools import partial
from subprocess import PIPE, STDOUT, Popen
from typing import Callable, Iterator

from ..core.errors import DecodeError, Exit, UserError
from ..core.events import Event, ServerStopped, ServiceTransition, Step, StopPlan
from ..core.plan import Plan
from ..system.commands import PATH
from . import state_file
from .find import find_services
from .model import StopList, read_transition, to_json
from .plan import plan_stop
from .restore import check_can_stop, conclude, start_time

MAX_LINE = 4096  # twice what a line of the guardian's has
MAX_OUTPUT = 400  # characters of what a guardian that cannot start says

_SYSTEMD = "/run/systemd/system"  # sd_booted(3)
_SYSTEMD_RUN = (
    "systemd-run", "--quiet", "--collect", "--pipe", "--unit=pnmcheck-guardian", f"--setenv=PATH={PATH}",
    # If it is killed, systemd starts it again, and it finds the list. It ends once services run, or have failed to.
    "--property=Restart=on-abnormal", "--property=TimeoutStopSec=180", "--",
)  # fmt: skip
# What -I leaves out of the path, where this program is no archive.
_FROM_SOURCE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from agent.__main__ import main; sys.exit(main())"

Show = Callable[[Event], None]


def serve_while_paused(
    plan: Plan, seconds: float, show: Show, confirm: Callable[[], bool], serve: Callable[[], Exit]
) -> Exit:
    """Stop the services, if `confirm` allows it, serve, and start them again; return the status of `serve`.

    Raises UserError where it cannot be done, or where a service does not run again. This needs root, and a process of
    one thread.
    """
    check_can_stop()
    error = state_file.find_error()
    if error:
        raise error
    services, left = plan_stop(find_services(plan), plan)
    show(StopPlan(services, left, seconds))
    if not services:
        return serve()
    if not confirm():
        show(ServerStopped("nothing was changed"))
        return Exit.INCONCLUSIVE
    guardian = _GuardianProcess(show)
    catches = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    try:
        guardian.stop_services(StopList(services, os.getpid(), start_time(os.getpid()), seconds))
        return serve()
    finally:
        if catches:  # the first ctrl-C ended the check, another one ends the waiting
            signal.signal(signal.SIGINT, signal.default_int_handler)
        guardian.restore_services()


class _GuardianProcess:
    """A guardian that runs. When the pipe to it closes, for whatever reason, it starts what it stopped."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._process: Popen[bytes] | None = None
        self._output, self._failed = "", False

    def stop_services(self, stop_list: StopList) -> None:
        """Return when all is stopped that could be; UserError where the guardian cannot run."""
        root = os.path.abspath(os.path.join(__file__, "../../.."))  # the archive, or the folder that has `agent`
        program = ["-c", _FROM_SOURCE, root]
        if os.path.isfile(root):
            state_file.keep_archive(root)
            program = [state_file.path_of(state_file.ARCHIVE)]
        words = [sys.executable, "-I", *program, "server", "--guardian"]
        words = [*(_SYSTEMD_RUN if os.path.isdir(_SYSTEMD) else ()), *words]
        environment = {**os.environ, "PATH": PATH}
        self._process = Popen(
            words, stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=environment, cwd="/", start_new_session=True
        )
        assert self._process.stdin
        # No other process may keep the pipe open when this one has ended. Python 3.8 crashes at its end where more than
        # a number is kept for that.
        os.register_at_fork(after_in_child=partial(os.close, self._process.stdin.fileno()))
        self._send(json.dumps(to_json(stop_list)))
        if not any(transition.step is Step.READY for transition in self._transitions()):
            self._failed = True
            with contextlib.suppress(UserError):
                state_file.check_unlocked()
                state_file.remove_all_but_list()
            hint = "stop by hand what holds the ports, or check without --stop-services"
            raise UserError("no-guardian", "The guardian of stopped services could not run", self._output, hint)

    def restore_services(self) -> None:
        """Have the services started, and return when they run; UserError where one does not."""
        if self._process is None or self._failed:
            return
        self._send("restore")
        transitions = []
        try:
            for transition in self._transitions():
                transitions.append(transition)
            self._process.wait()
        except KeyboardInterrupt:
            why, hint = "you interrupted the wait for them", "look with `systemctl status`"
            raise UserError("not-awaited", "Services are still being started", why, hint) from None
        if not any(transition.step is Step.DONE for transition in transitions):
            why, hint = "their guardian was ended", f"look with `systemctl status`; {state_file.RESTORE}"
            raise UserError("no-guardian", "The services may still be stopped", why, hint)
        conclude(transitions, self._show)

    def _send(self, line: str) -> None:
        assert self._process
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode("ascii") + b"\n")
            self._process.stdin.flush()

    def _transitions(self) -> Iterator[ServiceTransition]:
        """Yield what the guardian reports until it is ready or has ended, and show it."""
        assert self._process
        assert self._process.stdout
        for line in iter(partial(self._process.stdout.readline, MAX_LINE), b""):
            try:
                transition = read_transition(line)
            except DecodeError:
                self._output = (self._output + line.decode("utf-8", "replace"))[:MAX_OUTPUT]
                continue
            if transition.service:
                self._show(transition)
            yield transition
