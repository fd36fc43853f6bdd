"""Read fail2ban by `fail2ban-client status` (fail2ban-client(1)): which of its jails ban an address."""

from __future__ import annotations

import ipaddress
from typing import Iterable, Iterator

from ..core.address import Address
from ..system.commands import run_tool
from .model import Ban

MAX_JAILS = 32  # each is asked for on its own, in a fifth of a second; distributions enable one


def parse_jails(text: str) -> tuple[str, ...]:
    """Return the jails that `status` lists."""
    return tuple(filter(None, (word.strip() for word in _field(text, "Jail list").split(","))))


def parse_bans(jail: str, text: str, client: Address) -> Iterator[Ban]:
    """Yield the bans of one address, or of a network that it is in, among those of a jail."""
    for word in _field(text, "Banned IP list").split():
        try:
            banned = ipaddress.ip_network(word, strict=False)
        except ValueError:
            continue
        if client in banned:
            yield Ban(jail, word)


def _field(text: str, name: str) -> str:
    """Return the value behind a name; before it are lines that draw a tree."""
    return next((line.partition(":")[2] for line in text.splitlines() if f"{name}:" in line), "")


def bans_of(client: Address, jails: Iterable[tuple[str, str]]) -> tuple[Ban, ...]:
    """Return the bans of one address, by what `status` says of each jail."""
    return tuple(ban for jail, text in jails for ban in parse_bans(jail, text, client))


def read_jails() -> tuple[tuple[tuple[str, str], ...], str]:
    """Return the jails, each with what `status` says of it, and why one could not be read, if so."""
    listed = run_tool("fail2ban-client", "status")
    if listed.output is None:
        return (), "" if listed.missing or "Is fail2ban running?" in listed.error else listed.error
    jails: list[tuple[str, str]] = []
    for jail in parse_jails(listed.output)[:MAX_JAILS]:
        status = run_tool("fail2ban-client", "status", jail)
        if status.output is None:
            return tuple(jails), status.error
        jails.append((jail, status.output))
    return tuple(jails), ""
