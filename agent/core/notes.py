"""What is known of the server itself before any client comes, and notes on what is amiss there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping

from .address import Address, Family
from .ports import PortRange


@dataclass(frozen=True)
class Note:
    """One thing that is amiss beside the ports; no verdict depends on it. `code` is a stable word for programs."""

    code: str
    what: str
    breaks: str
    fix: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notes:
    """What came of some checks: what is amiss, what is in order, and what could not be found out and why."""

    amiss: tuple[Note, ...] = ()
    fine: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interface:
    """An interface that is up, and its addresses that others can send to."""

    name: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class Certificate:
    """A certificate in a file: until when it is good, in Unix seconds, for which names, and its SHA-256 in hex."""

    path: str
    until: int
    names: tuple[str, ...]
    fingerprint: str = ""


@dataclass(frozen=True)
class Machine:
    """What this machine tells of itself; None is 'not found out', and `why` has the reason of what tools were asked."""

    now: float = 0.0  # Unix seconds
    interfaces: tuple[Interface, ...] | None = None
    lent: PortRange | None = None  # ports for outgoing connections
    reserved: frozenset[int] | None = None  # those of them that are lent to nobody
    most_received: int | None = None  # bytes of a receive buffer, as large as a program may ask for
    most_flows: int | None = None  # that connection tracking keeps; None also where nothing is tracked
    clock: bool | None = None  # whether another clock sets this one
    certificates: tuple[Certificate, ...] = ()
    outgoing: tuple[Address, ...] = ()  # those of its addresses that packets leave from
    why: Mapping[str, str] = field(default_factory=dict)  # by the name of the field, or a certificate's path


@dataclass(frozen=True)
class Outside:
    """What questions to others told."""

    routes: tuple[Family, ...] = ()  # the families in which there is a way out at all
    servers: tuple[str, ...] = ()  # that were asked by STUN, or would have been
    unresolved: tuple[str, ...] = ()  # those that have no address, as far as the DNS tells
    egress: Mapping[Family, Address] | None = None  # whence the world sees this machine; None where nobody was asked
    hairpin: bool | None = None  # whether packets to `egress` come back; None where that was not tried
    records: Mapping[str, tuple[Address, ...] | None] | None = None  # of the domains; None for one without an answer
