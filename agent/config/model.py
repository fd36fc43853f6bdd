"""What the configuration of an installed plugNmeet or LiveKit says, as far as a check needs it; never a secret."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.plan import Requirement


@dataclass(frozen=True)
class Installed:
    """An installation, as its configuration files describe it."""

    requirements: tuple[Requirement, ...]  # no port of a transport is in two of them
    use_external_ip: bool = False  # at its start LiveKit asks STUN servers for the address that it advertises
    node_ip: tuple[str, ...] = ()  # the addresses that it is told to advertise: at most one of IPv4 and one of IPv6
    stun_servers: tuple[str, ...] = ()  # HOST or HOST:PORT; empty where LiveKit takes its own three
    turn_domain: str | None = None  # None where LiveKit's TURN is off, or has no name
    certificates: tuple[tuple[int, str], ...] = ()  # of haproxy: a TCP port, and the file or directory of its `crt`
    notes: tuple[str, ...] = ()  # sentences: what was not read, and where the documentation names other ports
    ipv4_only: tuple[int, ...] = ()  # the TCP ports at which haproxy listens on IPv4 alone
    interfaces: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # that LiveKit is told to use, or else not to use
    addresses_filtered: bool = False  # LiveKit is told which addresses to offer, in another way
