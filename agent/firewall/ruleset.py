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
    """InterfaceNames of interfaces: whole ones, beginnings of some (an empty one begins all), or all but these."""

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
    """All that a packet must be to match; None and an empty tuple leave all in.

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
    """Whether the destination is of one of these types (fib, addrtype); ValueError where one is not known."""
    if "local" in kinds:
        return Match(to_local=not negated)
    if kinds - {"broadcast", "multicast", "anycast"}:
        raise ValueError("another type")
    return ANYTHING if negated else NEVER


def both(one: Match, other: Match) -> Match:
    """What both match."""
    if one is ANYTHING or other is ANYTHING:
        return other if one is ANYTHING else one
    if None not in (one.family, other.family) and one.family is not other.family:
        return NEVER
    if None not in (one.to_local, other.to_local) and one.to_local is not other.to_local:
        return NEVER
    return Match(
        one.family or other.family,
        _meet(one.transports, other.transports, frozenset.intersection),
        _meet(one.source_ports, other.source_ports, RangeSet.__and__),
        _meet(one.ports, other.ports, RangeSet.__and__),
        _meet(one.sources, other.sources, RangeSet.__and__),
        _meet(one.destinations, other.destinations, RangeSet.__and__),
        _meet(one.states, other.states, frozenset.intersection),
        other.to_local if one.to_local is None else one.to_local,
        one.incoming + other.incoming, one.outgoing + other.outgoing, one.flags + other.flags,
        one.unclear or other.unclear,
    )  # fmt: skip


_Some = TypeVar("_Some")


def _meet(one: _Some | None, other: _Some | None, meet: Callable[[_Some, _Some], _Some]) -> _Some | None:
    if one is None or other is None:
        return other if one is None else one
    return meet(one, other)


@dataclass(frozen=True)
class Rule:
    """The `number`th rule of a chain, from 1; one that does several things is several Rules of one number.

    `text` is the rule as its tool prints it, `target` the chain of a jump or goto, `handle` nft's.
    """

    number: int
    text: str
    match: Match = ANYTHING
    action: RuleAction = RuleAction.CONTINUE
    target: str = ""
    handle: int | None = None


@dataclass(frozen=True)
class BaseChain:
    """Where a chain begins to see packets: lower priorities first. `nat` chains see only a flow's first packet."""

    hook: Hook
    priority: int = 0
    policy_drops: bool = False  # by its policy
    nat: bool = False


@dataclass(frozen=True)
class Chain:
    """Rules in their order; without a `base` only other chains lead there."""

    name: str
    rules: tuple[Rule, ...] = ()
    base: BaseChain | None = None


@dataclass(frozen=True)
class Table:
    """Chains that can jump to each other; `name` as in Place."""

    tool: Tool
    name: str
    families: tuple[Family, ...]
    chains: tuple[Chain, ...] = ()


@dataclass(frozen=True)
class Ruleset:
    """All tables; and what stands ahead of them and is not read, in words: chains at a network device."""

    tables: tuple[Table, ...] = ()
    not_evaluated: tuple[str, ...] = ()
