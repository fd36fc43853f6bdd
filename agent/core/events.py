"""What the server tells while it runs, with the problems and the services that it tells of."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Union

from .address import Address, Family
from .observation import Reason
from .plan import Requirement, Transport
from .ports import PortRange
from .report import Problem, Report


@dataclass(frozen=True)
class Unavailable:
    """A run of ports that the server could not take; `family` is None where that holds for every family."""

    transport: Transport
    ports: PortRange
    reason: Reason
    owner: str | None
    family: Family | None


@dataclass(frozen=True)
class Listening:
    """The server is ready: a client may start. `own` are this machine's addresses that packets leave from."""

    control: int
    listening: tuple[tuple[Transport, PortRange], ...]
    unavailable: tuple[Unavailable, ...]
    tls: bool
    own_addresses: tuple[Address, ...]
    seconds: float  # how long it will run at most
    capture_unavailable: str  # why the network interfaces are not watched, and what to do; empty where they are
    key: str | None = None  # the pairing key; None where none is set
    key_known: bool = False  # the client has it already, from its environment, so that it need not be shown
    root: str = ""  # why what reads from the network is still root; empty where it is not
    planned: tuple[Requirement, ...] = ()  # those that were read from this machine's configuration
    notes: tuple[str, ...] = ()  # sentences about that configuration
    live: bool = False  # services go on running
    partitions: tuple[PortRange, ...] = ()  # UDP ports that are bound only while a check runs, half of them at a time


@dataclass(frozen=True)
class SessionStarted:
    """A client's check began."""

    client: Address


@dataclass(frozen=True)
class Arrival:
    """Where a client's packets came in: the interface, and the address of this host, packed, that they were sent to."""

    interface: str
    address: bytes


@dataclass(frozen=True)
class ReportReceived:
    """A client handed its report over; `arrival` is None where the interfaces are not watched."""

    client: Address
    report: Report
    arrival: Arrival | None = None


@dataclass(frozen=True)
class ClientRefused:
    """A client was turned away."""

    client: Address
    problem: Problem


@dataclass(frozen=True)
class EventsSuppressed:
    """So many notices about clients were not told, since too many came in a short time."""

    count: int


@dataclass(frozen=True)
class ClientLost:
    """A client went without handing a report over."""

    client: Address


@dataclass(frozen=True)
class ServerStopped:
    """The server ends, and why."""

    why: str


@dataclass(frozen=True)
class StopPlan:
    """What is to be stopped, in this order, for so long at most, and what is left."""

    services: tuple[Service, ...]
    left: tuple[LeftRunning, ...]
    seconds: float


@dataclass(frozen=True)
class ServicesRestored:
    """The services that run again, and those that do not."""

    running: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """One problem on the server, which changes no verdict; `code` is a stable word for programs."""

    code: str
    what: str
    breaks: str
    fix: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notes:
    """The results of some checks: the problems, the checks that found none, and those without a result and why."""

    problems: tuple[Note, ...] = ()
    fine: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class ServiceKind(str, enum.Enum):
    """Which program stops and starts a service: systemd, docker compose or docker."""

    UNIT = "unit"
    COMPOSE = "compose"
    CONTAINER = "container"


@dataclass(frozen=True)
class Service:
    """A service to stop."""

    kind: ServiceKind
    name: str
    members: tuple[str, ...] = ()  # they stop with it: sockets that would start a unit again, or a project's services
    ports: tuple[tuple[Transport, PortRange], ...] = ()  # as they are shown
    awaited: tuple[tuple[Transport, int], ...] = ()  # those that it must hold again to count as running


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


Event = Union[
    Listening, Notes, SessionStarted, ReportReceived, ClientRefused, ClientLost, EventsSuppressed, ServerStopped,
    StopPlan, ServiceTransition, ServicesRestored,
]  # fmt: skip
