"""What holds the ports of a plan on a server that is in service, and how it is stopped and started again."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Any, Mapping, NamedTuple

from .fields import MAX_DIGITS, FieldError, Fields, parse, text
from .plan import Transport
from .ports import HIGHEST, LOWEST, PortRange

MAX_NAME = 256  # of a unit (UNIT_NAME_MAX), or of what Docker has
# A whole plugNmeet has ten; who has more is no server that a check should stop.
MAX_SERVICES, MAX_MEMBERS = 64, 64
# Ports of one service that are waited for: as many as a plan has items.
MAX_PORTS = 500
MAX_WHY = 300  # characters of what a tool says: its first line
MAX_SECONDS = 48 * 3600  # of a list; `--for` takes a day at most
MAX_PID = 1 << 22  # PID_MAX_LIMIT (proc_sys_kernel(5))


class Holder(NamedTuple):
    """A process that holds a port: TCP by a socket that listens, UDP by any.

    What it runs in: a unit of systemd's, or a container, by its id; else `why` says why it cannot be stopped.
    """

    transport: Transport
    port: int
    pid: int
    name: str
    unit: str = ""
    container: str = ""
    why: str = ""


@dataclass(frozen=True)
class Unit:
    """What systemd tells of a unit. `dependents` it stops along with it, `triggers` start it again."""

    name: str
    active: bool
    obstacle: str = ""  # why it cannot be stopped or would not start again; empty where it would
    triggers: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    dependents: tuple[str, ...] = ()
    listens: tuple[tuple[Transport, int], ...] = ()  # of a socket unit


@dataclass(frozen=True)
class Container:
    """A container of Docker's that runs; `project`, `service` and `folder` are docker compose's, or empty."""

    id: str
    name: str
    project: str = ""
    service: str = ""
    folder: str = ""
    removed: bool = False  # when it stops
    published: tuple[tuple[Transport, int], ...] = ()


@dataclass(frozen=True)
class Found:
    """All that is known of who holds a plan's ports."""

    holders: tuple[Holder, ...]
    units: Mapping[str, Unit]
    containers: tuple[Container, ...]
    runners: Mapping[str, str]  # of a compose project's folder: the unit that runs `docker compose up` there
    own: str  # the unit that this runs in
    lent: range  # ports that the system lends to outgoing sockets
    troubles: tuple[str, ...]


class Kind(str, enum.Enum):
    """By which program it is stopped and started."""

    UNIT = "unit"
    COMPOSE = "compose"
    CONTAINER = "container"


@dataclass(frozen=True)
class Service:
    """One thing to stop; `members` go with it: sockets that would start a unit again, services of a compose project.

    `ports` is what it has, as it is shown; `awaited` are those that it must hold again once it runs.
    """

    kind: Kind
    name: str
    members: tuple[str, ...] = ()
    ports: tuple[tuple[Transport, PortRange], ...] = ()
    awaited: tuple[tuple[Transport, int], ...] = ()


@dataclass(frozen=True)
class Left:
    """What is not stopped, so that its ports stay untested, and why."""

    owner: str
    ports: tuple[tuple[Transport, PortRange], ...]
    why: str


@dataclass(frozen=True)
class StopList:
    """The list on disk: what was stopped, in this order, for which program (its pid and when it began), how long."""

    services: tuple[Service, ...]
    pid: int
    began: str
    seconds: float


class Step(str, enum.Enum):
    """What happened to a service, or that all of them are down (`ready`) or were tried to be started (`done`)."""

    STOPPING = "stopping"
    STOPPED = "stopped"
    NOT_STOPPED = "not-stopped"
    READY = "ready"
    STARTING = "starting"
    BACK = "back"
    NOT_BACK = "not-back"
    DONE = "done"


@dataclass(frozen=True)
class ServiceTransition:
    """One step of stopping or starting, as the guardian tells it."""

    step: Step
    service: str = ""
    why: str = ""


def command(service: Service, verb: str) -> list[str]:
    """What stops or starts it. What else it needs is not started: that ran before, or it did without."""
    if service.kind is Kind.UNIT:
        # A socket comes before its unit both times: else the one would start it again, and it would start without.
        alone = ["--job-mode=ignore-requirements"] if verb == "start" else []
        return ["systemctl", "--no-ask-password", *alone, verb, "--", *service.members, service.name]
    if service.kind is Kind.COMPOSE:
        return ["docker", "compose", "-p", service.name, verb, *service.members]
    return ["docker", verb, service.name]


# systemd.unit(5); Docker's RestrictedNamePattern. None begins as an option does.
_UNIT = re.compile(r"[\w:.\\@][\w:.\\@-]{0,250}\.(service|socket|timer|path)", re.ASCII)
_CONTAINER = re.compile(r"[a-zA-Z0-9][\w.-]{0,254}", re.ASCII)


def is_name(kind: Kind, name: str) -> bool:
    """Whether this can be the name of such a thing."""
    return bool((_UNIT if kind is Kind.UNIT else _CONTAINER).fullmatch(name))


def to_json(stopped: StopList) -> dict[str, Any]:
    """The list, as it is on disk: what starts its services, and tells that they are back."""
    services = [
        {"kind": one.kind.value, "name": one.name, "members": list(one.members), "awaited": [
            {"transport": transport.value, "port": port} for transport, port in one.awaited
        ]} for one in stopped.services
    ]  # fmt: skip
    return {**vars(stopped), "services": services}


def read_stop_list(data: bytes) -> StopList:
    """The list that to_json made, without the ports that are only shown; FieldError for anything else."""
    fields = parse(data)
    services = fields.list("services", _service, MAX_SERVICES)
    pid, seconds = fields.integer("pid", 1, MAX_PID), fields.number("seconds", 0, MAX_SECONDS)
    return StopList(services, pid, fields.text("began", MAX_DIGITS), seconds)


def _service(value: object) -> Service:
    fields = Fields(value)
    kind = fields.choice("kind", Kind)

    def name(value: object) -> str:
        found = text(value, MAX_NAME)
        if not is_name(kind, found):
            raise FieldError("a name that no service has")
        return found

    members = fields.list("members", name, MAX_MEMBERS)
    awaited = fields.list("awaited", _port, MAX_PORTS)
    return Service(kind, name(fields.text("name", MAX_NAME)), members, awaited=awaited)


def _port(value: object) -> tuple[Transport, int]:
    fields = Fields(value)
    return fields.choice("transport", Transport), fields.integer("port", LOWEST, HIGHEST)


def read_moved(line: bytes) -> ServiceTransition:
    """A line of the guardian's; FieldError for anything else."""
    fields = parse(line)
    return ServiceTransition(fields.choice("step", Step), fields.text("service", MAX_NAME), fields.text("why", MAX_WHY))
