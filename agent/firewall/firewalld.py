"""Read firewalld by `firewall-cmd` (firewall-cmd(1)): the zone that a client's packets belong to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ..core.address import Address
from ..system.commands import run_tool

MAX_ZONES = 8  # each is asked for on its own, in half a second; few hosts have more than two in force
MAX_ITEMS = 10_000  # interfaces or sources of a zone

# Its errors where the daemon does not run, and where the bus does not that it is asked by.
_NOT_THERE = ("not running", "Failed to connect to socket")


@dataclass(frozen=True)
class Zone:
    """An active zone, and its packets: those from its sources, and of all others those that come by its interfaces."""

    name: str
    interfaces: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def has_source(self, client: Address) -> bool:
        """Return whether an address is in its sources, as far as they are networks, not MAC addresses or sets."""
        return any(client in network for network in map(_network, self.sources) if network)


@dataclass(frozen=True)
class Zones:
    """The active zones; the default zone, for all other packets; and why that could not be read, if so."""

    zones: tuple[Zone, ...] = ()
    default: str | None = None
    no_default: str = ""


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def parse_active(text: str) -> tuple[str, ...]:
    """Return the names of the zones in `--get-active-zones`: lines without indent, `public (default)` too."""
    lines = (line for line in text.splitlines() if line[:1].strip())
    return tuple(line.split()[0] for line in lines)


def parse_zone(name: str, text: str) -> Zone:
    """Return a zone as `--list-all` prints it."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, colon, rest = line.strip().partition(":")
        if colon and line.startswith("  "):  # rich rules stand behind a tab
            fields.setdefault(key, rest.split()[:MAX_ITEMS])
    return Zone(name, tuple(fields.get("interfaces", ())), tuple(fields.get("sources", ())))


def zone_of(zones: Zones, client: Address, interface: str | None) -> tuple[str | None, str]:
    """Return the name of the zone of a client's packets: by its address, else the interface, else the default zone.

    None where none is known, and why not, if that could not be read.
    """
    by_source = (zone.name for zone in zones.zones if zone.has_source(client))
    by_interface = (zone.name for zone in zones.zones if interface in zone.interfaces)
    name = next(by_source, None) or next(by_interface, None)
    return (name, "") if name else (zones.default, zones.no_default)


def read_firewalld() -> tuple[Zones, str]:
    """Return the zones, none where it does not run; and why they could not be read, if so."""
    active = run_tool("firewall-cmd", "--get-active-zones")
    if active.output is None:
        return Zones(), "" if active.missing or any(words in active.error for words in _NOT_THERE) else active.error
    zones: list[Zone] = []
    for name in parse_active(active.output)[:MAX_ZONES]:
        listed = run_tool("firewall-cmd", "--list-all", f"--zone={name}")
        if listed.output is None:
            return Zones(), listed.error
        zones.append(parse_zone(name, listed.output))
    default = run_tool("firewall-cmd", "--get-default-zone")
    return Zones(tuple(zones), (default.output or "").strip() or None, default.error), ""
