"""What runs in Docker's containers, as plugNmeet does: a real engine on the machine, with networks of the host's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab import check, need, server, until
from tests.systemd.held import LISTEN, PLAN, PORT, busy, listens
from tests.systemd.machine import PROGRAMS
from tests.systemd.parts import HAPROXY, PLUGNMEET, STOP, UNITS, Plugnmeet, own

_FILES = PROGRAMS / "docker"
_MOUNTS = [word for folder in ("/usr", "/lib", "/lib64", "/opt") for word in ("-v", f"{folder}:{folder}:ro")]
_RUN = ["docker", "run", "-d", "--network", "host", *_MOUNTS]
_HELD = ["/usr/bin/python3", "/opt/held.py", str(PORT), "interrupted"]


def copy(meet: Plugnmeet, name: str, path: str, mode: int = 0o644) -> None:
    """Write one of these tests' files to the machine."""
    meet.machine.write(path, (_FILES / name).read_text(encoding="ascii"), mode)


def project(meet: Plugnmeet, folder: str, program: str) -> None:
    """Write a compose project of one service, which runs a program, with its arguments, by Python."""
    copy(meet, "docker-compose.yaml", f"{folder}/docker-compose.yaml")
    meet.machine.write(f"{folder}/.env", f"PROGRAM={program}\n")


@pytest.fixture(scope="module")
def booted() -> Iterator[Plugnmeet]:
    """A machine whose plugnmeet.service is the installer's."""
    need("dockerd", "docker-compose")
    with own("docker.service", "docker.socket", "containerd.service") as made:
        made.machine.must("sh", "-e", _FILES / "engine.sh")
        copy(made, "docker-compose", "/usr/libexec/docker/cli-plugins/docker-compose", 0o755)
        project(made, "/opt/plugNmeet", "/opt/plugNmeet/livekit.py")
        made.machine.write("/opt/held.py", LISTEN.read_text(encoding="ascii"))
        made.machine.systemctl("stop", PLUGNMEET)
        copy(made, PLUGNMEET, f"/etc/systemd/system/{PLUGNMEET}")
        made.machine.systemctl("daemon-reload")
        made.machine.systemctl("start", PLUGNMEET)
        made.wait_until_back()
        yield made


def running_containers(meet: Plugnmeet) -> list[str]:
    """The names of the containers that run."""
    return meet.machine.must("docker", "ps", "--format", "{{.Names}}").split()


def test_a_project_that_a_unit_runs_is_stopped_by_its_unit(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP) as running:
        assert not meet.machine.active(PLUGNMEET)
        assert meet.machine.active("docker.service", "containerd.service")
        assert running_containers(meet) == []
        assert running.listening["untested"] == []
        assert check(meet.client, archive, meet.machine.ipv4).status == 0
        assert running.wait() == 0
    names = [one["name"] for one in running.of("services")[0]["stopping"]]
    assert (names[-1], {*names}) == (HAPROXY, {*UNITS})
    assert meet.runs()


def test_a_project_that_a_unit_runs_is_back_after_a_kill(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP) as running:
        running.process.kill()
        print(f"back in {meet.wait_until_back():.2f} s")


def test_a_container_alone(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.must(*_RUN, "--name", "alone", "empty", *_HELD)
    until(lambda: listens(meet), "the container")
    with server(meet.machine, archive, *PLAN) as running:
        assert [one["name"] for one in running.of("services")[0]["stopping"]] == ["alone"]
        assert running.listening["untested"] == []
        running.stop()
    assert "alone" in running_containers(meet)
    assert listens(meet)
    meet.machine.must("docker", "rm", "-f", "alone")


def test_a_container_that_docker_removes_is_left(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.must(*_RUN, "--rm", "--name", "removed", "empty", *_HELD)
    until(lambda: listens(meet), "the container")
    with server(meet.machine, archive, *PLAN) as running:
        assert running.of("services")[0]["stopping"] == []
        assert [port for port, _ in busy(running.listening)] == [PORT]
        running.stop()
    assert "removed" in running_containers(meet)
    meet.machine.must("docker", "rm", "-f", "removed")


def test_a_project_that_somebody_started(meet: Plugnmeet, archive: Path) -> None:
    project(meet, "/opt/other", " ".join(_HELD[1:]))
    meet.machine.must("sh", "-ec", "cd /opt/other && docker compose up -d")
    until(lambda: listens(meet), "the project")
    with server(meet.machine, archive, *PLAN) as running:
        (service,) = running.of("services")[0]["stopping"]
        assert (service["name"], service["with"]) == ("other", ["livekit"])
        assert running.listening["untested"] == []
        running.stop()
    assert listens(meet)
    meet.machine.must("sh", "-ec", "cd /opt/other && docker compose down")


def test_a_docker_that_hangs(meet: Plugnmeet, archive: Path) -> None:
    """What runs in containers is left, and everything else is stopped."""
    meet.machine.write("/opt/tools/docker", "#!/bin/sh\nexec sleep 1000\n", 0o755)
    with server(meet.machine, archive, *STOP, prefix=["env", "PATH=/opt/tools:/usr/sbin:/usr/bin"]) as running:
        (services,) = running.of("services")
        assert PLUGNMEET not in [one["name"] for one in services["stopping"]]
        assert HAPROXY in [one["name"] for one in services["stopping"]]
        assert any("docker did not answer" in one["why"] for one in services["left"])
        assert 7881 in [port for port, _ in busy(running.listening)]
        running.stop()


def test_the_client_of_docker_is_gone(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.must("sh", "-c", "for one in /usr/bin/docker /usr/local/bin/docker; do "
                      "[ ! -e $one ] || mv $one $one.away; done")  # fmt: skip
    try:
        with server(meet.machine, archive, *STOP) as running:
            (services,) = running.of("services")
            assert PLUGNMEET not in [one["name"] for one in services["stopping"]]
            running.stop()
    finally:
        meet.machine.must("sh", "-c", "for one in /usr/bin/docker /usr/local/bin/docker; do "
                          "[ ! -e $one.away ] || mv $one.away $one; done")  # fmt: skip


def test_the_power_fails(meet: Plugnmeet, archive: Path) -> None:
    """Docker is enabled, and comes back by itself; what it ran was removed when the unit stopped."""
    with server(meet.machine, archive, *STOP) as running:
        meet.machine.cut_power()
        running.wait()
    done = meet.machine.run([sys.executable, archive, "server", "--restore"], timeout=120)
    assert done.returncode == 0, done.stderr
