"""Find the rules of a host's firewall that block ports, by reading them in the order in which packets meet them."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable

from ..core.address import Family
from .chain_walk import INWARD, Candidate, ChainWalk, Tracking
from .matching import Flow
from .model import BaseChain, BlockingRule, Chain, Hook, Ruleset, Table

_OUTWARD = (Hook.OUTPUT, Hook.POSTROUTING)


def evaluate(ruleset: Ruleset, flow: Flow, blocked: bool = False) -> tuple[BlockingRule, ...]:
    """Return the rules that do not let new flows in or their answers out, in the order in which packets meet them.

    Each base chain is asked by itself, as if those before it had accepted, so that all that must be opened is found.
    A rule is `certain` where all rules before it in its base chain were understood. A rule that may drop, in a base
    chain where no other drops for sure, is one of them too, and its own doubt. Where the ports are known to be
    `blocked`, a rule that may accept did not, unless another base chain may be what blocks them.
    """
    tracking = Tracking()
    candidates = [candidate for table, chain, base in _base_chains(ruleset, flow.family)
                  for candidate in ChainWalk(table, chain, base, flow, tracking).candidates()]  # fmt: skip
    if ruleset.not_evaluated:
        return tuple(replace(rule, certain=False, doubt=rule.doubt or ruleset.not_evaluated[0])
                     for rule, _, _ in candidates)  # fmt: skip
    contested = _contested(candidates) if blocked else set()
    return tuple(
        replace(rule, certain=True, doubt=None)
        if blocked and accept_only and contested.isdisjoint(port for run in rule.ports for port in run)
        else rule
        for rule, accept_only, _ in candidates
    )


def _contested(candidates: Iterable[Candidate]) -> set[int]:
    """Return the ports that several base chains block, or may."""
    first: dict[int, ChainWalk] = {}
    return {port for candidate in candidates for run in candidate.rule.ports for port in run
            if first.setdefault(port, candidate.walk) is not candidate.walk}  # fmt: skip


def _base_chains(ruleset: Ruleset, family: Family) -> list[tuple[Table, Chain, BaseChain]]:
    """Return the base chains that packets of a family meet, in their order."""
    order = (*INWARD, *_OUTWARD)
    chains = [
        (table, chain, chain.base)
        for table in ruleset.tables
        if family in table.families
        for chain in table.chains
        # An answer belongs to a flow that is known, which nat chains do not see.
        if chain.base and not (chain.base.nat and chain.base.hook in _OUTWARD)
    ]
    return sorted(chains, key=lambda entry: (order.index(entry[2].hook), entry[2].priority))
