"""Fixes of a host's firewall: commands for people who run them as root, as they stand, in a shell.

A name goes into a command only where it is made of characters that mean nothing to a shell, and no command replaces or
removes a rule set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import PortRange, port_ranges, port_set
from .model import BlockingRule, FirewallManagers, Hook, RuleAction, RuleLocation, Tool

SLOTS = 15  # ports in one rule of iptables' multiport, of which a range takes two (iptables-extensions(8))

SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,63}")


@dataclass(frozen=True)
class Fix:
    """Commands in the order to run them, and sentences that belong to them."""

    commands: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()

    def __add__(self, other: Fix) -> Fix:
        sentences = dict.fromkeys((*self.sentences, *other.sentences))
        return Fix((*self.commands, *other.commands), tuple(sentences))


BlockingRules = Sequence[BlockingRule]
FixRules = Callable[[BlockingRules, FirewallManagers], Fix]
Ports = Dict[Transport, List[PortRange]]

UNSAFE = Fix((), ("No command for this rule is safe to print: change the rule by hand.",))
_REDIRECTED = ("A rule redirects these ports to another program; once they are open here, that program no longer "
               "receives them.")  # fmt: skip


def blocks_answers(rule: BlockingRule) -> bool:
    """Return whether a rule stops the server's answers, and not what comes in."""
    return rule.hook in (Hook.OUTPUT, Hook.POSTROUTING)


def redirected(rules: BlockingRules) -> Fix:
    """Return what has to be said where one of the rules redirects."""
    return Fix((), (_REDIRECTED,) if any(rule.action is RuleAction.REDIRECT for rule in rules) else ())


class Insertion(NamedTuple):
    """Where a rule has to come so that these ports pass: before the first rule of the chain that blocks any of them."""

    location: RuleLocation
    family: Family
    answers: bool
    ports: Ports


def insertions(rules: BlockingRules) -> list[Insertion]:
    """Return one insertion for each chain, and each way that packets take through it.

    The chains of iptables are of one family; where nft's are of both, IPv4 stands for both.
    """
    groups: dict[object, list[BlockingRule]] = {}
    for rule in rules:
        family = rule.family if rule.location.tool is not Tool.NFT else None
        key = rule.location.tool, family, rule.location.table, rule.location.chain, blocks_answers(rule)
        groups.setdefault(key, []).append(rule)
    return [
        Insertion(min((rule.location for rule in group), key=position), group[0].family, blocks_answers(group[0]),
                  ports_of(group))
        for group in groups.values()
    ]  # fmt: skip


def position(location: RuleLocation) -> float:
    """Return the number of a rule; infinite where it is the chain's policy."""
    return float("inf") if location.number is None else location.number


def ports_of(rules: BlockingRules) -> Ports:
    """Return the ports that some rules block, by transport, in the fewest runs."""
    sets = {transport: port_set(run for rule in rules if rule.transport is transport for run in rule.ports)
            for transport in Transport}  # fmt: skip
    return {transport: list(port_ranges(ports)) for transport, ports in sets.items() if ports}


def multiport(ports: Sequence[PortRange]) -> Iterator[tuple[str, int]]:
    """Yield lists of ports, as iptables and ufw write them, each of which fits into one rule; and how many runs it has.

    There is one run at least.
    """
    chunk: list[PortRange] = []
    used = 0
    for run in ports:
        needed = 1 if len(run) == 1 else 2
        if used + needed > SLOTS:
            yield _list(chunk), len(chunk)
            chunk, used = [], 0
        chunk.append(run)
        used += needed
    yield _list(chunk), len(chunk)


def _list(ports: Iterable[PortRange]) -> str:
    return ",".join(str(run).replace("-", ":") for run in ports)
