"""Whatever ends the program while services are stopped, they are started again."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import pytest

from tests.lab import USUAL, Server, at_once, check, chosen, server, start_check, until
from tests.systemd.parts import (
    GUARDIAN,
    HAPROXY,
    LIST,
    PLUGNMEET,
    STOP,
    UNITS,
    Plugnmeet,
    Terminal,
    own,
    run_out_of_memory,
)

# As many deaths, each somewhere in a tenth of its own of a whole check, from the start of the program to its end.
DEATHS = 10
# So many machines at a time keep two cores busy.
MACHINES = 2
SEED = int(os.environ.get("PNMCHECK_SEED") or random.SystemRandom().randrange(10**6))


class Death(NamedTuple):
    """When the program was killed, the last that it had said, and how long the services were away after that."""

    moment: float
    said: str
    back: float


def one_check(meet: Plugnmeet, archive: Path, moment: float) -> tuple[float, str]:
    """Run a whole check, but kill the program so many seconds after its start; when it ended, and what it had said."""
    began = time.monotonic()
    with contextlib.ExitStack() as cleanup:
        process = meet.start(archive, "--json", *STOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        cleanup.enter_context(process)
        running = cleanup.enter_context(contextlib.closing(_Running(process)))
        running.wait_for("listening", began + moment)
        if running.of("listening"):
            checking = start_check(meet.client, archive, meet.machine.ipv4)
            cleanup.enter_context(checking.process)
            cleanup.callback(checking.process.communicate)
            cleanup.callback(checking.process.kill)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, began + moment - time.monotonic()))
        process.kill()
        process.wait(120)
        took = time.monotonic() - began
        return took, running.events[-1]["event"] if running.events else "nothing"


class _Running(Server):
    """A server that may be killed before it is one."""

    def wait_for(self, event: str, ends: float) -> None:  # type: ignore[override]
        with self._news:
            self._news.wait_for(lambda: self._ended or bool(self.of(event)), max(0.0, ends - time.monotonic()))

    def close(self) -> None:
        self.process.kill()
        self.wait()


@pytest.fixture(scope="module")
def deaths(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[int], Death]]:
    """The kills, some at a time, each on a machine that has nothing else to do."""
    scenarios: list[int] = chosen(request, Path(__file__))
    with contextlib.ExitStack() as stack:
        free: queue.Queue[tuple[Plugnmeet, float]] = queue.Queue()
        for meet in [stack.enter_context(own()) for _ in range(min(MACHINES, len(scenarios)))]:
            free.put((meet, one_check(meet, archive, USUAL)[0]))

        def run(number: int) -> Death:
            meet, whole = free.get()
            try:
                meet.mend()
                drawn = random.Random(f"{SEED} {number}").random()
                moment, said = one_check(meet, archive, whole * (number + drawn) / DEATHS)
                back = meet.wait_until_soon_back()
                return Death(moment, said, back)
            finally:
                free.put((meet, whole))

        yield stack.enter_context(at_once(scenarios, run, MACHINES))


@pytest.mark.parametrize("scenario", range(DEATHS))
def test_killed_at_a_random_moment(deaths: Callable[[int], Death], scenario: int) -> None:
    death = deaths(scenario)  # which fails where they are away for long
    print(
        f"PNMCHECK_SEED={SEED}: killed after {death.moment:.2f} s, having said {death.said}; back in {death.back:.2f} s"
    )


def test_the_longest_of_them(deaths: Callable[[int], Death], request: pytest.FixtureRequest) -> None:
    found = [deaths(one) for one in chosen(request, Path(__file__))]
    print(f"{len(found)} deaths; the longest time until the services were back: {max(one.back for one in found):.2f} s")
    assert any(one.said not in ("nothing", "restored") for one in found), "none was while the services were stopped"


def test_out_of_memory(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP) as running:
        run_out_of_memory(running.process.inner)  # type: ignore[attr-defined]
        assert running.wait() == -signal.SIGKILL
        print(f"back in {meet.wait_until_soon_back():.2f} s")


def test_what_the_program_started_hangs(meet: Plugnmeet, archive: Path) -> None:
    """The guardian waits for the program's end, not for that of its helpers."""
    with server(meet.machine, archive, *STOP) as running:
        inner = running.process.inner  # type: ignore[attr-defined]
        helpers = helpers_of(inner)
        assert helpers
        for pid in helpers:
            os.kill(pid, signal.SIGSTOP)
        running.process.kill()
        killed = time.monotonic()
        until(meet.runs, "the services")
        meet.check_soon(time.monotonic() - killed)
        for pid in helpers:
            os.kill(pid, signal.SIGKILL)
        running.wait()


def helpers_of(pid: int) -> list[int]:
    """What a program has forked, all of which have its command line."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return [one for one in map(int, text.split()) if Path(f"/proc/{one}/cmdline").read_bytes() == command]


def test_the_terminal_hangs_up(meet: Plugnmeet, archive: Path) -> None:
    terminal = Terminal()
    with terminal.start(meet.machine, [sys.executable, archive, "server", *STOP]) as running:
        terminal.wait_for("pnmcheck.pyz client")
        until(lambda: not meet.machine.active(HAPROXY), "haproxy to be stopped")
        terminal.close()
        running.wait()
    print(f"back in {meet.wait_until_soon_back():.2f} s")


def test_the_guardian_is_killed(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP) as running:
        meet.machine.systemctl("kill", "--signal=KILL", GUARDIAN)
        print(f"back in {meet.wait_until_back():.2f} s")
        # What it held belongs to the services again.
        status = running.wait()
    assert status != 0
    assert "Traceback" not in running.stderr


def test_the_program_and_the_guardian_are_killed(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP) as running:
        status = Path(f"/proc/{running.process.inner}/status")  # type: ignore[attr-defined]
        (program,) = re.findall(r"^NSpid:.*\t(\d+)$", status.read_text(encoding="utf-8"), re.MULTILINE)
        meet.machine.must("kill", "-KILL", guardian_of(meet), program)
        assert running.wait() == -signal.SIGKILL
        print(f"back in {meet.wait_until_back():.2f} s")


def guardian_of(meet: Plugnmeet) -> str:
    """The guardian's process id on the machine."""
    pid = meet.machine.show(GUARDIAN, "MainPID")
    assert pid != "0"
    return pid


def test_the_power_fails(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.systemctl("stop", "needs-haproxy.service")  # what did not run is not started
    try:
        with server(meet.machine, archive, *STOP) as running:
            meet.machine.cut_power()
            running.wait()
        # No service is enabled on this machine, so none comes back with systemd.
        assert meet.serving() == []
        assert meet.machine.exists(LIST)

        refused = meet.machine.run([sys.executable, archive, "server", *STOP])
        assert (refused.returncode, "--restore" in refused.stderr) == (3, True)
        assert meet.serving() == []

        with server(meet.machine, archive, "--for", "1s") as running:
            running.wait()
        assert "--restore" in running.stderr

        done = meet.machine.run([sys.executable, archive, "server", "--restore"])
        assert done.returncode == 0, done.stderr
        assert meet.machine.active(HAPROXY, PLUGNMEET)
        assert not meet.machine.active("needs-haproxy.service")
        assert meet.left() == []
    finally:
        meet.machine.systemctl("start", *UNITS)


def test_nothing_is_left_to_be_restored(meet: Plugnmeet, archive: Path) -> None:
    done = meet.machine.run([sys.executable, archive, "server", "--restore"])
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr
    assert meet.runs()


def test_a_check_after_one_that_was_killed(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP) as running:
        running.process.kill()
        running.wait()
    meet.wait_until_back()
    with server(meet.machine, archive, *STOP) as running:
        assert check(meet.client, archive, meet.machine.ipv4).status == 0
        assert running.wait() == 0


@pytest.mark.parametrize("step", ["stopping", "stopped", "starting", "back"])
def test_killed_at_a_step(meet: Plugnmeet, archive: Path, step: str) -> None:
    """The moments that a random one seldom meets."""
    with meet.start(archive, "--json", *STOP, "--for", "1s", stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert any(json.loads(line).get("step") == step for line in process.stdout)
        process.kill()
    print(f"back in {meet.wait_until_soon_back():.2f} s")
