"""Read the programs that write this host's firewall rules, and what keeps its rules over a reboot."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..core.address import Address
from .fail2ban import bans_of, read_jails
from .firewalld import Zones, read_firewalld, zone_of
from .model import FirewallManagers, UfwStatus
from .ufw import read_ufw

# The file, relative to the root, that shows what saves rules, and the commands for IPv4 and IPv6: the plugin of
# Debian's iptables-persistent, and the file of Red Hat's services, which are one for each.
_SAVES = (
    ("usr/share/netfilter-persistent/plugins.d/15-ip4tables", ("netfilter-persistent save",) * 2),
    ("etc/sysconfig/iptables", ("service iptables save", "service ip6tables save")),
)


def find_save_commands(root: str = "/") -> tuple[str, ...]:
    """Return the commands that keep iptables' rules over a reboot, if any: that of IPv4 and that of IPv6."""
    return next((commands for path, commands in _SAVES if os.path.exists(os.path.join(root, path))), ())


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
    return FirewallManagers(readings.ufw, zone, bans_of(client, readings.jails), readings.save_commands), sentences
