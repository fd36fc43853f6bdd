"""Which services hold ports, the list of stopped services, and the guardian's lines: values, and their JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Collection, Mapping

from ..core.codec import MAX_DIGITS, Choice, Integer, ListOf, Number, Record, Text, TupleOf, load_object
from ..core.errors import DecodeError
from ..core.events import Service, ServiceKind, ServiceTransition, Step
from ..core.plan import Transport
from ..core.ports import HIGHEST, LOWEST

MAX_NAME = 256  # of a unit (UNIT_NAME_MAX), or of what Docker has
# A whole plugNmeet server has ten; a check should not stop more than this.
MAX_SERVICES, MAX_MEMBERS = 64, 64
# Ports of one service that are waited for: as many as a plan has items.
MAX_PORTS = 500
MAX_WHY = 300  # characters of a tool's error: its first line
MAX_SECONDS = 48 * 3600  # of a list; `--for` takes a day at most
MAX_PID = 1 << 22  # PID_MAX_LIMIT (proc_sys_kernel(5))


@dataclass(frozen=True)
class Holder:
    """A process that holds a port: TCP by a listening socket, UDP by any.

    It runs in a unit of systemd, or in a container, by its id; else `obstacle` says why it cannot be stopped.
    """

    transport: Transport
    port: int
    pid: int
    name: str
    unit: str = ""
    container: str = ""
    obstacle: str = ""


@dataclass(frozen=True)
class Unit:
    """A unit of systemd. systemd stops its `dependents` along with it; its `triggers` start it again."""

    name: str
    active: bool
    obstacle: str = ""  # why it cannot be stopped or would not start again; empty where it would
    triggers: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    dependents: tuple[str, ...] = ()
    listens: tuple[tuple[Transport, int], ...] = ()  # of a socket unit


@dataclass(frozen=True)
class Container:
    """A running container of Docker; `project`, `service` and `folder` are docker compose's, or empty."""

    id: str
    name: str
    project: str = ""
    service: str = ""
    folder: str = ""
    auto_remove: bool = False  # Docker removes it when it stops
    published: tuple[tuple[Transport, int], ...] = ()


@dataclass(frozen=True)
class Inventory:
    """Everything known about what holds a plan's ports."""

    holders: tuple[Holder, ...]
    units: Mapping[str, Unit]
    containers: tuple[Container, ...]
    compose_units: Mapping[str, str]  # the unit that runs `docker compose up`, by the project's folder
    own_unit: str  # the unit that this program runs in
    ephemeral: Collection[int]  # ports that Linux may use for outgoing sockets
    errors: tuple[str, ...]


@dataclass(frozen=True)
class StopList:
    """The list on disk: services in the order in which they were stopped, and the program that had them stopped.

    `began` is when that program, `pid`, started, in clock ticks since boot; it wants the ports for `seconds` at most.
    """

    services: tuple[Service, ...]
    pid: int
    began: str
    seconds: float


def command(service: Service, verb: str) -> list[str]:
    """Return the command line that stops or starts a service.

    Its requirements are not started: they ran before, or it ran without them.
    """
    if service.kind is ServiceKind.UNIT:
        # A socket comes before its unit both times: otherwise it would start the unit again, or come too late for it.
        alone = ["--job-mode=ignore-requirements"] if verb == "start" else []
        return ["systemctl", "--no-ask-password", *alone, verb, "--", *service.members, service.name]
    if service.kind is ServiceKind.COMPOSE:
        return ["docker", "compose", "-p", service.name, verb, *service.members]
    return ["docker", verb, service.name]


# systemd.unit(5); Docker's RestrictedNamePattern. No name begins as an option does.
_UNIT = re.compile(r"[\w:.\\@][\w:.\\@-]{0,250}\.(service|socket|timer|path)", re.ASCII)
_CONTAINER = re.compile(r"[a-zA-Z0-9][\w.-]{0,254}", re.ASCII)


def is_name(kind: ServiceKind, name: str) -> bool:
    """Return whether a service of this kind can have this name."""
    return bool((_UNIT if kind is ServiceKind.UNIT else _CONTAINER).fullmatch(name))


def _check_names(service: Service) -> None:
    if not all(is_name(service.kind, name) for name in (service.name, *service.members)):
        raise DecodeError("a name that no service has")


_NAME = Text(MAX_NAME)
_PORT = TupleOf({"transport": Choice(Transport), "port": Integer(LOWEST, HIGHEST)})
# The ports that are only shown are not on the list.
_SERVICE = Record(
    Service,
    {
        "kind": Choice(ServiceKind),
        "name": _NAME,
        "members": ListOf(_NAME, MAX_MEMBERS),
        "awaited": ListOf(_PORT, MAX_PORTS),
    },
    check=_check_names,
)
_STOP_LIST = Record(
    StopList,
    {
        "services": ListOf(_SERVICE, MAX_SERVICES),
        "pid": Integer(1, MAX_PID),
        "began": Text(MAX_DIGITS),
        "seconds": Number(0, MAX_SECONDS),
    },
)
_TRANSITION = Record(ServiceTransition, {"step": Choice(Step), "service": _NAME, "why": Text(MAX_WHY)})


def to_json(stop_list: StopList) -> dict[str, Any]:
    """Return the list as it is written to disk: all that starting the services again needs."""
    return _STOP_LIST.encode(stop_list)


def read_stop_list(data: bytes) -> StopList:
    """Read a list that `to_json` made, without the ports that are only shown; DecodeError for anything else."""
    return _STOP_LIST.decode(load_object(data))


def read_transition(line: bytes) -> ServiceTransition:
    """Read a line of the guardian's; DecodeError for anything else."""
    return _TRANSITION.decode(load_object(line))
