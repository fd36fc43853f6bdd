"""`server --stop-services` where there is no systemd: a container of Docker's holds the ports, and a process guards it.

No engine runs here: what stands in for `docker` knows one container, which is a process that holds what it publishes.
Real services of a real systemd are in tests/systemd.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from tests import firewalls, pythons
from tests.lab import INTERRUPTED, PROGRAMS, Lab, Server, check, server, until, wrong


@pytest.fixture(scope="session")
def archive(pyz: Path) -> Path:
    """The guardian keeps a copy of the one file."""
    return pyz


FEW, UDP = "tcp 80,443,7881 udp 443,50000-50099", ("--udp", "443,50000-50099")
STOP = ("--stop-services", "--yes", *UDP)
ID = "c" * 64
INSPECTED = {
    "id": ID, "name": "/turn", "labels": {}, "remove": False,
    "ports": {"443/tcp": [{"HostPort": "443"}], "443/udp": [{"HostPort": "443"}]},
}  # fmt: skip

DOCKER = Path(__file__).parents[1] / "standins/docker"


class Docker:
    """What stands in for it: its folder, and the environment in which it is found."""

    def __init__(self, net: Lab, folder: Path) -> None:
        self.host, self._folder = net.server, folder
        self.env = {"PATH": f"{folder}:{os.environ['PATH']}"}
        shutil.copy(PROGRAMS / "hold_443.py", folder / "hold.py")
        (folder / "inspected").write_text(json.dumps(INSPECTED), encoding="ascii")
        (folder / "docker-proxy").symlink_to(sys.executable)
        shutil.copy(DOCKER, folder)
        (folder / "id").write_text(f"{ID}\n", encoding="ascii")

    def server(self, archive: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the server's side to its end."""
        return self.host.run([sys.executable, archive, "server", *words], env={**os.environ, **self.env})

    def run(self, verb: str) -> None:
        """Stop or start the container by hand."""
        self.host.must(self._folder / "docker", verb, "turn")

    @property
    def runs(self) -> bool:
        """Whether its port is held by it."""
        return "docker-proxy" in self.host.run(["ss", "-lntpH", "sport = 443"]).stdout

    def is_broken(self, broken: bool) -> None:
        """Whether the container cannot be started."""
        (self._folder / "broken").touch() if broken else (self._folder / "broken").unlink()


@pytest.fixture
def docker(net: Lab, tmp_path: Path) -> Iterator[Docker]:
    (tmp_path / "lib").mkdir()
    (tmp_path / "docker").mkdir()
    with firewalls.own_files(net.server, {"/var/lib": tmp_path / "lib"}):
        made = Docker(net, tmp_path / "docker")
        made.run("start")
        yield made
        with contextlib.suppress(AssertionError):
            made.run("stop")


def test_by_the_oldest_python(archive: Path, docker: Docker, tmp_path: Path) -> None:
    with server(docker.host, archive, *STOP, env=docker.env, python=pythons.need("3.8")) as running:
        assert running.stop() == INTERRUPTED
    assert docker.runs
    assert is_clean(tmp_path)


def guardian(tmp_path: Path) -> int:
    return int((tmp_path / "lib/pnmcheck/lock").read_text(encoding="ascii"))


def stopping(docker: Docker, archive: Path, *more: str) -> contextlib.AbstractContextManager[Server]:
    return server(docker.host, archive, *STOP, *more, env=docker.env)


def is_clean(tmp_path: Path) -> bool:
    return not (tmp_path / "lib/pnmcheck").exists()


def test_one_check(net: Lab, archive: Path, docker: Docker, tmp_path: Path) -> None:
    with stopping(docker, archive) as running:
        assert running.of("services")[0]["stopping"] == [{
            "name": "turn", "with": [], "ports": [{"transport": "tcp", "first": 443, "last": 443},
                                                  {"transport": "udp", "first": 443, "last": 443}],
        }]  # fmt: skip
        assert not docker.runs
        assert wrong(check(net.client, archive, net.server.ipv4).report, {}, plan=FEW) == []
        assert running.wait() == 0
        assert running.of("restored") == [{"event": "restored", "services": ["turn"], "failed": []}]
    assert docker.runs
    assert is_clean(tmp_path)


def held_by(pid: int) -> set[str]:
    """Return what a process has open; some of it, or the process itself, may be gone meanwhile."""
    held = set()
    with contextlib.suppress(FileNotFoundError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                held.add(os.readlink(link))
    return held


def test_nobody_else_has_the_pipe_by_which_it_is_seen_that_the_program_ended(
    archive: Path, docker: Docker, tmp_path: Path
) -> None:
    with stopping(docker, archive) as running:
        watched = os.readlink(f"/proc/{guardian(tmp_path)}/fd/0")
        others = {*docker.host.pids()} - {running.process.pid, guardian(tmp_path)}
        held = {pid: held_by(pid) for pid in others}
        assert any(held.values())  # what keeps root for the program is there
        assert [pid for pid, links in held.items() if watched in links] == []
        assert running.stop() == INTERRUPTED


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda one: one.name
)
def test_it_is_ended(net: Lab, archive: Path, docker: Docker, tmp_path: Path, number: signal.Signals) -> None:
    with stopping(docker, archive) as running:
        assert running.stop(number) == (-number if number is signal.SIGKILL else INTERRUPTED)
        until(lambda: docker.runs, "the container")
        until(lambda: is_clean(tmp_path), "the end of the guardian")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda one: one.name)
def test_signals_that_are_for_all_do_not_end_the_guardian(
    archive: Path, docker: Docker, tmp_path: Path, number: signal.Signals
) -> None:
    with stopping(docker, archive) as running:
        os.kill(guardian(tmp_path), number)
        assert running.stop() == INTERRUPTED
    assert docker.runs


def test_the_guardian_is_asked_to_end(archive: Path, docker: Docker, tmp_path: Path) -> None:
    with stopping(docker, archive) as running:
        os.kill(guardian(tmp_path), signal.SIGTERM)
        assert running.wait() == INTERRUPTED
    assert docker.runs
    assert is_clean(tmp_path)


def test_the_guardian_is_killed(archive: Path, docker: Docker, tmp_path: Path) -> None:
    with stopping(docker, archive) as running:
        os.kill(guardian(tmp_path), signal.SIGKILL)
        assert running.stop() == 3
        assert running.of("stopped")[-1]["error"]["code"] == "no-guardian"
    assert not docker.runs
    restored = docker.host.run(
        [sys.executable, archive, "server", "--restore", "--json"], env={**os.environ, **docker.env}
    )
    assert (restored.returncode, docker.runs, is_clean(tmp_path)) == (0, True, True)


def test_what_does_not_come_back_stays_on_the_list(archive: Path, docker: Docker, tmp_path: Path) -> None:
    with stopping(docker, archive) as running:
        docker.is_broken(True)
        assert running.stop() == 3
        assert running.of("restored") == [{"event": "restored", "services": [], "failed": ["turn"]}]
        assert running.of("stopped")[-1]["error"]["message"] == "turn did not start again: no such image"
    assert docker.server(archive, "--restore").returncode == 3
    again = docker.server(archive, *STOP)
    assert (again.returncode, "never started again" in again.stderr, "--restore" in again.stderr) == (3, True, True)
    docker.is_broken(False)
    assert docker.server(archive, "--restore").returncode == 0
    assert docker.runs
    assert is_clean(tmp_path)
    assert "Nothing to start" in docker.server(archive, "--restore").stderr


def test_two_at_once(archive: Path, docker: Docker, tmp_path: Path) -> None:
    with stopping(docker, archive) as running:
        pid = guardian(tmp_path)
        for words in (STOP, ("--restore",)):
            second = docker.server(archive, *words)
            assert (second.returncode, f"process {pid} " in second.stderr) == (3, True)
        assert running.stop() == INTERRUPTED
    assert docker.runs


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--stop-services",), 2, "add --yes"),
        (("--guardian",), 2, "this is for pnmcheck itself"),
    ],
)
def test_wrong_usage(archive: Path, docker: Docker, words: tuple[str, ...], status: int, said: str) -> None:
    done = docker.server(archive, *words)
    assert (done.returncode, said in done.stderr, docker.runs) == (status, True, True)


def test_not_for_everybody(net: Lab, archive: Path, docker: Docker) -> None:
    for words in (("--stop-services", "--yes"), ("--restore",), ("--guardian",)):
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        done = docker.host.run([*nobody, "/usr/bin/python3", archive, "server", *words])
        assert done.returncode in (2, 3)
        assert "root" in done.stderr
