"""The guardian's parts: what it runs is bounded, and it knows a service that is back from one that is not."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.core.plan import Transport
from agent.core.service import Service, ServiceKind, ServiceTransition
from agent.services import guardian, stop_list
from agent.services.guardian import _end, _missing, _restore, _run, _stop
from agent.services.model import StopList
from agent.system import commands
from tests.lab import need

TCP = Transport.TCP
HAPROXY = Service(ServiceKind.UNIT, "haproxy.service")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 0", ""),
        ("echo Job failed. >&2; echo See journalctl >&2; exit 1", "Job failed."),
        ("exit 5", "sh failed with status 5"),
        ("sleep 0.5 & exit 5", "sh failed with status 5"),
        ("exec sleep 60", "sh did not finish in 0 s"),
    ],
)
def test_what_it_runs(script: str, why: str) -> None:
    assert _run(["sh", "-c", script], 0.4 if "exec" in script else 20) == why


def test_what_is_not_there() -> None:
    assert _run(["no-such-tool"], 1).startswith("no-such-tool cannot be run")


def test_what_it_runs_is_given_up_where_the_check_ends() -> None:
    orders: list[str] = []
    threading.Timer(0.2, orders.append, ["end"]).start()
    began = time.monotonic()
    assert _run(["sleep", "60"], 60, orders) == "the check ended meanwhile"
    assert time.monotonic() - began < 10


def systemctl(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "systemctl").write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setattr(commands, "PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(commands, "TOOL_SECONDS", 0.4)


@pytest.mark.parametrize(
    ("script", "failed", "why", "final"),
    [
        ("echo active", "", "", False),
        ("printf 'active\\n\\nreloading\\n'", "", "", False),
        ("echo active", "Job failed.", "", False),
        ("printf 'active\\n\\nfailed\\n'", "", "systemd says that it is failed", True),
        (
            "echo failed",
            "systemctl did not finish in 30 s",
            "systemd says that it is failed: systemctl did not finish in 30 s",
            False,
        ),
        ("echo failed", "Job failed.", "systemd says that it is failed: Job failed.", True),
        ("echo inactive", "", "systemd says that it is inactive", True),
        ("echo activating", "Job failed.", "systemd says that it is activating: Job failed.", False),
        ("exec sleep 60", "", "systemctl did not answer in 0 s", False),
    ],
)
def test_what_systemd_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, failed: str, why: str, final: bool
) -> None:
    systemctl(tmp_path, script, monkeypatch)
    assert _missing(HAPROXY, failed) == (why, final)


@pytest.mark.parametrize("script", ["echo active", "exec sleep 60"])
def test_its_ports_count_too_and_alone_where_systemd_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    systemctl(tmp_path, script, monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        one = Service(ServiceKind.UNIT, "haproxy.service", awaited=((TCP, port),))
        assert _missing(one, "") == ("", False)
    assert _missing(one, "") == (f"nothing listens on {port}/tcp", False)


def test_a_container_that_cannot_be_started() -> None:
    assert _missing(Service(ServiceKind.CONTAINER, "turn"), "no such image") == ("no such image", True)
    assert _missing(Service(ServiceKind.CONTAINER, "turn"), "") == ("", False)


STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
WILLING = "import time; print('ready', flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("code", "orders", "number"),
    [
        (WILLING, ["term"], signal.SIGTERM),
        (WILLING, ["again"], signal.SIGTERM),
        (WILLING, [], signal.SIGTERM),  # the time is over
        (WILLING, ["end"], signal.SIGKILL),  # it has ended, and still it is there
        (STUBBORN, ["term"], signal.SIGKILL),
        (STUBBORN, [], signal.SIGKILL),
    ],
)
def test_the_program_gives_its_ports_back(
    code: str, orders: list[str], number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "END_SECONDS", 0.5)
    monkeypatch.setattr(guardian, "QUIET_SECONDS", 60.0 if "again" in orders else 0.0)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        _end(StopList((), process.pid, stop_list.began(process.pid), 1.0), orders)
        assert process.wait() == -number


def test_a_program_that_waits_for_its_guardian_is_let_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        its = StopList((), process.pid, stop_list.began(process.pid), 1.0)
        _end(its, ["restore"])  # as it does when it has given its ports back
        _end(its, ["again"])  # as it cannot say where the guardian was killed, but its ports are free
        assert process.poll() is None
        process.kill()


def test_what_is_stopped_last_is_started_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need()
    systemctl(tmp_path, f'echo "$@" >>{tmp_path}/log; case $* in *show*) echo active ;; esac', monkeypatch)
    monkeypatch.setattr(guardian, "PATH", commands.PATH)
    monkeypatch.setattr(stop_list, "FOLDER", str(tmp_path / "lib"))
    todo = StopList((Service(ServiceKind.UNIT, "plugnmeet.service"), HAPROXY), 1, "1", 0.0)
    told: list[ServiceTransition] = []
    with stop_list.guarding():
        stop_list.write_list(todo)
        _stop(todo, ["end"])
        assert _restore(todo, told.append)
    log = [line.split() for line in (tmp_path / "log").read_text(encoding="ascii").splitlines()]
    assert [line[-1] for line in log if "start" in line] == ["haproxy.service", "plugnmeet.service"]
    assert not [line for line in log if "stop" in line]
    assert [(one.step.value, one.service) for one in told] == [
        ("starting", "haproxy.service"), ("starting", "plugnmeet.service"),
        ("back", "haproxy.service"), ("back", "plugnmeet.service"), ("done", ""),
    ]  # fmt: skip
    assert not (tmp_path / "lib").exists()
