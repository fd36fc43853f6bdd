"""Which rules are asked for what a report says, and which of their answers the check itself has disproved."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from agent.core.address import Family, parse_address
from agent.core.events import Arrival
from agent.core.observation import Where
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.core.report import AddressReport, ClientAddress, Finding, Report, State, Verdict
from agent.firewall.blocking_rules import find_blocking_rules
from agent.firewall.model import (
    BaseChain,
    BlockingRule,
    Chain,
    Hook,
    InterfaceNames,
    Match,
    Rule,
    RuleAction,
    Ruleset,
    Table,
    Tool,
)
from tests.firewall.values import packets

UDP = Transport.UDP
PLAN = Plan("mine", (Requirement(UDP, PortRange(100, 199), "media", Need.REQUIRED),))
CLIENT, CLIENT6 = parse_address("203.0.113.2"), parse_address("2001:db8::2")
ARRIVAL = Arrival("eth0", ipaddress.ip_address("198.51.100.1").packed)


def rules(*matches: tuple[Match, RuleAction], policy_drops: bool = False) -> Ruleset:
    numbered = tuple(Rule(number, f"rule {number}", match, action, "", number)
                     for number, (match, action) in enumerate(matches, 1))  # fmt: skip
    chain = Chain("input", numbered, BaseChain(Hook.INPUT, policy_drops=policy_drops))
    return Ruleset((Table(Tool.NFT, "inet filter", tuple(Family), (chain,)),))


def finding(first: int, last: int, state: State = State.FILTERED, where: Where | None = Where.SERVER_HOST) -> Finding:
    return Finding(UDP, PortRange(first, last), Need.REQUIRED, "media", state, where)


def report(*findings: Finding, **rest: Any) -> Report:
    address = AddressReport("198.51.100.1", Family.IPV4, Verdict.FAIL, findings=findings, **rest)
    return Report("0", "", 0.0, "host", "mine", Verdict.FAIL, (address,))


def asked(ruleset: Ruleset, made: Report, arrival: Arrival | None = ARRIVAL) -> list[str]:
    return list(map(told, find_blocking_rules(made, ruleset, PLAN, CLIENT, arrival)))


def told(one: BlockingRule) -> str:
    return f"{', '.join(map(str, one.ports))} {one.text}{'' if one.certain else ' ?'}"


DROP = (packets(ports=((120, 139),)), RuleAction.DROP)
HOLE = (finding(100, 119, State.OPEN, None), finding(120, 139), finding(140, 199, State.OPEN, None))


def test_the_rule_for_the_blocked_ports() -> None:
    assert asked(rules(DROP), report(*HOLE)) == ["120-139 rule 1"]


def test_only_planned_ports_are_asked_for() -> None:
    assert asked(rules((packets(), RuleAction.DROP)), report(finding(90, 210))) == ["100-199 rule 1"]
    assert asked(rules((packets(), RuleAction.DROP)), report(finding(1, 99))) == []


def test_what_never_came_to_this_host_is_asked_for_too() -> None:
    assert asked(rules(DROP), report(finding(120, 139, where=Where.BEFORE_SERVER))) == ["120-139 rule 1"]


def test_what_this_host_is_known_to_block_no_unclear_rule_has_let_in() -> None:
    accept = (packets(unclear=True), RuleAction.ACCEPT)
    assert asked(rules(accept, DROP), report(finding(120, 139))) == ["120-139 rule 2"]
    assert asked(rules(accept, DROP), report(finding(120, 139, where=Where.UNKNOWN))) == ["120-139 rule 2 ?"]


def test_an_unclear_rule_decides_nothing_where_another_does_for_sure() -> None:
    unclear = (packets(unclear=True), RuleAction.DROP)
    assert asked(rules(unclear, DROP), report(finding(120, 139))) == ["120-139 rule 2 ?"]
    apart = rules(DROP)
    second = Chain(
        "second", (Rule(1, "maybe", packets(unclear=True), RuleAction.DROP, "", 9),), BaseChain(Hook.PREROUTING)
    )
    both = Ruleset((Table(Tool.NFT, "inet other", tuple(Family), (second,)), *apart.tables))
    assert asked(both, report(finding(120, 139))) == ["120-139 rule 1"]
    assert asked(both, report(finding(110, 139))) == ["120-139 rule 1", "110-139 maybe ?"]


def test_a_rule_that_would_stop_open_ports_too_is_the_last_to_blame() -> None:
    unclear, clear = (packets(unclear=True), RuleAction.DROP), (packets(), RuleAction.DROP)
    assert asked(rules(unclear), report(*HOLE)) == ["120-139 rule 1 ?"]  # it may look at ports for all that is known
    assert asked(rules(clear), report(*HOLE)) == ["120-139 rule 1 ?"]  # it is not what it seemed
    second = Chain(
        "second", (Rule(1, "maybe", packets(unclear=True), RuleAction.DROP, "", 9),), BaseChain(Hook.PREROUTING)
    )
    both = Ruleset((Table(Tool.NFT, "inet other", tuple(Family), (second,)), *rules(DROP).tables))
    assert asked(both, report(*HOLE)) == ["120-139 rule 1"]


def test_the_client_and_the_way_in_are_those_of_the_report() -> None:
    from_client = (packets(sources=((int(CLIENT), int(CLIENT)),)), RuleAction.DROP)
    by_eth0 = (packets(incoming=(InterfaceNames(frozenset(("eth0",))),)), RuleAction.DROP)
    at_server = (packets(destinations=((int(parse_address("198.51.100.1")),) * 2,)), RuleAction.DROP)
    for match in (from_client, by_eth0, at_server):
        assert asked(rules(match), report(finding(120, 139))) == ["120-139 rule 1"]
    assert asked(rules(by_eth0), report(finding(120, 139)), None) == ["120-139 rule 1 ?"]
    elsewhere = Arrival("eth1", ARRIVAL.address)
    assert asked(rules(by_eth0), report(finding(120, 139)), elsewhere) == []


def test_of_several_addresses_only_that_one_is_known_to_be_arrived_at() -> None:
    by_eth0 = (packets(incoming=(InterfaceNames(frozenset(("eth0",))),)), RuleAction.DROP)
    one = report(finding(120, 139)).addresses[0]
    for other, told_of in (("198.51.100.9", ["120-139 rule 1 ?"]), ("198.51.100.1", ["120-139 rule 1"])):
        both = (replace(one, address="198.51.100.7", findings=()), replace(one, address=other))
        assert asked(rules(by_eth0), replace(report(), addresses=both)) == told_of


def test_where_two_families_were_checked_the_client_has_an_address_of_each() -> None:
    six = (packets(sources=((int(CLIENT6), int(CLIENT6)),)), RuleAction.DROP)
    address = AddressReport("2001:db8::1", Family.IPV6, Verdict.FAIL, findings=(finding(120, 139),),
                            client=ClientAddress(None, str(CLIENT6)))  # fmt: skip
    made = Report("0", "", 0.0, "host", "mine", Verdict.FAIL, (address,))
    assert asked(rules(six), made) == ["120-139 rule 1"]
