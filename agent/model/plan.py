"""What must be reachable: the built-in plan, its add-ons, and the user's own ports."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import Iterator, Sequence

from ..errors import UsageError
from .ports import PortRange


class Transport(str, enum.Enum):
    """The transport protocol of a port."""

    TCP = "tcp"
    UDP = "udp"


class Need(str, enum.Enum):
    """How much a service misses a port that is not open; only a required one decides the verdict."""

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    OPTIONAL = "optional"


class Protocol(enum.Enum):
    """What a port will carry, and so what its probe has to look like to a firewall that reads along."""

    HTTP = "HTTP"
    TLS = "TLS"
    FRAMED_STUN = "STUN framed by RFC 4571"
    STUN = "STUN"


HTTP_PORT, HTTPS_PORT = 80, 443
# Where a client looks for the control channel unless it is told: the built-in plan's TCP ports, likeliest first.
CONTROL_PORTS = (HTTPS_PORT, HTTP_PORT, 7881)
MEDIA = "WebRTC media"  # the purpose of the ports that LiveKit draws from, one for each participant


@dataclass(frozen=True)
class Requirement:
    """One row of a plan: a run of ports of one transport, what for, and how much it is needed."""

    transport: Transport
    ports: PortRange
    purpose: str
    need: Need


@dataclass(frozen=True)
class Plan:
    """What must be reachable. No port of a transport is in two requirements."""

    name: str
    requirements: tuple[Requirement, ...]

    def of(self, transport: Transport) -> tuple[Requirement, ...]:
        """The requirements of one transport, in the plan's order."""
        return tuple(row for row in self.requirements if row.transport is transport)

    def ports(self, transport: Transport) -> Iterator[int]:
        """Every port of one transport, in the plan's order."""
        for row in self.of(transport):
            yield from row.ports

    def has(self, transport: Transport, port: int) -> bool:
        """Whether the plan has this port."""
        return port in self._by_transport[transport]

    @functools.cached_property
    def _by_transport(self) -> dict[Transport, frozenset[int]]:
        return {transport: frozenset(self.ports(transport)) for transport in Transport}


def protocol_of(transport: Transport, port: int) -> Protocol:
    """What a port's probe speaks: what the port is known to carry, else what WebRTC sends over it."""
    if transport is Transport.UDP:
        return Protocol.STUN
    return {HTTP_PORT: Protocol.HTTP, HTTPS_PORT: Protocol.TLS}.get(port, Protocol.FRAMED_STUN)


def _row(transport: Transport, first: int, last: int, purpose: str, need: Need = Need.REQUIRED) -> Requirement:
    return Requirement(transport, PortRange(first, last), purpose, need)


_TCP, _UDP = Transport.TCP, Transport.UDP

# plugNmeet's documentation, "Ports & firewall"; 443/udp is in its installer's firewall rules and not in that table.
PLANS = {
    "plugnmeet": (
        _row(_TCP, HTTP_PORT, HTTP_PORT, "Let's Encrypt certificates (HTTP-01)"),
        _row(_TCP, HTTPS_PORT, HTTPS_PORT, "HTTPS: haproxy hands on to the other services"),
        _row(_TCP, 7881, 7881, "WebRTC over TCP, for clients that cannot use UDP"),
        _row(_UDP, 443, 443, "TURN/UDP", Need.RECOMMENDED),
        _row(_UDP, 50000, 60000, MEDIA),
    )
}

# The ports of plugNmeet's optional services. Who asks for one needs it.
ADDONS = {
    "rtmp": (_row(_TCP, 1935, 1935, "RTMP ingest"),),
    "whip": (_row(_UDP, 7885, 7885, "WHIP media"),),
    "sip": (
        _row(_TCP, 5060, 5061, "SIP signalling"),
        _row(_UDP, 5060, 5061, "SIP signalling"),
        _row(_UDP, 10000, 20000, "SIP media"),
    ),
}


def build_plan(
    name: str,
    addons: Sequence[str] = (),
    tcp: Sequence[PortRange] | None = None,
    udp: Sequence[PortRange] | None = None,
) -> Plan:
    """The plan `name` with its add-ons; `tcp` and `udp`, where given, replace the built-in ports of that transport.

    Raises UsageError where a port would be planned twice, or none at all.
    """
    own = {Transport.TCP: tcp, Transport.UDP: udp}
    rows = [row for row in PLANS[name] if own[row.transport] is None]
    for transport, ranges in own.items():
        rows += [Requirement(transport, ports, f"named with --{transport.value}", Need.REQUIRED)
                 for ports in ranges or ()]  # fmt: skip
    for addon in dict.fromkeys(addons):
        for row in ADDONS[addon]:
            _refuse_overlap(rows, row, addon)
            rows.append(row)
    if not rows:
        raise UsageError("nothing to check", "the plan has no port left", "name at least one port with --tcp or --udp")
    rows.sort(key=lambda row: (row.transport.value, row.ports))
    return Plan(name, tuple(rows))


def _refuse_overlap(rows: Sequence[Requirement], new: Requirement, addon: str) -> None:
    for row in rows:
        if row.transport is new.transport and row.ports.overlaps(new.ports):
            where = f"{row.transport.value} {row.ports}"
            raise UsageError(f"ports planned twice: {where}", f"--with {addon} brings {new.ports} too",
                             f"take them out of --{row.transport.value}, or leave out --with {addon}")  # fmt: skip
