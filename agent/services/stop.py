"""Has the services that hold a plan's ports stopped while something is done, by a guardian, and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from typing import Callable, Iterator, Sequence

from ..core.errors import DecodeError, Exit, UserError
from ..core.events import Event, ServerStopped, ServicesRestored, StopPlan
from ..core.plan import Plan
from ..core.service import ServiceKind, ServiceTransition, Step
from ..system.commands import PATH
from ..system.privileges import has_root
from . import guardian
from . import stop_list as disk
from .find import find_services
from .model import StopList, is_name, read_transition, to_json
from .plan import plan_stop

MAX_LINE = 4096  # twice what a line of the guardian's has
MAX_TROUBLE = 400  # characters of what else is told where it cannot start

_SYSTEMD = "/run/systemd/system"  # sd_booted(3)
_BY_SYSTEMD = (
    "systemd-run", "--quiet", "--collect", "--pipe", "--unit=pnmcheck-guardian", f"--setenv=PATH={PATH}",
    # Killed it is started anew, and finds the list. To end it has as long as services have to come back.
    "--property=Restart=on-abnormal", "--property=TimeoutStopSec=180", "--",
)  # fmt: skip
# What -I leaves out of the path: where this program's files are no archive.
_FROM_SOURCE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from agent.__main__ import main; sys.exit(main())"

Tell = Callable[[Event], None]


def paused(plan: Plan, seconds: float, tell: Tell, ask: Callable[[], bool], serve: Callable[[], Exit]) -> Exit:
    """Stop the services, if `ask` says so, serve, and start them again; the status of `serve`.

    UserError where it cannot be done, or where a service did not come back. To be called by root, while there is one
    thread.
    """
    refuse_elsewhere()
    trouble = disk.trouble()
    if trouble:
        raise trouble
    found = find_services(plan)
    services, left = plan_stop(found, plan)
    tell(StopPlan(services, left, seconds))
    if not services:
        return serve()
    if not ask():
        tell(ServerStopped("nothing was changed"))
        return Exit.INCONCLUSIVE
    guard = _Guard(tell)
    catches = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    try:
        guard.start(StopList(services, os.getpid(), disk.began(os.getpid()), seconds))
        return serve()
    finally:
        if catches:  # the first ctrl-C ended the check, another one ends the waiting
            signal.signal(signal.SIGINT, signal.default_int_handler)
        guard.restore()


def refuse_elsewhere() -> None:
    """UserError where services cannot be stopped."""
    if sys.platform != "linux" or not has_root():
        raise UserError("cannot-stop", "Services cannot be stopped", "that takes Linux and root",
                        "start it with sudo, on the server")  # fmt: skip


def restore_left(tell: Tell) -> Exit:
    """Start what an earlier run left stopped; UserError where not all of it is back, or a guardian does it."""
    refuse_elsewhere()
    moves: list[ServiceTransition] = []

    def say(moved: ServiceTransition) -> None:
        moves.append(moved)
        if moved.service:
            tell(moved)

    guardian.restore_now(say)
    _conclude(moves, tell)
    return Exit.PASS


def _conclude(moves: Sequence[ServiceTransition], tell: Tell) -> None:
    """Say what came of it; UserError where a service is not back."""
    of = {step: [one.service for one in moves if one.step is step] for step in (Step.RUNNING, Step.FAILED)}
    away = of[Step.FAILED]
    tell(ServicesRestored(tuple(of[Step.RUNNING]), tuple(away)))
    if away:
        units = " ".join(f"-u {name}" for name in away if is_name(ServiceKind.UNIT, name))
        look_at = f"journalctl {units}" if units else "docker ps --all"
        raise UserError("not-back", f"{' and '.join(away)} did not come back",
                        next(one.why for one in moves if one.step is Step.FAILED),
                        f"look with `{look_at}`; {disk.RESTORE}")  # fmt: skip


class _Guard:
    """The guardian, as this program has it: when the pipe to it closes, by whatever, it starts what it stopped."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble, self._failed = "", False

    def start(self, todo: StopList) -> None:
        """Return when all is stopped that could be; UserError where there is no guardian."""
        root = os.path.abspath(os.path.join(__file__, "../../.."))  # the archive, or the folder that has `agent`
        program = ["-c", _FROM_SOURCE, root]
        if os.path.isfile(root):
            disk.keep_archive(root)
            program = [disk.archive_path()]
        words = [sys.executable, "-I", *program, "server", "--guardian"]
        self._process = subprocess.Popen(
            [*(_BY_SYSTEMD if os.path.isdir(_SYSTEMD) else ()), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**os.environ, "PATH": PATH}, cwd="/", start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin
        # No other process may keep the pipe open when this one has ended. Python 3.8 crashes at its end where more than
        # a number is kept for that.
        os.register_at_fork(after_in_child=partial(os.close, self._process.stdin.fileno()))
        self._order(json.dumps(to_json(todo)))
        if not any(moved.step is Step.READY for moved in self._moves()):
            self._failed = True
            with contextlib.suppress(UserError):
                disk.refuse_second()
                disk.tidy()
            raise UserError("no-guardian", "What stops services and starts them again could not run", self._trouble,
                            "stop by hand what holds the ports, or check them as they are")  # fmt: skip

    def restore(self) -> None:
        """Have the services started; UserError where not all are back."""
        if self._process is None or self._failed:
            return
        self._order("restore")
        moves = []
        try:
            for moved in self._moves():
                moves.append(moved)
            self._process.wait()
        except KeyboardInterrupt:
            raise UserError("not-awaited", "The services are still being started", "this was interrupted, that goes on",
                            "look with `systemctl status`") from None  # fmt: skip
        if not any(moved.step is Step.DONE for moved in moves):
            raise UserError("no-guardian", "Whether the services are back is not known", "what starts them was ended",
                            f"look with `systemctl status`; {disk.RESTORE}")  # fmt: skip
        _conclude(moves, self._tell)

    def _order(self, line: str) -> None:
        assert self._process
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode("ascii") + b"\n")
            self._process.stdin.flush()

    def _moves(self) -> Iterator[ServiceTransition]:
        """What the guardian tells, as it comes, until it is ready or has ended; the user is told too."""
        assert self._process
        assert self._process.stdout
        for line in iter(partial(self._process.stdout.readline, MAX_LINE), b""):
            try:
                moved = read_transition(line)
            except DecodeError:
                self._trouble = (self._trouble + line.decode("utf-8", "replace"))[:MAX_TROUBLE]
                continue
            if moved.service:
                self._tell(moved)
            yield moved
