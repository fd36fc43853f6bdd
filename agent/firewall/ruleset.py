"""The rule set of a host's firewall: tables of chains of rules, as far as they are understood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, TypeVar

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import HIGHEST, LOWEST
from ..core.ranges import RangeSet
from .model import Hook, RuleAction, Tool

PORTS = RangeSet([(LOWEST, HIGHEST)])
ADDRESSES = {Family.IPV4: RangeSet([(0, 2**32 - 1)]), Family.IPV6: RangeSet([(0, 2**128 - 1)])}

STATES = frozenset(("new", "established", "related", "invalid", "untracked"))  # of connection tracking


class UnreadableRules(Exception):
    """What a firewall's tool printed is no listing of rules."""


@dataclass(frozen=True)
class InterfaceNames:
    """Names of interfaces: exact ones, and prefixes (an empty one is of all); or all names but these."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    negated: bool = False


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


ANYTHING = Match()
UNCLEAR = Match(unclear=True)
NEVER = Match(transports=frozenset())  # another transport than those that plans have


def to_local(kinds: frozenset[str], negated: bool) -> Match:
    """Return the condition that the destination is of one of these types (fib, addrtype); ValueError for others."""
    if "local" in kinds:
        return Match(to_local=not negated)
    if kinds - {"broadcast", "multicast", "anycast"}:
        raise ValueError("another type")
    return ANYTHING if negated else NEVER


def intersect(first: Match, second: Match) -> Match:
    """Return what both match."""
    if first is ANYTHING or second is ANYTHING:
        return second if first is ANYTHING else first
    if None not in (first.family, second.family) and first.family is not second.family:
        return NEVER
    if None not in (first.to_local, second.to_local) and first.to_local is not second.to_local:
        return NEVER
    return Match(
        first.family or second.family,
        _meet(first.transports, second.transports, frozenset.intersection),
        _meet(first.source_ports, second.source_ports, RangeSet.__and__),
        _meet(first.ports, second.ports, RangeSet.__and__),
        _meet(first.sources, second.sources, RangeSet.__and__),
        _meet(first.destinations, second.destinations, RangeSet.__and__),
        _meet(first.states, second.states, frozenset.intersection),
        second.to_local if first.to_local is None else first.to_local,
        first.incoming + second.incoming, first.outgoing + second.outgoing, first.flags + second.flags,
        first.unclear or second.unclear,
    )  # fmt: skip


_Some = TypeVar("_Some")


def _meet(first: _Some | None, second: _Some | None, meet: Callable[[_Some, _Some], _Some]) -> _Some | None:
    if first is None or second is None:
        return second if first is None else first
    return meet(first, second)


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
