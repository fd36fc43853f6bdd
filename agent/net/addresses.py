"""Turn socket addresses into values, and find this machine's own."""

from __future__ import annotations

import functools
import socket
from typing import Any

from ..core.address import Address, Family, parse_address

FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}

# A connect of a UDP socket sends nothing; these are documentation addresses (RFC 5737, RFC 3849) all the same.
_ELSEWHERE = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}

# A sweep's packets come from one address, and parsing it takes as long as two HMACs.
_parse = functools.lru_cache(maxsize=128)(parse_address)


def endpoint(sockaddr: tuple[Any, ...]) -> tuple[Address, int]:
    """Return the address and port of a socket address."""
    return _parse(sockaddr[0]), sockaddr[1]


def outgoing_address(family: Family, towards: str | None = None) -> Address | None:
    """Return this machine's own address for packets that go to `towards`, or out; None where there is no way."""
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards or _ELSEWHERE[family], 9))
            return parse_address(probe.getsockname()[0])
        except (OSError, ValueError):
            return None
