"""Services that are stopped for a check and started again, as events and the guardian report them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .plan import Transport
from .ports import PortRange


class ServiceKind(str, enum.Enum):
    """Which program stops and starts a service: systemd, docker compose or docker."""

    UNIT = "unit"
    COMPOSE = "compose"
    CONTAINER = "container"


@dataclass(frozen=True)
class Service:
    """A service to stop. `members` stop with it: sockets that would start a unit again, or a project's services.

    `ports` are its ports as they are shown; `awaited` are those that it must hold again to count as running.
    """

    kind: ServiceKind
    name: str
    members: tuple[str, ...] = ()
    ports: tuple[tuple[Transport, PortRange], ...] = ()
    awaited: tuple[tuple[Transport, int], ...] = ()


@dataclass(frozen=True)
class LeftRunning:
    """What holds planned ports and is not stopped, and why; those ports stay untested."""

    owner: str
    ports: tuple[tuple[Transport, PortRange], ...]
    why: str


class Step(str, enum.Enum):
    """A step of one service, or of all: READY when all were stopped, DONE when all were started."""

    STOPPING = "stopping"
    STOPPED = "stopped"
    NOT_STOPPED = "not-stopped"
    READY = "ready"
    STARTING = "starting"
    RUNNING = "back"
    FAILED = "not-back"
    DONE = "done"


@dataclass(frozen=True)
class ServiceTransition:
    """A service's step as the guardian reports it; `service` is empty where the step concerns all of them."""

    step: Step
    service: str = ""
    why: str = ""
