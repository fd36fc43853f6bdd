"""Look up the addresses of a host's name."""

from __future__ import annotations

import socket

from ..core.address import Family
from ..core.errors import UserError
from .addresses import FAMILIES
from .connect import Target

# A name with more records than this is no meeting server, and each costs a whole check.
MAX_ADDRESSES = 16


def resolve(host: str, family: Family | None) -> list[Target]:
    """Return every address of a name, or the one that `host` is, IPv4 first; UserError where there is none."""
    wanted = FAMILIES[family] if family else socket.AF_UNSPEC
    try:
        found = socket.getaddrinfo(host, None, wanted, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _no_address(host, family, error) from None
    targets = {(entry[0], entry[4][0]): Target(socket.AddressFamily(entry[0]), entry[4]) for entry in found
               if entry[0] in FAMILIES.values()}  # fmt: skip
    if not targets:
        raise _no_address(host, family, None)
    ordered = sorted(targets.values(), key=lambda target: target.family == socket.AF_INET6)
    return ordered[:MAX_ADDRESSES]


def _no_address(host: str, family: Family | None, error: Exception | None) -> UserError:
    kind = f" {family.value} " if family else " "
    why = (error.strerror if isinstance(error, OSError) else None) or "there is no such name"
    other = f"leave out {'-4' if family is Family.IPV4 else '-6'}, or check" if family else "check"
    return UserError("name-not-found", f"No{kind}address found for '{host}'", why,
                     f"{other} the spelling and the DNS record, or give the server's IP address")  # fmt: skip
