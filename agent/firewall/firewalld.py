"""firewalld, as `firewall-cmd` tells (firewall-cmd(1)): the zone that rules a client's packets."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ..core.address import Address
from ..system.commands import run_tool

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


@dataclass(frozen=True)
class Zones:
    """The zones in force, and the default one, which rules what no other has; why that could not be read, if so."""

    zones: tuple[Zone, ...] = ()
    default: str | None = None
    no_default: str = ""


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


def zone_of(found: Zones, client: Address, interface: str | None) -> tuple[str | None, str]:
    """The name of the zone that rules a client's packets: by its address, else the interface, else the default one.

    None where none is known, and why not, if that could not be read.
    """
    by_source = (one.name for one in found.zones if one.has_source(client))
    by_interface = (one.name for one in found.zones if interface in one.interfaces)
    name = next(by_source, None) or next(by_interface, None)
    return (name, "") if name else (found.default, found.no_default)


def read_firewalld() -> tuple[Zones, str]:
    """The zones, none where it does not run; and why they could not be read, if so."""
    told = run_tool("firewall-cmd", "--get-active-zones")
    if told.output is None:
        return Zones(), "" if told.missing or any(words in told.error for words in _NOT_THERE) else told.error
    zones: list[Zone] = []
    for name in parse_active(told.output)[:MAX_ZONES]:
        listed = run_tool("firewall-cmd", "--list-all", f"--zone={name}")
        if listed.output is None:
            return Zones(), listed.error
        zones.append(parse_zone(name, listed.output))
    default = run_tool("firewall-cmd", "--get-default-zone")
    return Zones(tuple(zones), (default.output or "").strip() or None, default.error), ""
