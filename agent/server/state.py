"""What the server's core is told of its own machine: settings that stay, and the state of the ports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Collection, Container, Mapping, Tuple

from ..core.address import Address, Family
from ..core.counters import KernelStatus
from ..core.observation import Reason
from ..core.plan import Plan, Transport, protocol_of
from ..protocol.messages import ServiceProtocol

# A range of more UDP ports is media's, of which no service answers a stranger.
MAX_TURN = 16

Endpoint = Tuple[Address, int]  # with its port


@dataclass(frozen=True)
class Settings:
    """What stays the same while the server runs."""

    plan: Plan
    program: str
    tls: bool = False
    wildcard_bind: bool = True  # it listens on every address of its machine
    key: str | None = None  # the pairing key
    capture: bool = False  # it sees what passes its network interfaces
    live: bool = False  # services go on running: one session at a time, and partitions are bound only for it
    max_connections: int = 512  # TCP connections at a time
    max_of_network: int = 256  # of those without a session, one network's: fifty clients have as many


@dataclass(frozen=True)
class PortState:
    """The ports as they are now."""

    untested: Mapping[Family, Mapping[Transport, Mapping[int, Reason]]] = field(default_factory=dict)  # why not bound
    owners: Mapping[Transport, Mapping[int, str]] = field(default_factory=dict)  # who holds the busy ones
    # The busy ones that are tried through the service that holds them, and what it speaks (PortTable.SERVED).
    served: Mapping[Transport, Mapping[int, str]] = field(default_factory=dict)
    partitions: Mapping[int, int] = field(default_factory=dict)  # of UDP ports that are not bound all at a time
    # By port the fingerprints of those that this machine's disk has for services.
    certificates: Mapping[int, Collection[str]] = field(default_factory=dict)

    def is_served(self, transport: Transport, port: int) -> bool:
        """Return whether a service holds this port and can be tried there."""
        return port in self.served.get(transport, ())


def served_ports(plan: Plan, busy: Mapping[Transport, Container[int]]) -> dict[Transport, dict[int, str]]:
    """Return the busy ports to try through whatever service holds them: its answer is compared, not understood."""
    return {
        Transport.TCP: {port: ServiceProtocol[protocol_of(Transport.TCP, port, row.purpose).name].value
                        for row in plan.of(Transport.TCP) for port in row.ports if port in busy[Transport.TCP]},
        Transport.UDP: {port: ServiceProtocol.TURN.value
                        for row in plan.of(Transport.UDP) if len(row.ports) <= MAX_TURN
                        for port in row.ports if port in busy[Transport.UDP]},
    }  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """What the kernel says now; `receive_drops` are by UDP port the packets that its socket did not take so far."""

    kernel: KernelStatus = field(default_factory=KernelStatus)
    receive_drops: Mapping[int, int] = field(default_factory=dict)
