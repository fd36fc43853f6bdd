"""firewalld, as `firewall-cmd` tells (firewall-cmd(1)): the zone that rules a client's packets."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Sequence

from ..model.address import Address
from .tools import ask

MAX_ZONES = 8  # each is asked for on its own, in half a second; few hosts have more than two in force
MAX_ITEMS = 10_000  # interfaces or sources of a zone

# What it says where the daemon does not run, and where the bus does not, on which it would be asked.
_NOT_THERE = ("not running", "Failed to connect to socket")


@dataclass(frozen=True)
class Zone:
    """A zone that is in force, and whose packets it rules: those of sources, and else those that come by interfaces."""

    name: str
    interfaces: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def has_source(self, client: Address) -> bool:
        """Whether the address is one of its sources, as far as they are networks, not MAC addresses or sets."""
        return any(client in network for network in map(_network, self.sources) if network)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def parse_active(text: str) -> tuple[str, ...]:
    """The names of the zones that `--get-active-zones` lists: lines that are not indented, `public (default)` too."""
    lines = (line for line in text.splitlines() if line[:1].strip())
    return tuple(line.split()[0] for line in lines)


def parse_zone(name: str, text: str) -> Zone:
    """A zone as `--list-all` prints it."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, colon, rest = line.strip().partition(":")
        if colon and line.startswith("  "):  # rich rules stand behind a tab
            fields.setdefault(key, rest.split()[:MAX_ITEMS])
    return Zone(name, tuple(fields.get("interfaces", ())), tuple(fields.get("sources", ())))


def zone_of(zones: Sequence[Zone], client: Address | None, interface: str | None) -> str | None:
    """The name of the zone that rules a client's packets, by its address or else by the interface; None for none."""
    by_source = (one.name for one in zones if client and one.has_source(client))
    by_interface = (one.name for one in zones if interface in one.interfaces)
    return next(by_source, None) or next(by_interface, None)


def read_firewalld(client: Address | None, interface: str | None) -> tuple[str | None, str]:
    """The zone that rules a client's packets, None where it does not run; and why it could not be read, if so."""
    told = ask("firewall-cmd", "--get-active-zones")
    if told.text is None:
        return None, "" if told.missing or any(words in told.trouble for words in _NOT_THERE) else told.trouble
    zones: list[Zone] = []
    for name in parse_active(told.text)[:MAX_ZONES]:
        listed = ask("firewall-cmd", "--list-all", f"--zone={name}")
        if listed.text is None:
            return None, listed.trouble
        zones.append(parse_zone(name, listed.text))
    found = zone_of(zones, client, interface)
    if found is None:  # it rules every interface that no other zone has
        default = ask("firewall-cmd", "--get-default-zone")
        return (default.text or "").strip() or None, default.trouble
    return found, ""
