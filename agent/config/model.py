"""What the configuration of an installed plugNmeet or LiveKit says, as far as a check needs it; never a secret."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.plan import Requirement


@dataclass(frozen=True)
class Installed:
    """An installation, as its configuration files have it. A `source` in it is a file and the key that stands there."""

    requirements: tuple[Requirement, ...]  # no port of a transport is in two of them
    signal_port: int = 7880  # LiveKit's HTTP and WebSocket, TCP, behind the proxy
    tcp_port: int | None = 7881  # LiveKit's WebRTC over TCP; None where it is off
    use_external_ip: bool = False  # LiveKit asks STUN servers at its start for the address that it advertises
    node_ip: tuple[str, ...] = ()  # the addresses that it is told to advertise: at most one of IPv4 and one of IPv6
    stun_servers: tuple[str, ...] = ()  # HOST or HOST:PORT; empty where LiveKit takes its own three
    turn_domain: str | None = None  # None where LiveKit's TURN is off, or has no name
    turn_udp_port: int | None = None  # None where TURN is off, or not over UDP
    turn_tls_port: int | None = None  # where LiveKit listens for TURN/TLS, or for what haproxy made of it
    certificates: tuple[tuple[int, str], ...] = ()  # of haproxy: a TCP port, and the file or directory of its `crt`
    acme: str | None = None  # HOST:PORT that haproxy hands Let's Encrypt's HTTP-01 requests to
    compose: str | None = None  # the directory of docker-compose.yaml
    notes: tuple[str, ...] = ()  # sentences: what was not read, and where the documentation names other ports
    ipv4_only: tuple[int, ...] = ()  # the TCP ports at which haproxy listens on IPv4 alone
    interfaces: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # that LiveKit is told to use, or else not to use
    addresses_filtered: bool = False  # LiveKit is told which addresses to offer, in another way
