"""Find the rules of the host's own firewall that block what a report says is blocked."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Container, Iterator, Sequence

from ..core.address import Address, Family, family_of, parse_address
from ..core.events import Arrival
from ..core.observation import Where
from ..core.plan import Plan, Transport
from ..core.ports import port_ranges, port_set
from ..core.ranges import RangeSet
from ..core.report import BLOCKED, AddressReport, Report, State
from .evaluate import evaluate
from .matching import Flow
from .model import BlockingRule, RuleLocation, Ruleset


def find_blocking_rules(
    report: Report, ruleset: Ruleset, plan: Plan, client: Address, arrival: Arrival | None
) -> tuple[BlockingRule, ...]:
    """Return the rules that decide for the blocked ports of every address of a report, as far as they are planned.

    `client` is who handed the report over, `arrival` how its packets came in, where that is known.
    """
    alone = len(report.addresses) == 1  # else the packets to the others may have come in otherwise
    rules: list[BlockingRule] = []
    for address in report.addresses:
        known = arrival if arrival and (alone or _is_at(arrival, address)) else None
        for flow, blocked in _flows(address, plan, client, known):
            rules += _plausible(evaluate(ruleset, flow, blocked), _passed(ruleset, flow, address))
    return tuple(dict.fromkeys(rules))


def _is_at(arrival: Arrival, address: AddressReport) -> bool:
    return arrival.address == parse_address(address.address).packed


def _passed(ruleset: Ruleset, flow: Flow, address: AddressReport) -> set[RuleLocation]:
    """Return where the rules are that would, or might, block ports which are open for all that."""
    findings = (finding for finding in address.findings
                if finding.transport is flow.transport and finding.state is State.OPEN)  # fmt: skip
    ports = port_ranges(port_set(finding.ports for finding in findings))
    return {rule.location for rule in evaluate(ruleset, replace(flow, ports=ports))} if ports else set()


def _plausible(rules: Sequence[BlockingRule], passed: Container[RuleLocation]) -> Iterator[BlockingRule]:
    """Yield the rules, without those that may decide where a likelier one does.

    Likely is what is certain, then what would not block open ports too; what would is not understood, whatever it
    seemed: a rule may look at ports in a way that the reader has no words for.
    """
    explained = RangeSet()
    tiers: list[list[BlockingRule]] = [[], [], []]
    for rule in rules:
        tiers[2 if rule.location in passed else int(not rule.certain)].append(rule)
    for number, tier in enumerate(tiers):
        left = [rule for rule in tier if port_set(rule.ports) - explained]
        explained |= port_set(run for rule in left for run in rule.ports)
        yield from left if number < 2 else (replace(rule, certain=False) for rule in left)


def _flows(address: AddressReport, plan: Plan, client: Address, arrival: Arrival | None) -> Iterator[tuple[Flow, bool]]:
    """Yield what to ask of the rules, and whether the ports are known to be blocked by this very host."""
    mapped = address.client.mapped  # where several addresses were checked, the client has one of each family
    sender = _of_family(address.family, client, parse_address(mapped) if mapped else None)
    server = _of_family(address.family, ipaddress.ip_address(arrival.address) if arrival else None)
    interface = arrival.interface if arrival else None
    for transport in Transport:
        planned = RangeSet.of(plan.ports(transport))
        blocked = [finding for finding in address.findings
                   if finding.transport is transport and finding.state in BLOCKED]  # fmt: skip
        for here in (True, False):
            own = port_set(finding.ports for finding in blocked if (finding.where is Where.SERVER_HOST) is here)
            ports = port_ranges(own & planned)
            if ports:
                yield Flow(transport, address.family, ports, sender, server, interface), here


def _of_family(family: Family, *candidates: Address | None) -> Address | None:
    """Return the first of these that is an address of that family."""
    return next((address for address in candidates if address and family_of(address) is family), None)
