"""Which rules of the host's own firewall decide for what a report says is blocked."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Container, Iterable, Sequence

from ..core.address import Address, Family, family_of, parse_address
from ..core.events import Arrival
from ..core.observation import Where
from ..core.plan import Plan, Transport
from ..core.ports import port_ranges
from ..core.report import BLOCKED, AddressReport, Report, State
from .evaluate import evaluate
from .matching import Flow
from .model import BlockingRule, RuleLocation
from .ruleset import Ruleset


def find_blocking_rules(
    report: Report, ruleset: Ruleset, plan: Plan, client: Address, arrival: Arrival | None
) -> tuple[BlockingRule, ...]:
    """The rules that decide for the blocked ports of every address that the report has, as far as they are planned.

    `client` is who handed the report over, `arrival` how its packets came in, where that is known.
    """
    alone = len(report.addresses) == 1  # else the packets to the others may have come in otherwise
    found = [rule for address in report.addresses
             for its in [arrival if arrival and (alone or _is_at(arrival, address)) else None]
             for flow, blocked in _flows(address, plan, client, its)
             for rule in _plausible(evaluate(ruleset, flow, blocked), _passed(ruleset, flow, address))]  # fmt: skip
    return tuple(dict.fromkeys(found))


def _is_at(arrival: Arrival, address: AddressReport) -> bool:
    return arrival.address == parse_address(address.address).packed


def _passed(ruleset: Ruleset, flow: Flow, address: AddressReport) -> set[RuleLocation]:
    """The rules that would, or might, stop ports which are open for all that."""
    ports = port_ranges(port for one in address.findings
                 if one.transport is flow.transport and one.state is State.OPEN for port in one.ports)  # fmt: skip
    return {one.location for one in evaluate(ruleset, replace(flow, ports=ports))} if ports else set()


def _plausible(found: Sequence[BlockingRule], passed: Container[RuleLocation]) -> Iterable[BlockingRule]:
    """Without what may decide where something likelier action.

    Likely is what is sure, then what would not stop open ports too; what would is not understood, whatever it seemed:
    a rule may look at ports in a way that the reader has no words for.
    """
    explained: set[int] = set()
    tiers: list[list[BlockingRule]] = [[], [], []]
    for one in found:
        tiers[2 if one.location in passed else int(not one.certain)].append(one)
    for number, tier in enumerate(tiers):
        left = [one for one in tier if any(port not in explained for run in one.ports for port in run)]
        explained.update(port for one in left for run in one.ports for port in run)
        yield from left if number < 2 else (replace(one, certain=False) for one in left)


def _flows(address: AddressReport, plan: Plan, client: Address, arrival: Arrival | None) -> Iterable[tuple[Flow, bool]]:
    """What to ask of the rules, and whether the ports are known to be blocked by this very host."""
    mapped = address.client.mapped  # where several addresses were checked, the client has one of each family
    sender = _of_family(address.family, client, parse_address(mapped) if mapped else None)
    server = _of_family(address.family, ipaddress.ip_address(arrival.address) if arrival else None)
    interface = arrival.interface if arrival else None
    for transport in Transport:
        planned = frozenset(plan.ports(transport))
        for here in (True, False):
            ports = port_ranges(
                port for one in address.findings
                if one.transport is transport and one.state in BLOCKED and (one.where is Where.SERVER_HOST) is here
                for port in one.ports if port in planned
            )  # fmt: skip
            if ports:
                yield Flow(transport, address.family, ports, sender, server, interface), here


def _of_family(family: Family, *candidates: Address | None) -> Address | None:
    """The first of these that is an address of that family."""
    return next((one for one in candidates if one and family_of(one) is family), None)
