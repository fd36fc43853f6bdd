"""What runs in Docker's containers, as plugNmeet does: a real engine on the machine, with networks of the host's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab import check, need, server, until
from tests.systemd.held import PLAN, PORT, busy, listens
from tests.systemd.parts import HAPROXY, PLUGNMEET, STOP, UNITS, Plugnmeet, own

# No image comes from anywhere: an empty one, into which the machine's own programs are mounted.
_ENGINE = """
mkdir -p /etc/docker /usr/libexec/docker/cli-plugins
echo '{"iptables": false, "ip6tables": false, "bridge": "none", "storage-driver": "vfs"}' >/etc/docker/daemon.json
systemctl enable --now docker.socket
tar -c --files-from /dev/null | docker import - empty
"""
# Debian 12 has the compose of before it was a plugin. That needs the project's file, where the plugin asks the engine.
_COMPOSE = r"""#!/bin/sh
if [ "$1" = docker-cli-plugin-metadata ]; then
    echo '{"SchemaVersion": "0.1.0", "Vendor": "Debian", "Version": "1.29.2"}'
    exit
fi
shift
if [ "$1" = -p ]; then
    label=com.docker.compose.project
    cd "$(docker ps -a --filter "label=$label=$2" --format "{{.Label \"$label.working_dir\"}}" | head -n 1)"
fi
exec docker-compose "$@"
"""
_PROJECT = """
version: "2.4"
services:
  livekit:
    image: empty
    network_mode: host
    command: /usr/bin/python3 /opt/plugNmeet/{program}
    volumes: [/usr:/usr:ro, /lib:/lib:ro, /lib64:/lib64:ro, /opt:/opt:ro]
"""
_UNIT = """
[Unit]
Description=plugNmeet service
Requires=docker.service
After=docker.service
StartLimitIntervalSec=60
StartLimitBurst=3

[Service]
WorkingDirectory=/opt/plugNmeet
ExecStartPre=/usr/bin/docker compose down
ExecStart=/usr/bin/docker compose up
ExecStop=/usr/bin/docker compose down
Restart=always
RestartSec=10
"""
_LISTENS = f"""
import signal, socket
signal.signal(signal.SIGTERM, signal.default_int_handler)
s = socket.create_server(("", {PORT}))
signal.pause()
"""
_RUN = [
    "docker",
    "run",
    "-d",
    "--network",
    "host",
    "-v",
    "/usr:/usr:ro",
    "-v",
    "/lib:/lib:ro",
    "-v",
    "/lib64:/lib64:ro",
    "-v",
    "/opt:/opt:ro",
]


@pytest.fixture(scope="module")
def booted() -> Iterator[Plugnmeet]:
    """A machine whose plugnmeet.service is the installer's."""
    need("dockerd", "docker-compose")
    with own("docker.service", "docker.socket", "containerd.service") as made:
        made.machine.must("sh", "-ec", _ENGINE)
        made.machine.write("/usr/libexec/docker/cli-plugins/docker-compose", _COMPOSE, 0o755)
        made.machine.write("/opt/plugNmeet/docker-compose.yaml", _PROJECT.format(program="livekit.py"))
        made.machine.write("/opt/held.py", _LISTENS)
        made.machine.systemctl("stop", PLUGNMEET)
        made.machine.write(f"/etc/systemd/system/{PLUGNMEET}", _UNIT)
        made.machine.systemctl("daemon-reload")
        made.machine.systemctl("start", PLUGNMEET)
        made.wait_until_back(30)
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
        print(f"back in {meet.wait_until_back(20):.2f} s")


def test_a_container_alone(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.must(*_RUN, "--name", "alone", "empty", "/usr/bin/python3", "/opt/held.py")
    until(lambda: listens(meet), "the container")
    with server(meet.machine, archive, *PLAN) as running:
        assert [one["name"] for one in running.of("services")[0]["stopping"]] == ["alone"]
        assert running.listening["untested"] == []
        running.stop()
    assert "alone" in running_containers(meet)
    assert listens(meet)
    meet.machine.must("docker", "rm", "-f", "alone")


def test_a_container_that_docker_removes_is_left(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.must(*_RUN, "--rm", "--name", "removed", "empty", "/usr/bin/python3", "/opt/held.py")
    until(lambda: listens(meet), "the container")
    with server(meet.machine, archive, *PLAN) as running:
        assert running.of("services")[0]["stopping"] == []
        assert [port for port, _ in busy(running.listening)] == [PORT]
        running.stop()
    assert "removed" in running_containers(meet)
    meet.machine.must("docker", "rm", "-f", "removed")


def test_a_project_that_somebody_started(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.write("/opt/other/docker-compose.yaml", _PROJECT.format(program="../held.py"))
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
