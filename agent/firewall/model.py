"""The nouns of this room: rules of a host's firewall that block ports, who wrote them, and what the host is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import PortRange


class Tool(str, enum.Enum):
    """The tool that lists a rule, and that can put another one before it."""

    NFT = "nft"
    IPTABLES = "iptables"  # of whichever variant is the default: iptables for IPv4, ip6tables for IPv6
    IPTABLES_LEGACY = "iptables-legacy"  # beside a default that is the other variant
    IPTABLES_NFT = "iptables-nft"  # likewise


class Hook(str, enum.Enum):
    """Where in the kernel a chain of rules sees a packet (nftables, netfilter hooks)."""

    PREROUTING = "prerouting"
    INPUT = "input"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


class RuleAction(str, enum.Enum):
    """What a rule does with a packet that matches."""

    CONTINUE = "continue"  # it counts, logs or marks, and the next rule follows
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    REDIRECT = "redirect"  # its destination is changed: to a container, say, or to another port
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"
    NOTRACK = "notrack"  # connection tracking leaves it out
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RuleLocation:
    """Where a rule is: the `number`th of a chain, from 1; None where it is the chain's policy.

    `table` has its family in nft (`inet filter`), and none in iptables. `path` are the chains that lead to the rule,
    from the base chain to the rule's own. `handle` is nft's.
    """

    tool: Tool
    table: str
    path: tuple[str, ...]
    number: int | None
    handle: int | None = None

    @property
    def chain(self) -> str:
        """Return the chain that the rule is in."""
        return self.path[-1]


@dataclass(frozen=True)
class BlockingRule:
    """The first rule that decides for some planned ports of one transport and family, and does not let them pass.

    `text` is the rule as its tool prints it, or the policy. `certain`: every rule before it was understood; else
    `doubt` is the first that may decide otherwise.
    """

    transport: Transport
    family: Family
    ports: tuple[PortRange, ...]
    hook: Hook
    action: RuleAction
    location: RuleLocation
    text: str
    certain: bool = True
    doubt: str | None = None


@dataclass(frozen=True)
class UfwStatus:
    """An active ufw: its numbered rules as it prints them, and whether it filters IPv6 too."""

    rules: tuple[str, ...] = ()
    ipv6: bool = True


@dataclass(frozen=True)
class Ban:
    """An address that fail2ban bans, and the jail that does."""

    jail: str
    address: str


@dataclass(frozen=True)
class FirewallManagers:
    """The programs that write the firewall's rules on this host, as far as they are in force."""

    ufw: UfwStatus | None = None
    zone: str | None = None  # of firewalld, which the client's packets belong to; None where none is known
    bans: tuple[Ban, ...] = ()
    save_commands: tuple[str, ...] = ()  # what keeps iptables' rules over a reboot, of IPv4 and of IPv6, if any


@dataclass(frozen=True)
class HostFacts:
    """What this server is, for the advice on its own terminal."""

    blocking_rules: tuple[BlockingRule, ...] = ()
    managers: FirewallManagers = FirewallManagers()
    provider: str | None = None  # a key of provider_fixes.PROVIDERS
    addresses: tuple[str, ...] = ()  # of its interfaces
    unread: tuple[str, ...] = ()  # sentences: what could not be read, and why
