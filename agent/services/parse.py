"""Read what Linux, systemd and Docker tell about processes, units and containers."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Iterable, Iterator

from ..core.codec import Boolean, Text, TupleOf, load_object
from ..core.errors import DecodeError
from ..core.events import ServiceKind
from ..core.plan import Transport
from .model import Container, Unit, is_name

# systemd stops these units along with a unit.
_DEPENDENTS = ("RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo")
UNIT_PROPERTIES = (
    "Id", "LoadState", "ActiveState", "Transient", "CanStart", "CanStop", "TriggeredBy", "Triggers", "Listen",
    *_DEPENDENTS,
)  # fmt: skip
_LISTEN = re.compile(r"\S*:([0-9]{1,5}) \((Stream|Datagram)\)")
_ID = r"([0-9a-f]{64})"
_DOCKER = re.compile(rf"/(?:docker/{_ID}|docker-{_ID}\.scope)(?:/|$)")
# A service of this machine's systemd: a container has its slices beneath something else. An underscore stands before
# names that are the kernel's own, or look like those.
_SERVICE = re.compile(r"(?:/[^/]+\.slice)*/_?([^/]+\.service)(?:/.*)?")
INSPECT_FORMAT = (
    '{"id":{{json .Id}},"name":{{json .Name}},"labels":{{json .Config.Labels}},'
    '"ports":{{json .NetworkSettings.Ports}},"remove":{{json .HostConfig.AutoRemove}}}'
)
_INSPECTED = TupleOf({"id": Text(64), "name": Text(256), "remove": Boolean()})
_COMPOSE = "com.docker.compose."


def cgroup(text: str) -> tuple[str, str, str]:
    """Return the unit that a process runs in, or else the container's id, or else why neither stops it (cgroups(7))."""
    paths = [line.split(":", 2)[2] for line in text.splitlines() if line.count(":") >= 2]
    for path in paths:
        container = _DOCKER.search(path)
        if container:
            return "", container.group(1) or container.group(2), ""
        if "/kubepods" in path:
            return "", "", "Kubernetes runs it"
    for path in paths:
        service = _SERVICE.fullmatch(path)
        if path.startswith("/user.slice/"):
            return "", "", "a user started it, and nothing would start it again"
        if service and is_name(ServiceKind.UNIT, service.group(1)):
            return service.group(1), "", ""
    return "", "", "no service runs it, so nothing would start it again"


def units(text: str) -> Iterator[Unit]:
    """Yield the units that `systemctl show` prints, one paragraph each."""
    for paragraph in text.split("\n\n"):
        lines = [line.partition("=") for line in paragraph.splitlines()]
        values = {key: value for key, _, value in lines}
        if not values.get("Id"):
            continue
        obstacle = ""
        if values.get("LoadState") != "loaded":
            state = values.get("LoadState") or "unknown"
            obstacle = f"systemd could not start it again: its unit file is {state}"
        elif values.get("Transient") == "yes":
            obstacle = "it was started by hand, and systemd could not start it again"
        elif "no" in (values.get("CanStop"), values.get("CanStart")):
            obstacle = "its unit refuses to be stopped or started by hand"
        yield Unit(
            values["Id"],
            values.get("ActiveState") not in ("inactive", "failed", "deactivating", None),
            obstacle,
            tuple(values.get("TriggeredBy", "").split()),
            tuple(values.get("Triggers", "").split()),
            tuple(dict.fromkeys(name for key in _DEPENDENTS for name in values.get(key, "").split())),
            tuple(_listening(value for key, _, value in lines if key == "Listen")),
        )


def _listening(values: Iterable[str]) -> Iterator[tuple[Transport, int]]:
    for value in values:
        match = _LISTEN.fullmatch(value)
        if match:
            yield Transport.TCP if match.group(2) == "Stream" else Transport.UDP, int(match.group(1))


def containers(text: str) -> Iterator[Container]:
    """Yield the containers that `docker inspect` prints, one line of JSON each, without those that are malformed."""
    for line in text.splitlines():
        try:
            value = load_object(line)
            (identifier, path, remove), labels = _INSPECTED.decode(value), value.get("labels") or {}
            name = path.lstrip("/")
            if not isinstance(labels, dict):
                continue
            project, service, folder = (_label(labels, key) for key in ("project", "service", "project.working_dir"))
            if all(is_name(ServiceKind.CONTAINER, text) for text in (name, *filter(None, (project, service)))):
                ports = tuple(_published(value.get("ports")))
                yield Container(identifier, name, project, service, folder, remove, ports)
        except DecodeError:
            continue


def _label(labels: dict[str, Any], key: str) -> str:
    try:
        return Text(4096).decode(labels.get(_COMPOSE + key))
    except DecodeError:
        return ""


def _published(ports: object) -> Iterator[tuple[Transport, int]]:
    """Yield the ports of this machine that Docker forwards to a container."""
    for name, bindings in ports.items() if isinstance(ports, dict) else ():
        transport = name.rpartition("/")[2]
        for binding in bindings if isinstance(bindings, list) and transport in ("tcp", "udp") else ():
            port = str(binding.get("HostPort")) if isinstance(binding, dict) else ""
            if port.isdecimal() and len(port) < 6:
                yield Transport(transport), int(port)


def is_compose_up(words: list[str]) -> bool:
    """Return whether a command line is `docker compose up`, or `docker-compose up`, also where Python runs it."""
    names = [word.rpartition("/")[2] for word in words[:3]]
    return "up" in words and ("docker-compose" in names[:2] or names[:2] == ["docker", "compose"])


def compose_folder(words: list[str]) -> str:
    """Return the project's folder that such a command line names; empty where it is the process's own."""
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        value = value if equals else "".join(words[index + 1 : index + 2])
        if option == "--project-directory":
            return value
        if option in ("-f", "--file"):
            return posixpath.dirname(value)
    return ""
