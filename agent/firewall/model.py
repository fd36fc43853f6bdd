"""The nouns of this room: the rule set of a host's firewall, its rules that block ports, who wrote them, the host."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import AbstractSet, Collection, FrozenSet, Iterable, TypeVar

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import HIGHEST, LOWEST, PortRange
from ..core.ranges import RangeSet

PORTS = RangeSet([(LOWEST, HIGHEST)])
ADDRESSES = {Family.IPV4: RangeSet([(0, 2**32 - 1)]), Family.IPV6: RangeSet([(0, 2**128 - 1)])}

STATES = frozenset(("new", "established", "related", "invalid", "untracked"))  # of connection tracking
TCP_FLAGS = frozenset(("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"))
# As rules name them, or number them (IANA).
TRANSPORTS = {"tcp": Transport.TCP, "6": Transport.TCP, 6: Transport.TCP,
              "udp": Transport.UDP, "17": Transport.UDP, 17: Transport.UDP}  # fmt: skip


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


class UnreadableRules(Exception):
    """What a firewall's tool printed is no listing of rules."""


@dataclass(frozen=True)
class InterfaceNames:
    """Names of interfaces: exact ones, and prefixes (an empty one is of all); or all names but these."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    negated: bool = False

    @staticmethod
    def of(names: Collection[str], star: str, negated: bool) -> InterfaceNames:
        """Return these names, of which those with a star at the end are prefixes."""
        prefixes = tuple(name[: -len(star)] for name in names if name.endswith(star))
        return InterfaceNames(frozenset(name for name in names if not name.endswith(star)), prefixes, negated)


@dataclass(frozen=True)
class TcpFlags:
    """TCP flags, in small letters: of those in `mask` exactly `value` are set, or not so."""

    mask: frozenset[str]
    value: frozenset[str]
    negated: bool = False


@dataclass(frozen=True)
class Match:
    """The conditions of a rule; None and an empty tuple are no condition.

    `sources` and `destinations` are of the one `family`, which is set wherever they are. `to_local` asks whether the
    destination is an address of the host. `unclear`: there is a condition that is not understood.
    """

    family: Family | None = None
    transports: frozenset[Transport] | None = None
    source_ports: RangeSet | None = None
    ports: RangeSet | None = None
    sources: RangeSet | None = None
    destinations: RangeSet | None = None
    states: frozenset[str] | None = None
    to_local: bool | None = None
    incoming: tuple[InterfaceNames, ...] = ()
    outgoing: tuple[InterfaceNames, ...] = ()
    flags: tuple[TcpFlags, ...] = ()
    unclear: bool = False

    @staticmethod
    def of_transports(names: Iterable[object], negated: bool) -> Match:
        """Return the condition that the transport is one of these, by name or number; others than plans have count."""
        named = frozenset(TRANSPORTS[name] for name in names if name in TRANSPORTS)
        return Match(transports=frozenset(Transport) - named if negated else named)

    @staticmethod
    def of_states(named: AbstractSet[str], negated: bool) -> Match:
        """Return the condition that the state of connection tracking is one of these; ValueError for unknown ones."""
        if not named <= STATES:
            raise ValueError("another state")
        return Match(states=STATES - named if negated else frozenset(named))

    @staticmethod
    def of_flags(mask: AbstractSet[str], value: AbstractSet[str], negated: bool) -> Match:
        """Return the condition that of the TCP flags in `mask` just `value` are set; ValueError for unknown ones."""
        if not mask | value <= TCP_FLAGS:
            raise ValueError("other flags")
        flags = TcpFlags(frozenset(mask), frozenset(value), negated)
        return Match(transports=frozenset((Transport.TCP,)), flags=(flags,))

    @staticmethod
    def of_destinations(kinds: AbstractSet[str], negated: bool) -> Match:
        """Return the condition that the destination is of one of these types (fib, addrtype); ValueError for others."""
        if kinds - {"local", "broadcast", "multicast", "anycast"}:
            raise ValueError("another type")
        return Match(to_local=not negated) if "local" in kinds else ANYTHING if negated else NEVER

    @staticmethod
    def of_packets(kinds: AbstractSet[str], negated: bool) -> Match:
        """Return the condition that a packet is of one of these types (pkttype); ValueError for unknown ones."""
        if kinds - {"host", "unicast", "broadcast", "multicast", "other"}:
            raise ValueError("another type")
        return NEVER if kinds.isdisjoint(("host", "unicast")) is not negated else ANYTHING

    def __and__(self, other: Match) -> Match:
        """Return what both match."""
        if self is ANYTHING or other is ANYTHING:
            return other if self is ANYTHING else self
        if None not in (self.family, other.family) and self.family is not other.family:
            return NEVER
        if None not in (self.to_local, other.to_local) and self.to_local is not other.to_local:
            return NEVER
        return Match(
            self.family or other.family,
            _meet(self.transports, other.transports),
            _meet(self.source_ports, other.source_ports),
            _meet(self.ports, other.ports),
            _meet(self.sources, other.sources),
            _meet(self.destinations, other.destinations),
            _meet(self.states, other.states),
            other.to_local if self.to_local is None else self.to_local,
            self.incoming + other.incoming, self.outgoing + other.outgoing, self.flags + other.flags,
            self.unclear or other.unclear,
        )  # fmt: skip


_Set = TypeVar("_Set", FrozenSet[Transport], FrozenSet[str], RangeSet)


def _meet(first: _Set | None, second: _Set | None) -> _Set | None:
    return second if first is None else first if second is None else first & second


ANYTHING = Match()
UNCLEAR = Match(unclear=True)
NEVER = Match(transports=frozenset())  # another transport than those that plans have


@dataclass(frozen=True)
class Rule:
    """The `number`th rule of a chain, from 1; one that does several things is several Rules of one number.

    `text` is the rule as its tool prints it; `target` the chain of a jump or goto; `handle` is nft's.
    """

    number: int
    text: str
    match: Match = ANYTHING
    action: RuleAction = RuleAction.CONTINUE
    target: str = ""
    handle: int | None = None


@dataclass(frozen=True)
class BaseChain:
    """Where packets enter a chain: lower priorities first. Chains of type `nat` see only a flow's first packet."""

    hook: Hook
    priority: int = 0
    policy_drops: bool = False
    nat: bool = False


@dataclass(frozen=True)
class Chain:
    """Rules in their order; without a `base` only other chains lead there."""

    name: str
    rules: tuple[Rule, ...] = ()
    base: BaseChain | None = None


@dataclass(frozen=True)
class Table:
    """Chains that can jump to each other; `name` as RuleLocation has it."""

    tool: Tool
    name: str
    families: tuple[Family, ...]
    chains: tuple[Chain, ...] = ()


@dataclass(frozen=True)
class Ruleset:
    """All tables; and what comes before them and is not evaluated, in words: chains at a network device."""

    tables: tuple[Table, ...] = ()
    not_evaluated: tuple[str, ...] = ()


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
