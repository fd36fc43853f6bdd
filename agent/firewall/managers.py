"""Read the programs that write this host's firewall rules: firewalld, fail2ban and, by ufw.py, ufw."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass

from ..core.address import Address
from ..system.commands import run_tool
from .model import Ban, FirewallManagers, UfwStatus
from .ufw import read_ufw

MAX_ZONES = 8  # of firewalld: each is asked for on its own, in half a second; few hosts have more than two in force
MAX_ITEMS = 10_000  # interfaces or sources of a zone
MAX_JAILS = 32  # of fail2ban: each is asked for on its own, in a fifth of a second; distributions enable one

# firewalld's errors where the daemon does not run, and where the bus does not that it is asked by.
_NOT_THERE = ("not running", "Failed to connect to socket")

# The file, relative to the root, that shows what saves rules, and the commands for IPv4 and IPv6: the plugin of
# Debian's iptables-persistent, and the file of Red Hat's services, which are one for each.
_SAVES = (
    ("usr/share/netfilter-persistent/plugins.d/15-ip4tables", ("netfilter-persistent save",) * 2),
    ("etc/sysconfig/iptables", ("service iptables save", "service ip6tables save")),
)


@dataclass(frozen=True)
class Zone:
    """A zone of firewalld's in force: it has packets from its sources, and of all others those by its interfaces."""

    name: str
    interfaces: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Zones:
    """The zones in force; the default zone, for all other packets; and why that could not be read, if so."""

    zones: tuple[Zone, ...] = ()
    default: str | None = None
    no_default: str = ""


@dataclass(frozen=True)
class ManagerReadings:
    """What the managers say, whoever the client is; `errors` are why something could not be read, by manager."""

    ufw: UfwStatus | None
    zones: Zones
    jails: tuple[tuple[str, str], ...]  # of fail2ban, each with what it says of it
    save_commands: tuple[str, ...]
    errors: tuple[tuple[str, str], ...]


def read_managers() -> ManagerReadings:
    """Ask them all. A program that writes rules is added here, and in fixes.FIXERS."""
    ufw, no_ufw = read_ufw()
    zones, no_zones = read_firewalld()
    jails, no_jails = read_jails()
    errors = (("ufw", no_ufw), ("firewalld", no_zones), ("fail2ban", no_jails))
    return ManagerReadings(ufw, zones, jails, find_save_commands(), errors)


def managers_for_client(
    client: Address, interface: str | None, readings: ManagerReadings
) -> tuple[FirewallManagers, tuple[str, ...]]:
    """Return the active managers, as they treat a client whose packets come by an interface, if that is known.

    And sentences about what could not be read.
    """
    zone, no_zone = zone_of(readings.zones, client, interface)
    unread = (*readings.errors, ("firewalld", no_zone))
    sentences = tuple(f"{name} could not be read: {error}." for name, error in unread if error)
    bans = tuple(ban for jail, text in readings.jails for ban in parse_bans(jail, text, client))
    return FirewallManagers(readings.ufw, zone, bans, readings.save_commands), sentences


def find_save_commands(root: str = "/") -> tuple[str, ...]:
    """Return the commands that keep iptables' rules over a reboot, if any: that of IPv4 and that of IPv6."""
    return next((commands for path, commands in _SAVES if os.path.exists(os.path.join(root, path))), ())


def read_firewalld() -> tuple[Zones, str]:
    """Return firewalld's zones (firewall-cmd(1)), none where it does not run; and why they could not be read, if so."""
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


def parse_active(text: str) -> tuple[str, ...]:
    """Return the names of the zones in `--get-active-zones`: lines without indent, `public (default)` too."""
    return tuple(line.split()[0] for line in text.splitlines() if line[:1].strip())


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

    None where none is known, and why not, if that could not be read. Sources may be MAC addresses and sets too.
    """
    by_source = (zone.name for zone in zones.zones if any(_is_in(client, source) for source in zone.sources))
    by_interface = (zone.name for zone in zones.zones if interface in zone.interfaces)
    name = next(by_source, None) or next(by_interface, None)
    return (name, "") if name else (zones.default, zones.no_default)


def _is_in(client: Address, text: str) -> bool:
    """Return whether a text is the client's address, or a network that it is in."""
    try:
        return client in ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False


def read_jails() -> tuple[tuple[tuple[str, str], ...], str]:
    """Return fail2ban's jails, each with what `status` says of it; and why one could not be read, if so."""
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


def parse_jails(text: str) -> tuple[str, ...]:
    """Return the jails that `status` lists."""
    return tuple(filter(None, (word.strip() for word in _field(text, "Jail list").split(","))))


def parse_bans(jail: str, text: str, client: Address) -> tuple[Ban, ...]:
    """Return the bans of one address, or of a network that it is in, among those of a jail."""
    return tuple(Ban(jail, word) for word in _field(text, "Banned IP list").split() if _is_in(client, word))


def _field(text: str, name: str) -> str:
    """Return the value behind a name; before it are lines that draw a tree."""
    return next((line.partition(":")[2] for line in text.splitlines() if f"{name}:" in line), "")
