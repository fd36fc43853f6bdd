"""What must be reachable: the built-in plan, its add-ons, and the user's own ports; and which are bound in halves."""

from __future__ import annotations

import enum
import functools
import random
from dataclasses import dataclass, replace
from typing import Iterable, Iterator, Sequence

from .errors import UsageError
from .ports import PortRange, port_ranges, port_set


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
# Purposes, by which a port is known wherever it is. LiveKit draws from those of MEDIA, one for each participant.
ACME = "Let's Encrypt certificates (HTTP-01)"
HTTPS = "HTTPS: haproxy hands on to the other services"
HTTPS_PROXY = "HTTPS: a proxy hands on to LiveKit"
ICE_TCP = "WebRTC over TCP, for clients that cannot use UDP"
MEDIA = "WebRTC media"
RTMP, WHIP = "RTMP ingest", "WHIP media"
SIP, SIP_MEDIA, SIP_TLS = "SIP signalling", "SIP media", "SIP over TLS"
TURN_UDP, TURN_TLS = "TURN/UDP", "TURN/TLS"


@dataclass(frozen=True)
class Requirement:
    """One row of a plan: a run of ports of one transport, what for, and how much it is needed."""

    transport: Transport
    ports: PortRange
    purpose: str
    need: Need
    source: str | None = None  # the file and key that it was read from; None: it is built in, or named by the user


@dataclass(frozen=True)
class Plan:
    """What must be reachable. No port of a transport is in two requirements."""

    name: str
    requirements: tuple[Requirement, ...]

    def of(self, transport: Transport) -> tuple[Requirement, ...]:
        """Return the requirements of one transport, in the plan's order."""
        return tuple(row for row in self.requirements if row.transport is transport)

    def ports(self, transport: Transport) -> Iterator[int]:
        """Yield every port of one transport, in the plan's order."""
        for row in self.of(transport):
            yield from row.ports

    def has(self, transport: Transport, port: int) -> bool:
        """Return whether the plan has this port."""
        return port in self._by_transport[transport]

    def row(self, transport: Transport, port: int) -> Requirement | None:
        """Return the requirement that has a port; None where the plan has no such port."""
        return self._by_transport[transport].get(port)

    @functools.cached_property
    def _by_transport(self) -> dict[Transport, dict[int, Requirement]]:
        return {transport: {port: row for row in self.of(transport) for port in row.ports} for transport in Transport}


_CARRIED = {ACME: Protocol.HTTP, **dict.fromkeys((HTTPS, SIP_TLS, TURN_TLS), Protocol.TLS),
            ICE_TCP: Protocol.FRAMED_STUN}  # fmt: skip


def protocol_of(transport: Transport, port: int, purpose: str | None = None) -> Protocol:
    """Return what a port's probe speaks: what the port is for, or is known to carry, else what WebRTC sends over it."""
    if transport is Transport.UDP:
        return Protocol.STUN
    usual = {HTTP_PORT: Protocol.HTTP, HTTPS_PORT: Protocol.TLS}.get(port, Protocol.FRAMED_STUN)
    return _CARRIED.get(purpose or "", usual)


def _row(transport: Transport, first: int, last: int, purpose: str, need: Need = Need.REQUIRED) -> Requirement:
    return Requirement(transport, PortRange(first, last), purpose, need)


_TCP, _UDP = Transport.TCP, Transport.UDP

# plugNmeet's documentation, "Ports & firewall"; 443/udp is in its installer's firewall rules and not in that table.
PLANS = {
    "plugnmeet": (
        _row(_TCP, HTTP_PORT, HTTP_PORT, ACME),
        _row(_TCP, HTTPS_PORT, HTTPS_PORT, HTTPS),
        _row(_TCP, 7881, 7881, ICE_TCP),
        _row(_UDP, 443, 443, TURN_UDP, Need.RECOMMENDED),
        _row(_UDP, 50000, 60000, MEDIA),
    )
}

# The ports of plugNmeet's optional services. Who asks for one needs it.
ADDONS = {
    "rtmp": (_row(_TCP, 1935, 1935, RTMP),),
    "whip": (_row(_UDP, 7885, 7885, WHIP),),
    "sip": (_row(_TCP, 5060, 5061, SIP), _row(_UDP, 5060, 5061, SIP), _row(_UDP, 10000, 20000, SIP_MEDIA)),
}


def build_plan(
    name: str,
    addons: Sequence[str] = (),
    tcp: Sequence[PortRange] | None = None,
    udp: Sequence[PortRange] | None = None,
    *,
    read: Sequence[Requirement] | None = None,
) -> Plan:
    """Return the plan `name` with its add-ons; `tcp` and `udp`, where given, replace its ports of that transport.

    `read` are the rows of a plan that is not built in; what an add-on brings may be in it on other ports. Raises
    UsageError where a port that the user named would be planned twice, or none at all.
    """
    own = {Transport.TCP: tcp, Transport.UDP: udp}
    rows = [row for row in (PLANS[name] if read is None else read) if own[row.transport] is None]
    for transport, ranges in own.items():
        rows += [Requirement(transport, ports, f"named with --{transport.value}", Need.REQUIRED)
                 for ports in ranges or ()]  # fmt: skip
    for addon in dict.fromkeys(addons):
        for row in ADDONS[addon]:
            planned = [old for old in rows if (old.transport, old.purpose) == (row.transport, row.purpose)]
            if planned:
                rows = [replace(old, need=row.need) if old in planned else old for old in rows]
                continue
            if own[row.transport] is not None:
                _refuse_overlap(rows, row, addon)
            add_row(rows, row)
    if not rows:
        raise UsageError("nothing to check", "the plan has no port left", "name at least one port with --tcp or --udp")
    rows.sort(key=lambda row: (row.transport.value, row.ports))
    return Plan(name, tuple(rows))


def ranges_by_transport(ports: Iterable[tuple[Transport, int]]) -> tuple[tuple[Transport, PortRange], ...]:
    """Return the fewest ranges that have these ports, those of TCP first."""
    numbers: dict[Transport, set[int]] = {transport: set() for transport in Transport}
    for transport, port in ports:
        numbers[transport].add(port)
    return tuple((transport, ports) for transport in Transport for ports in port_ranges(numbers[transport]))


def add_row(rows: list[Requirement], new: Requirement) -> None:
    """Add those ports of a row that no other has yet."""
    taken = port_set(row.ports for row in rows if row.transport is new.transport)
    rows += [replace(new, ports=ports) for ports in port_ranges(port_set([new.ports]) - taken)]


def _refuse_overlap(rows: Sequence[Requirement], new: Requirement, addon: str) -> None:
    for row in rows:
        if row.transport is new.transport and row.ports.overlaps(new.ports):
            where = f"{row.transport.value} {row.ports}"
            raise UsageError(f"ports planned twice: {where}", f"--with {addon} brings {new.ports} too",
                             f"take them out of --{row.transport.value}, or leave out --with {addon}")  # fmt: skip


# Ports of a range that are held from the start to the end all the same: services have so few at fixed numbers, and
# draw from more.
FEW = 16
# Ports in a row that are of one part. LiveKit's allocator (pion/ice) begins at a random port and goes upwards to the
# first that is free: past 24 of ours on average, and 300 at worst, a millisecond or two. Of single ports that would be
# less, but their table would take ten pages of the control channel.
BLOCK = 32


def partitioned_ranges(plan: Plan) -> Iterator[PortRange]:
    """Return the plan's ranges that services draw UDP ports from."""
    return (row.ports for row in plan.of(Transport.UDP) if len(row.ports) > FEW)


def make_partitions(plan: Plan, rng: random.Random) -> dict[int, int]:
    """Return for each of these ports its partition, 0 or 1: half of each range, cut into shuffled blocks."""
    parts: dict[int, int] = {}
    for run in partitioned_ranges(plan):
        blocks = [list(run)[start : start + BLOCK] for start in range(0, len(run), BLOCK)]
        rng.shuffle(blocks)
        ports = [port for block in blocks for port in block]
        parts.update((port, int(2 * number >= len(ports))) for number, port in enumerate(ports))
    return parts
