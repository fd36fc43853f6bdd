"""The programs that write the firewall's rules on this host, and what keeps its rules over a reboot."""

from __future__ import annotations

import os

from ..model.address import Address
from ..model.firewall import Managers
from .fail2ban import read_bans
from .firewalld import read_firewalld
from .ufw import read_ufw

# What each saves IPv4 and IPv6 by, relative to the root: the plugin of Debian's iptables-persistent, and the file of
# Red Hat's services, which are one for each.
_SAVES = (
    ("usr/share/netfilter-persistent/plugins.d/15-ip4tables", ("netfilter-persistent save",) * 2),
    ("etc/sysconfig/iptables", ("service iptables save", "service ip6tables save")),
)


def saves(root: str = "/") -> tuple[str, ...]:
    """The commands that keep iptables' rules over a reboot, where there are any: that of IPv4 and that of IPv6."""
    return next((commands for path, commands in _SAVES if os.path.exists(os.path.join(root, path))), ())


def read_managers(client: Address | None, interface: str | None) -> tuple[Managers, tuple[str, ...]]:
    """The managers that are in force, as they treat a client whose packets come by an interface, if that is known.

    And sentences about what could not be read.
    """
    ufw, no_ufw = read_ufw()
    zone, no_zone = read_firewalld(client, interface)
    bans, no_bans = read_bans(client) if client else ((), "")
    unread = (("ufw", no_ufw), ("firewalld", no_zone), ("fail2ban", no_bans))
    sentences = tuple(f"What {name} does could not be read: {trouble}." for name, trouble in unread if trouble)
    return Managers(ufw, zone, bans, saves()), sentences
