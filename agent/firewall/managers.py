"""The programs that write the firewall's rules on this host, and what keeps its rules over a reboot."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..core.address import Address
from .fail2ban import bans_of, read_jails
from .firewalld import Zones, read_firewalld, zone_of
from .model import FirewallManagers, UfwStatus
from .ufw import read_ufw

# What each saves IPv4 and IPv6 by, relative to the root: the plugin of Debian's iptables-persistent, and the file of
# Red Hat's services, which are one for each.
_SAVES = (
    ("usr/share/netfilter-persistent/plugins.d/15-ip4tables", ("netfilter-persistent save",) * 2),
    ("etc/sysconfig/iptables", ("service iptables save", "service ip6tables save")),
)


def find_save_commands(root: str = "/") -> tuple[str, ...]:
    """The commands that keep iptables' rules over a reboot, where there are any: that of IPv4 and that of IPv6."""
    return next((commands for path, commands in _SAVES if os.path.exists(os.path.join(root, path))), ())


@dataclass(frozen=True)
class ManagerReadings:
    """What the managers tell, whoever the client is; `troubles` are why something could not be read, by manager."""

    ufw: UfwStatus | None
    zones: Zones
    jails: tuple[tuple[str, str], ...]  # of fail2ban, each with what it says of it
    save_commands: tuple[str, ...]
    troubles: tuple[tuple[str, str], ...]


def read_managers() -> ManagerReadings:
    """Ask them all."""
    ufw, no_ufw = read_ufw()
    zones, no_zones = read_firewalld()
    jails, no_jails = read_jails()
    return ManagerReadings(
        ufw, zones, jails, find_save_commands(), (("ufw", no_ufw), ("firewalld", no_zones), ("fail2ban", no_jails))
    )


def managers_for_client(
    client: Address, interface: str | None, read: ManagerReadings
) -> tuple[FirewallManagers, tuple[str, ...]]:
    """The managers in force, as they treat a client whose packets come by an interface, if that is known.

    And sentences about what could not be read.
    """
    zone, no_zone = zone_of(read.zones, client, interface)
    unread = (*read.troubles, ("firewalld", no_zone))
    sentences = tuple(f"What {name} does could not be read: {trouble}." for name, trouble in unread if trouble)
    return FirewallManagers(read.ufw, zone, bans_of(client, read.jails), read.save_commands), sentences
