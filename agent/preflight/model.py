"""What the checks of the server itself work on: what this machine tells, and what others tell about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Tuple, Union

from ..core.address import Address, Family
from ..core.events import Note
from ..core.ports import PortRange
from ..system.interfaces import Interface

# The problems, none where all is well; or why there is no result; or None where the check does not apply.
CheckResult = Union[Tuple[Note, ...], str, None]


@dataclass(frozen=True)
class Certificate:
    """A certificate in a file: its last valid second in Unix time, its names, and its SHA-256 in hexadecimal."""

    path: str
    until: int
    names: tuple[str, ...]
    fingerprint: str = ""


@dataclass(frozen=True)
class Machine:
    """What this machine tells about itself. None is 'not measured'."""

    now: float = 0.0  # Unix seconds
    interfaces: tuple[Interface, ...] | None = None
    ephemeral_ports: PortRange | None = None  # for outgoing connections
    reserved_ports: frozenset[int] | None = None  # those of them that Linux does not use so
    max_receive_buffer: int | None = None  # bytes that a program may ask for
    conntrack_max: int | None = None  # None also where nothing is tracked
    clock_synchronized: bool | None = None  # by a time server
    certificates: tuple[Certificate, ...] = ()
    outgoing_addresses: tuple[Address, ...] = ()  # the local addresses of packets to the Internet
    errors: Mapping[str, str] = field(default_factory=dict)  # why a field, or a certificate at a path, is not measured


@dataclass(frozen=True)
class OutsideAnswers:
    """What STUN servers and the DNS tell about this machine. None is 'not asked'."""

    routes: tuple[Family, ...] = ()  # the families in which this machine reaches the Internet
    stun_servers: tuple[str, ...] = ()  # that were asked, or would have been
    unresolved: tuple[str, ...] = ()  # those without an address in the DNS
    egress: Mapping[Family, Address] | None = None  # the public source addresses
    hairpin: bool | None = None  # whether packets to `egress` come back
    dns_records: Mapping[str, tuple[Address, ...] | None] | None = None  # by name; None: no answer
