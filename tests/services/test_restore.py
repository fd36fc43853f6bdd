"""Services that are started again: known to run or to have failed; and the program gives their ports back before."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent.core.events import Service, ServiceKind, ServiceTransition
from agent.core.plan import Transport
from agent.services import restore, state_file, stop
from agent.services.model import StopList
from agent.services.restore import find_failure, is_running, release_ports, start_services, start_time
from agent.services.stop import Outcome, stop_services
from agent.system import commands
from tests.lab import need

PROGRAMS = Path(__file__).parent / "programs"
TCP = Transport.TCP
HAPROXY = Service(ServiceKind.UNIT, "haproxy.service")


def systemctl(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "systemctl").write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setattr(commands, "PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(commands, "TOOL_SECONDS", 0.4)


@pytest.mark.parametrize(
    ("script", "error", "why", "final"),
    [
        ("echo active", "", "", False),
        ("printf 'active\\n\\nreloading\\n'", "", "", False),
        ("echo active", "Job failed.", "", False),
        ("printf 'active\\n\\nfailed\\n'", "", "systemd reports it as failed", True),
        (
            "echo failed",
            "systemctl did not finish in 30 s",
            "systemd reports it as failed: systemctl did not finish in 30 s",
            False,
        ),
        ("echo failed", "Job failed.", "systemd reports it as failed: Job failed.", True),
        ("echo inactive", "", "systemd reports it as inactive", True),
        ("echo activating", "Job failed.", "systemd reports it as activating: Job failed.", False),
        ("exec sleep 60", "", "systemctl did not answer in 0 s", False),
    ],
)
def test_what_systemd_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, error: str, why: str, final: bool
) -> None:
    systemctl(tmp_path, script, monkeypatch)
    outcome = Outcome(error, "did not finish" in error)
    assert find_failure(HAPROXY, outcome) == (why, final)


@pytest.mark.parametrize("script", ["echo active", "exec sleep 60"])
def test_its_ports_count_too_and_alone_where_systemd_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    systemctl(tmp_path, script, monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        service = Service(ServiceKind.UNIT, "haproxy.service", awaited=((TCP, port),))
        assert find_failure(service, Outcome()) == ("", False)
    assert find_failure(service, Outcome()) == (f"nothing listens on {port}/tcp", False)


def test_a_container_that_cannot_be_started() -> None:
    assert find_failure(Service(ServiceKind.CONTAINER, "turn"), Outcome("no such image")) == ("no such image", True)
    assert find_failure(Service(ServiceKind.CONTAINER, "turn"), Outcome()) == ("", False)


def waiting(*words: str) -> subprocess.Popen[bytes]:
    """Start a program that waits to be ended."""
    process = subprocess.Popen([sys.executable, PROGRAMS / "wait.py", *words], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize(
    ("words", "orders", "number"),
    [
        ([], ["term"], signal.SIGTERM),
        ([], ["again"], signal.SIGTERM),
        ([], [], signal.SIGTERM),  # the time is over
        ([], ["end"], signal.SIGKILL),  # it has ended, and still it is there
        (["stubborn"], ["term"], signal.SIGKILL),
        (["stubborn"], [], signal.SIGKILL),
    ],
)
def test_the_program_gives_its_ports_back(
    words: list[str], orders: list[str], number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "END_SECONDS", 0.5)
    monkeypatch.setattr(restore, "QUIET_SECONDS", 60.0 if "again" in orders else 0.0)
    with waiting(*words) as process:
        release_ports(StopList((), process.pid, start_time(process.pid), 1.0), orders)
        assert process.wait() == -number


def test_a_program_that_waits_for_its_guardian_is_let_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with waiting("stubborn") as process:
        own = StopList((), process.pid, start_time(process.pid), 1.0)
        release_ports(own, ["restore"])  # as it does when it has given its ports back
        release_ports(own, ["again"])  # as it cannot say where the guardian was killed, but its ports are free
        assert process.poll() is None
        process.kill()


def test_what_is_stopped_last_is_started_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need()
    systemctl(tmp_path, f'echo "$@" >>{tmp_path}/log; case $* in *show*) echo active ;; esac', monkeypatch)
    monkeypatch.setattr(stop, "PATH", commands.PATH)
    monkeypatch.setattr(state_file, "FOLDER", str(tmp_path / "lib"))
    stop_list = StopList((Service(ServiceKind.UNIT, "plugnmeet.service"), HAPROXY), 1, "1", 0.0)
    transitions: list[ServiceTransition] = []
    with state_file.locked():
        state_file.write_list(stop_list)
        stop_services(stop_list, ["end"], transitions.append)
        start_services(stop_list, transitions.append)
    log = [line.split() for line in (tmp_path / "log").read_text(encoding="ascii").splitlines()]
    assert [line[-1] for line in log if "start" in line] == ["haproxy.service", "plugnmeet.service"]
    assert not [line for line in log if "stop" in line]
    assert [(one.step.value, one.service) for one in transitions] == [
        ("starting", "haproxy.service"), ("starting", "plugnmeet.service"),
        ("back", "haproxy.service"), ("back", "plugnmeet.service"), ("done", ""),
    ]  # fmt: skip
    assert not (tmp_path / "lib").exists()


def test_whether_a_program_still_runs() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        own = StopList((), process.pid, start_time(process.pid), 1.0)
        assert is_running(own)
        assert not is_running(StopList((), process.pid, "1", 1.0))
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_running(own)  # a zombie holds no ports
    assert not is_running(own)
