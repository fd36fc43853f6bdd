"""What Linux, systemd 252 and Docker 28 tell about processes, units and containers."""

from __future__ import annotations

import pytest

from agent.core.plan import Transport
from agent.services import parse
from agent.services.model import Container, Unit

TCP, UDP = Transport.TCP, Transport.UDP
ID = "0123456789abcdef" * 4
V1 = "9:name=systemd:{0}\n8:pids:{0}\n1:cpu,cpuacct:{0}\n"
HYBRID = "9:name=systemd:/\n8:pids:/\n0::{0}\n"
V2 = "0::{0}\n"


@pytest.mark.parametrize("form", [V1, HYBRID, V2])
@pytest.mark.parametrize(
    ("path", "unit", "container"),
    [
        ("/system.slice/haproxy.service", "haproxy.service", ""),
        ("/system.slice/system-coturn.slice/coturn@a.service", "coturn@a.service", ""),
        ("/meet.slice/plugnmeet.service/payload", "plugnmeet.service", ""),
        (r"/system.slice/run-\x2d1.service", r"run-\x2d1.service", ""),
        ("/system.slice/_cpu.service", "cpu.service", ""),
        ("/turn.service", "turn.service", ""),
        (f"/system.slice/docker-{ID}.scope", "", ID),
        (f"/docker/{ID}", "", ID),
        (f"/system.slice/docker-{ID}.scope/system.slice/haproxy.service", "", ID),
        (f"/system.slice/docker.service/docker/{ID}/init", "", ID),
    ],
)
def test_what_a_process_runs_in(form: str, path: str, unit: str, container: str) -> None:
    assert parse.cgroup(form.format(path)) == (unit, container, "")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/", "no service runs it"),
        ("/init.scope", "no service runs it"),
        ("/user.slice/user-1000.slice/session-3.scope", "a user started it"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "a user started it"),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", "Kubernetes runs it"),
        ("/lxc.payload.web/system.slice/haproxy.service", "no service runs it"),
        (f"/machine.slice/libpod-{ID}.scope", "no service runs it"),
        ("/system.slice/-x y.service", "no service runs it"),
    ],
)
def test_what_no_service_runs(path: str, why: str) -> None:
    unit, container, obstacle = parse.cgroup(V2.format(path))
    assert (unit, container) == ("", "")
    assert why in obstacle


def test_a_process_that_has_gone() -> None:
    assert parse.cgroup("")[2].startswith("no service runs it")


# In the order in which systemd 252 prints them.
SHOWN = """\
Id=haproxy.service
RequiredBy=needs-haproxy.service
BoundBy=a.service needs-haproxy.service
ConsistsOf=
TriggeredBy=haproxy.socket
LoadState=loaded
ActiveState=reloading
CanStart=yes
CanStop=yes
Transient=no

Listen=[::]:1935 (Stream)
Listen=0.0.0.0:7885 (Datagram)
Listen=/run/echo (Stream)
Id=echo.socket
Triggers=echo.service
LoadState=loaded
ActiveState=active
CanStart=yes
CanStop=yes
Transient=no
"""


def test_units_as_systemd_tells_of_them() -> None:
    assert list(parse.units(SHOWN)) == [
        Unit("haproxy.service", True, "", ("haproxy.socket",), (), ("needs-haproxy.service", "a.service")),
        Unit("echo.socket", True, starts=("echo.service",), listens=((TCP, 1935), (UDP, 7885))),
    ]


@pytest.mark.parametrize(
    ("line", "obstacle"),
    [
        ("LoadState=masked", "masked"), ("LoadState=not-found", "not-found"), ("Transient=yes", "by hand"),
        ("CanStop=no", "refuses"), ("CanStart=no", "refuses"), ("LoadState=", "unknown"),
    ],
)  # fmt: skip
def test_units_that_would_not_start_again(line: str, obstacle: str) -> None:
    key = line.partition("=")[0]
    lines = [line if one.startswith(f"{key}=") else one for one in SHOWN.partition("\n\n")[0].splitlines()]
    (unit,) = parse.units("\n".join(lines))
    assert obstacle in unit.obstacle


@pytest.mark.parametrize("state", ["inactive", "failed", "deactivating"])
def test_units_that_do_not_run(state: str) -> None:
    assert not next(parse.units(SHOWN.replace("reloading", state))).active


@pytest.mark.parametrize("text", ["", "\n\n\n", "nonsense", "ActiveState=active"])
def test_what_tells_of_no_unit(text: str) -> None:
    assert list(parse.units(text)) == []


INSPECTED = (
    '{"id":"' + ID + '","name":"/plugnmeet-livekit-1","labels":{"com.docker.compose.project":"plugnmeet",'
    '"com.docker.compose.service":"livekit","com.docker.compose.project.working_dir":"/opt/plugNmeet"},'
    '"ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"80"},{"HostIp":"::","HostPort":"80"}],"443/udp":null,'
    '"9/sctp":[{"HostIp":"","HostPort":"9"}]},"remove":false}'
)


def test_a_container_as_docker_tells_of_it() -> None:
    assert list(parse.containers(INSPECTED + "\n")) == [
        Container(ID, "plugnmeet-livekit-1", "plugnmeet", "livekit", "/opt/plugNmeet", False, ((TCP, 80), (TCP, 80)))
    ]


@pytest.mark.parametrize("change", ['"labels":null', '"labels":{}'])
def test_a_container_without_a_project(change: str) -> None:
    line = '{"id":"' + ID + '","name":"/turn",' + change + ',"ports":{},"remove":true}'
    assert list(parse.containers(line)) == [Container(ID, "turn", auto_remove=True)]


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "{}", INSPECTED.replace("/plugnmeet-", "/-"), INSPECTED.replace('"livekit"', '"--now"'),
     INSPECTED.replace("false", '"no"')],
)  # fmt: skip
def test_what_is_no_container(text: str) -> None:
    assert list(parse.containers(text)) == []


@pytest.mark.parametrize("ports", ["[]", "null", '{"80/tcp":3}', '{"80/tcp":[{}]}', '{"x":[{"HostPort":"1"}]}'])
def test_ports_that_are_not_understood(ports: str) -> None:
    line = '{"id":"' + ID + '","name":"/turn","labels":{},"ports":' + ports + ',"remove":false}'
    assert list(parse.containers(line)) == [Container(ID, "turn")]


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        ("/usr/bin/docker compose up", ""), ("docker-compose -f /srv/meet/compose.yaml up", "/srv/meet"),
        ("/usr/libexec/docker/cli-plugins/docker-compose compose up --remove-orphans", ""),
        ("/usr/bin/python3 /usr/bin/docker-compose --file=sub/compose.yaml up", "sub"),
        ("docker compose --project-directory /srv -f /etc/compose.yaml up", "/srv"),
        ("docker compose --project-directory=/srv up", "/srv"), ("docker compose up -f", ""),
    ],
)  # fmt: skip
def test_what_runs_a_compose_project(line: str, folder: str) -> None:
    assert parse.is_compose_up(line.split())
    assert parse.compose_folder(line.split()) == folder


@pytest.mark.parametrize(
    "line", ["", "docker compose down", "docker up", "vim docker-compose up", "docker run compose up"]
)
def test_what_does_not(line: str) -> None:
    assert not parse.is_compose_up(line.split(" ")) or line.startswith("vim")
