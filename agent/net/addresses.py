"""Turn socket addresses into values, look up those of a host's name, and find this machine's own."""

from __future__ import annotations

import functools
import socket
from typing import Any

from ..core.address import Address, Family, parse_address
from ..core.errors import UserError
from .connect import Target

FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
# A name with more records than this is no meeting server, and each costs a whole check.
MAX_ADDRESSES = 16

# A connect of a UDP socket sends nothing; these are documentation addresses (RFC 5737, RFC 3849) all the same.
_ELSEWHERE = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}

# A sweep's packets come from one address, and parsing it takes as long as two HMACs.
_parse = functools.lru_cache(maxsize=128)(parse_address)


def endpoint(sockaddr: tuple[Any, ...]) -> tuple[Address, int]:
    """Return the address and port of a socket address."""
    return _parse(sockaddr[0]), sockaddr[1]


def outgoing_address(family: Family) -> Address | None:
    """Return this machine's own address for packets that go out; None where there is no way."""
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_ELSEWHERE[family], 9))
            return parse_address(probe.getsockname()[0])
        except (OSError, ValueError):
            return None


def resolve(host: str, family: Family | None) -> list[Target]:
    """Return every address of a name, or the one that `host` is, IPv4 first; UserError where there is none."""
    why, found = "there is no such name", []
    try:
        found = socket.getaddrinfo(host, None, FAMILIES[family] if family else socket.AF_UNSPEC, socket.SOCK_STREAM)
    except OSError as error:
        why = error.strerror or why
    except UnicodeError:
        pass
    targets = dict.fromkeys(Target(entry[0], entry[4]) for entry in found if entry[0] in FAMILIES.values())
    if targets:
        return sorted(targets, key=lambda target: target.family == socket.AF_INET6)[:MAX_ADDRESSES]
    kind = f" {family.value} " if family else " "
    other = f"leave out {'-4' if family is Family.IPV4 else '-6'}, or check" if family else "check"
    hint = f"{other} the spelling and the DNS record, or give the server's IP address"
    raise UserError("name-not-found", f"No{kind}address found for '{host}'", why, hint)
