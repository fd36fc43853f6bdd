"""Decide whether the packets of a flow match a rule's conditions, leaving the planned ports aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..core.address import Address, Family
from ..core.plan import Transport
from ..core.ports import HIGHEST, PortRange
from ..core.ranges import RangeSet
from .model import ADDRESSES, InterfaceNames, Match, TcpFlags

# A client's source port, before and behind any NAT: the ports below stay those of servers (RFC 4787, REQ-3).
CLIENT_PORTS = RangeSet([(1024, HIGHEST)])
# What the address of a client elsewhere or of this server may be, where it is not known: not of 'this' network,
# loopback, link-local (169.254/16, fe80::/10), multicast or broadcast.
_SOMEBODY = {
    Family.IPV4: RangeSet([(0x01000000, 0x7EFFFFFF), (0x80000000, 0xA9FDFFFF), (0xA9FF0000, 0xDFFFFFFF)]),
    Family.IPV6: RangeSet([(2, (0xFE80 << 112) - 1), (0xFEC0 << 112, (0xFF00 << 112) - 1)]),
}


@dataclass(frozen=True)
class Flow:
    """What comes in from one client, and its answers; what is not known is None.

    `interface` is where it arrives and its answers leave; unknown, it is any but `lo`, unless the client is this host.
    """

    transport: Transport
    family: Family
    ports: tuple[PortRange, ...]
    client: Address | None = None
    server: Address | None = None
    interface: str | None = None


class View(NamedTuple):
    """How a base chain sees a flow: whether what comes in, else the answers; and in which state of tracking.

    `state` is None where connection tracking may not know the flow.
    """

    flow: Flow
    inward: bool
    state: str | None

    @property
    def interface(self) -> str | None:
        """Return the interface that the packets pass; None where it is unknown."""
        here = self.flow.client is not None and self.flow.client.is_loopback
        return "lo" if here and self.flow.interface is None else self.flow.interface


def planned_ports(match: Match, view: View) -> RangeSet | None:
    """Return those of the server's ports that a rule matches; None for all."""
    return match.ports if view.inward else match.source_ports


def matches(match: Match, view: View) -> bool | None:
    """Return whether a flow matches, leaving the planned ports aside; None where that is not known."""
    flow, inward, state = view
    if match.transports is not None and flow.transport not in match.transports:
        return False
    if match.family is not None and match.family is not flow.family:
        return False
    arrives, leaves = (view.interface, "") if inward else ("", view.interface)
    source, destination = (flow.client, flow.server) if inward else (flow.server, flow.client)
    client_ports = match.source_ports if inward else match.ports
    answers = [None if match.unclear else True]
    if match.states is not None:
        answers.append(None if state is None else state in match.states)
    if match.to_local is not None:
        answers.append(match.to_local is (inward or view.interface == "lo"))
    if client_ports is not None:
        possible = client_ports & CLIENT_PORTS
        answers.append(bool(possible) and (possible == CLIENT_PORTS or None))
    if match.sources is not None:
        answers.append(_is_in(source, match.sources, flow.family))
    if match.destinations is not None:
        answers.append(_is_in(destination, match.destinations, flow.family))
    answers += [_is_named(arrives, names) for names in match.incoming]
    answers += [_is_named(leaves, names) for names in match.outgoing]
    answers += [_has(flags, inward) for flags in match.flags]
    return False if False in answers else None if None in answers else True


def _is_in(address: Address | None, addresses: RangeSet, family: Family) -> bool | None:
    if address is not None:
        return int(address) in addresses
    if addresses == ADDRESSES[family]:
        return True
    return False if addresses.isdisjoint(_SOMEBODY[family]) else None


def _is_named(interface: str | None, names: InterfaceNames) -> bool | None:
    hit: bool | None
    if "" in names.prefixes:
        hit = True
    elif interface is None:
        hit = None if names.prefixes or names.exact - {"lo"} else False
    else:
        hit = interface in names.exact or interface.startswith(names.prefixes)
    return hit if hit is None else hit is not names.negated


def _has(flags: TcpFlags, inward: bool) -> bool | None:
    """Return whether the packets that begin a connection match; whether ECN is asked for is up to the systems."""
    if flags.mask & {"ecn", "ece", "cwr"}:
        return None
    here = frozenset(("syn",) if inward else ("syn", "ack"))
    return (flags.mask & here == flags.value) is not flags.negated
