"""Which services hold a plan's ports, by Linux's /proc, systemd and Docker (proc(5), systemctl(1), docker(1))."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any, Collection, Iterable, Iterator, Mapping

from ..core.codec import Boolean, Text, members
from ..core.errors import DecodeError
from ..core.json_reader import load_object
from ..core.plan import Plan, Transport
from ..core.service import ServiceKind
from ..system.commands import run_tool
from ..system.files import read_text
from ..system.port_owners import list_directory, port_holders
from ..system.sysctl import read_ephemeral_ports
from .model import Container, Holder, Inventory, Unit, is_name

MAX_CGROUP = 16 * 1024  # a line for each hierarchy, of which there are a dozen
MAX_COMMAND = 4096  # bytes of a command line: what matters comes first
MAX_UNITS = 500  # with all that depends on them; a machine has some hundreds
MAX_CONTAINERS = 200

_DEPENDENTS = ("RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo")
_PROPERTIES = (
    "Id", "LoadState", "ActiveState", "Transient", "CanStart", "CanStop", "TriggeredBy", "Triggers", "Listen",
    *_DEPENDENTS,
)  # fmt: skip
_LISTEN = re.compile(r"\S*:([0-9]{1,5}) \((Stream|Datagram)\)")
_ID = r"([0-9a-f]{64})"
_DOCKER = re.compile(rf"/(?:docker/{_ID}|docker-{_ID}\.scope)(?:/|$)")
# Of this machine's systemd: that of a container has its slices beneath something else. The kernel's own names and what
# looks like them have an underscore before them.
_SERVICE = re.compile(r"(?:/[^/]+\.slice)*/_?([^/]+\.service)(?:/.*)?")
_INSPECT = (
    '{"id":{{json .Id}},"name":{{json .Name}},"labels":{{json .Config.Labels}},'
    '"ports":{{json .NetworkSettings.Ports}},"remove":{{json .HostConfig.AutoRemove}}}'
)
_INSPECTED = members({"id": Text(64), "name": Text(256), "remove": Boolean()})
_COMPOSE = "com.docker.compose."


def find_services(plan: Plan) -> Inventory:
    """Find out who holds the ports of a plan; root's, it takes a second, or some where a tool hangs."""
    troubles: list[str] = []
    found = [
        _placed(Holder(transport, *holder))
        for transport in Transport
        for holder in port_holders(transport, frozenset(plan.ports(transport)))
    ]
    containers = [replace(one, folder=one.folder and os.path.realpath(one.folder)) for one in _containers(troubles)]
    runners = dict(_runners()) if any(one.project for one in containers) else {}
    names = {*filter(None, (one.unit for one in found)), *runners.values()}
    if any(one.pid == 1 for one in found):
        names.add("*.socket")  # systemd holds it for a service that is not needed yet
    units = _units(names, troubles)
    return Inventory(
        tuple(_of_systemd(one, units) if one.pid == 1 else one for one in found),
        units, tuple(containers), runners, parse_cgroup(_cgroup("self"))[0], _ephemeral(), tuple(troubles),
    )  # fmt: skip


def _placed(holder: Holder) -> Holder:
    unit, container, why = parse_cgroup(_cgroup(str(holder.pid)))
    return replace(holder, unit=unit, container=container, obstacle=why)


def _cgroup(pid: str) -> str:
    return read_text(f"/proc/{pid}/cgroup", MAX_CGROUP)


def _of_systemd(holder: Holder, units: Mapping[str, Unit]) -> Holder:
    port = (holder.transport, holder.port)
    unit = next((one.name for one in units.values() if port in one.listens and one.active), "")
    return replace(holder, unit=unit, obstacle="" if unit else "systemd itself holds it")


def parse_cgroup(text: str) -> tuple[str, str, str]:
    """The unit, or else the container's id, that a process runs in, or else why neither stops it (cgroups(7))."""
    paths = [line.split(":", 2)[2] for line in text.splitlines() if line.count(":") >= 2]
    for path in paths:
        match = _DOCKER.search(path)
        if match:
            return "", match.group(1) or match.group(2), ""
        if "/kubepods" in path:
            return "", "", "Kubernetes runs it"
    for path in paths:
        match = _SERVICE.fullmatch(path)
        if path.startswith("/user.slice/"):
            return "", "", "it was started by a user, and nothing would start it again"
        if match and is_name(ServiceKind.UNIT, match.group(1)):
            return match.group(1), "", ""
    return "", "", "no service runs it, so nothing would start it again"


def _units(names: Collection[str], troubles: list[str]) -> dict[str, Unit]:
    """These units, and all that have to do with them."""
    units: dict[str, Unit] = {}
    asked: set[str] = set()
    wanted = set(names)
    while wanted and len(units) < MAX_UNITS:
        told = run_tool("systemctl", "show", "--no-pager", f"--property={','.join(_PROPERTIES)}", "--", *sorted(wanted))
        if told.output is None:
            troubles.append(told.error)
            break
        asked |= wanted
        new = {one.name: one for one in parse_units(told.output)}
        units.update(new)
        wanted = {name for one in new.values() for name in (*one.triggers, *one.starts, *one.dependents)} - asked
    return units


def parse_units(text: str) -> Iterator[Unit]:
    """The units of which `systemctl show` tells, a paragraph each."""
    for paragraph in text.split("\n\n"):
        lines = [line.partition("=") for line in paragraph.splitlines()]
        has = {key: value for key, _, value in lines}
        if not has.get("Id"):
            continue
        obstacle = ""
        if has.get("LoadState") != "loaded":
            obstacle = f"systemd could not start it again: its file is {has.get('LoadState') or 'unknown'}"
        elif has.get("Transient") == "yes":
            obstacle = "it was started by hand, and systemd would have forgotten it"
        elif "no" in (has.get("CanStop"), has.get("CanStart")):
            obstacle = "its unit refuses to be stopped or started by hand"
        yield Unit(
            has["Id"],
            has.get("ActiveState") not in ("inactive", "failed", "deactivating", None),
            obstacle,
            tuple(has.get("TriggeredBy", "").split()),
            tuple(has.get("Triggers", "").split()),
            tuple(dict.fromkeys(name for key in _DEPENDENTS for name in has.get(key, "").split())),
            tuple(_listens(value for key, _, value in lines if key == "Listen")),
        )


def _listens(values: Iterable[str]) -> Iterator[tuple[Transport, int]]:
    for value in values:
        match = _LISTEN.fullmatch(value)
        if match:
            yield Transport.TCP if match.group(2) == "Stream" else Transport.UDP, int(match.group(1))


def _containers(troubles: list[str]) -> Iterator[Container]:
    """The containers that run; none where there is no Docker."""
    listed = run_tool("docker", "ps", "--quiet", "--no-trunc")
    if listed.missing:
        return
    ids = (listed.output or "").split()[:MAX_CONTAINERS]
    told = run_tool("docker", "inspect", "--format", _INSPECT, *ids) if ids else listed
    if told.output is None:
        troubles.append(told.error)
    elif ids:
        yield from parse_containers(told.output)


def parse_containers(text: str) -> Iterator[Container]:
    """What `docker inspect` tells of each, a line of JSON; one that is not understood is left out."""
    for line in text.splitlines():
        try:
            value = load_object(line)
            fields, labels = _INSPECTED.decode(value), value.get("labels") or {}
            name = fields["name"].lstrip("/")
            if not isinstance(labels, dict):
                continue
            project, service, folder = (_label(labels, key) for key in ("project", "service", "project.working_dir"))
            if all(is_name(ServiceKind.CONTAINER, one) for one in (name, *filter(None, (project, service)))):
                yield Container(fields["id"], name, project, service, folder, fields["remove"],
                                tuple(_published(value.get("ports"))))  # fmt: skip
        except DecodeError:
            continue


def _label(labels: dict[str, Any], key: str) -> str:
    try:
        return Text(4096).decode(labels.get(_COMPOSE + key))
    except DecodeError:
        return ""


def _published(ports: object) -> Iterator[tuple[Transport, int]]:
    """The ports of this machine that lead to a container's."""
    for name, bound in ports.items() if isinstance(ports, dict) else ():
        for one in bound if isinstance(bound, list) else ():
            port = str(one.get("HostPort")) if isinstance(one, dict) else ""
            transport = name.rpartition("/")[2]
            if port.isdecimal() and len(port) < 6 and transport in ("tcp", "udp"):
                yield Transport(transport), int(port)


def _runners() -> Iterator[tuple[str, str]]:
    """The folders in which a unit runs `docker compose up`, and that unit."""
    for pid in filter(str.isdigit, list_directory("/proc")):
        words = read_text(f"/proc/{pid}/cmdline", MAX_COMMAND).split("\0")
        unit = parse_cgroup(_cgroup(pid))[0] if is_compose_up(words) else ""
        if unit:
            yield os.path.realpath(os.path.join(f"/proc/{pid}/cwd", compose_folder(words))), unit


def is_compose_up(words: list[str]) -> bool:
    """Whether a command line is `docker compose up`, or `docker-compose up`, also where Python runs it."""
    names = [word.rpartition("/")[2] for word in words[:3]]
    return "up" in words and ("docker-compose" in names[:2] or names[:2] == ["docker", "compose"])


def compose_folder(words: list[str]) -> str:
    """The folder that such a command line names, relative to where it runs; empty for that one itself."""
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        value = value if equals else "".join(words[at + 1 : at + 2])
        if option == "--project-directory":
            return value
        if option in ("-f", "--file"):
            return os.path.dirname(value)
    return ""


def _ephemeral() -> range:
    ports = read_ephemeral_ports()
    return range(ports.first, ports.last + 1) if ports else range(0)
