"""IP addresses as values."""

from __future__ import annotations

import enum
import ipaddress
from typing import Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

MAX_ADDRESS = 64  # characters: an IPv6 address and the name of an interface

# RFC 1918, RFC 6598 (a provider's NAT, and overlays that borrow it), RFC 4193, and link-local (RFC 3927, RFC 4291).
_INTERNAL = tuple(map(ipaddress.ip_network, (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "169.254.0.0/16", "fe80::/10",
)))  # fmt: skip


class Family(str, enum.Enum):
    """The family of an address."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


def parse_address(text: str) -> Address:
    """Return an address that the operating system wrote, IPv4 where a socket showed ::ffff:a.b.c.d; ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def family_of(address: Address) -> Family:
    """Return the family of an address."""
    return Family.IPV4 if address.version == 4 else Family.IPV6


def is_internal(address: Address) -> bool:
    """Return whether only computers of one private network or link reach it, no user from the Internet."""
    return any(address in network for network in _INTERNAL)


def network_of(address: Address) -> bytes:
    """Return, packed, what one customer of a provider has: an IPv4 address, or the /64 of an IPv6 one (RFC 6177)."""
    return address.packed[:8]
