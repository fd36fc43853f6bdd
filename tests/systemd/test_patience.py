"""What takes half a minute and longer, each on a machine of its own, side by side: they do nothing but wait."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Callable

import pytest

from tests.lab import USUAL, server
from tests.systemd.held import PLAN, PORT, busy, holder, listens
from tests.systemd.machine import PROGRAMS
from tests.systemd.parts import DEPENDENT, HAPROXY, HAPROXY_CFG, PLUGNMEET, STOP, TREE, UNITS, Plugnmeet, own

_MENDED = ["mv", "/usr/bin/systemctl.real", "/usr/bin/systemctl"]

Scenario = Callable[[Plugnmeet, Path], None]


def the_program_hangs(meet: Plugnmeet, archive: Path) -> None:
    """The guardian gives it half a minute more than its time."""
    with server(meet.machine, archive, *STOP, "--for", "1s") as running:
        began = time.monotonic()
        os.kill(running.process.inner, signal.SIGSTOP)  # type: ignore[attr-defined]
        meet.wait_until_back()
        assert time.monotonic() - began > 25
        os.kill(running.process.pid, signal.SIGCONT)  # nsenter, which has stopped along with it
        assert running.wait() == -signal.SIGKILL


def a_unit_that_does_not_stop(meet: Plugnmeet, archive: Path) -> None:
    """It is tried for half a minute, and its port is untested; systemd kills it later, so it is started again."""
    holder(meet, "held", service="TimeoutStopSec=40", how="stubborn")
    before = meet.machine.show("held.service", "MainPID")
    with server(meet.machine, archive, *PLAN, "--for", "1s", patience=150) as running:
        assert [port for port, _ in busy(running.listening)] == [PORT]
        assert [one["step"] for one in running.of("service")] == ["stopping", "not-stopped"]
        running.wait()
    assert meet.machine.active("held.service")
    assert meet.machine.show("held.service", "MainPID") != before
    assert running.of("restored") == [{"event": "restored", "services": ["held.service"], "failed": []}]
    meet.wait_until_back()


def systemctl_hangs(meet: Plugnmeet, archive: Path) -> None:
    """Nothing is known of any unit, so none is stopped."""
    before = meet.machine.show(HAPROXY, "MainPID")
    meet.machine.must("sh", "-e", PROGRAMS / "hanging_systemctl.sh", "*")
    with server(meet.machine, archive, *STOP, "--for", "1s", patience=150) as running:
        (services,) = running.of("services")
        assert services["stopping"] == []
        assert {HAPROXY, PLUGNMEET} <= {one["owner"] for one in services["left"]}
        assert all("systemctl did not answer" in one["why"] for one in services["left"])
        assert {80, 443, 7881} <= {port for port, _ in busy(running.listening)}
        assert running.wait() == 3
    meet.machine.must(*_MENDED)
    assert meet.machine.show(HAPROXY, "MainPID") == before


def systemctl_hangs_where_it_stops(meet: Plugnmeet, archive: Path) -> None:
    """Whether the unit stops is not known, so it is started, too."""
    meet.machine.must("sh", "-e", PROGRAMS / "hanging_systemctl.sh", '*" stop "*')
    with server(
        meet.machine, archive, *STOP, "--tcp", "7881", "--udp", "none", "--control", "8444", "--for", "1s", patience=150
    ) as running:
        assert [port for port, _ in busy(running.listening)] == [7881]
        assert running.wait() == 3
    assert running.of("restored") == [{"event": "restored", "services": [PLUGNMEET], "failed": []}]
    meet.machine.must(*_MENDED)
    meet.wait_until_back()


def haproxy_does_not_start_again(meet: Plugnmeet, archive: Path) -> None:
    """systemd starts it over and over, so it is waited for; the rest is back, and it is left to be restored."""
    with server(meet.machine, archive, *STOP) as running:
        meet.machine.write(HAPROXY_CFG, "nonsense\n")
        assert running.stop(timeout=2 * USUAL) == 3  # the guardian waits for a minute
    assert f"-u {HAPROXY}" in " ".join(running.stderr.split())
    assert meet.machine.active(PLUGNMEET)
    assert sorted(running.of("restored")[0]["failed"]) == sorted([HAPROXY, DEPENDENT])
    meet.machine.write(HAPROXY_CFG, (TREE / HAPROXY_CFG[1:]).read_text(encoding="ascii"))
    done = meet.machine.run([sys.executable, archive, "server", "--restore"])
    assert done.returncode == 0, done.stderr
    assert meet.machine.active(*UNITS)


def a_unit_that_runs_but_listens_no_more(meet: Plugnmeet, archive: Path) -> None:
    """Active is not enough: users need its port."""
    holder(meet, "held")
    with server(meet.machine, archive, *PLAN) as running:
        meet.machine.write("/opt/held.py", (PROGRAMS / "wait.py").read_text(encoding="ascii"))
        assert running.stop(timeout=2 * USUAL) == 3  # the guardian waits for a minute
    told = " ".join(running.stderr.split())
    assert "held.service did not start again" in told
    assert f"nothing listens on {PORT}/tcp" in told
    assert meet.machine.active("held.service")
    assert not listens(meet)


SCENARIOS: list[Scenario] = [
    the_program_hangs,
    a_unit_that_does_not_stop,
    systemctl_hangs,
    systemctl_hangs_where_it_stops,
    haproxy_does_not_start_again,
    a_unit_that_runs_but_listens_no_more,
]


def run(scenario: Scenario, archive: Path) -> None:
    """Run one, on a machine of its own."""
    with own() as meet:
        scenario(meet, archive)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.__name__)
def test_patience(patient: Callable[[Scenario], None], scenario: Scenario) -> None:
    patient(scenario)
