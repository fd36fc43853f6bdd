"""What the server tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from .address import Address, Family
from .notes import Notes
from .observation import Reason
from .plan import Requirement, Transport
from .ports import PortRange
from .report import Problem, Report
from .service import LeftRunning, Service, ServiceTransition


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


Event = Union[
    Listening, Notes, SessionStarted, ReportReceived, ClientRefused, ClientLost, EventsSuppressed, ServerStopped,
    StopPlan, ServiceTransition, ServicesRestored,
]  # fmt: skip
