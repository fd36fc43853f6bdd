"""Which rule decides: by hand, and against a walk that asks each rule for each port in every possible world."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from ipaddress import ip_address
from typing import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import Family
from agent.core.plan import Transport
from agent.core.ports import PortRange
from agent.core.ranges import RangeSet
from agent.firewall import chain_walk
from agent.firewall.evaluate import evaluate
from agent.firewall.matching import Flow
from agent.firewall.model import (
    ADDRESSES,
    ANYTHING,
    NEVER,
    UNCLEAR,
    BaseChain,
    BlockingRule,
    Chain,
    Hook,
    InterfaceNames,
    Match,
    Rule,
    RuleAction,
    RuleLocation,
    Ruleset,
    Table,
    TcpFlags,
    Tool,
)
from tests.core.values import ANY
from tests.firewall.values import packets

# Limits, by their numbers: who changes one changes it here too.
HIGHEST = 65_535

TCP, UDP = Transport.TCP, Transport.UDP
MEDIA = PortRange(50000, 60000)
FLOW = Flow(UDP, Family.IPV4, (PortRange(443, 443), MEDIA))
BASE = BaseChain(Hook.INPUT)
TO_MEDIA = packets(ports=((50000, 60000),))


def chain(
    name: str, *what: tuple[Match, RuleAction] | tuple[Match, RuleAction, str], base: BaseChain | None = None
) -> Chain:
    """A chain whose rules are called after it: `name 1` and so on."""
    rows = [(*row, "")[:3] for row in what]
    return Chain(name, tuple(Rule(number, f"{name} {number}", match, action, target, handle=number + 100)
                             for number, (match, action, target) in enumerate(rows, 1)), base)  # fmt: skip


def ruleset(*chains: Chain, families: tuple[Family, ...] = tuple(Family)) -> Ruleset:
    return Ruleset((Table(Tool.NFT, "inet filter", families, chains),))


def told(found: tuple[BlockingRule, ...]) -> list[tuple[str, str, str | None]]:
    """Text, ports and doubt of each decision."""
    assert all(each.certain is (each.doubt is None) for each in found)
    return [(each.text, ", ".join(map(str, each.ports)), each.doubt) for each in found]


def of(
    *what: tuple[Match, RuleAction], flow: Flow = FLOW, base: BaseChain = BASE, blocked: bool = False
) -> list[tuple[str, str]]:
    """Text and doubt, where there is one, of what one base chain decides."""
    return [
        (text, doubt or "") for text, _, doubt in told(evaluate(ruleset(chain("in", *what, base=base)), flow, blocked))
    ]


def test_the_first_rule_that_drops_is_found_with_its_place() -> None:
    found = evaluate(
        ruleset(
            chain("in", (ANYTHING, RuleAction.CONTINUE), (TO_MEDIA, RuleAction.JUMP, "user"), base=BASE),
            chain(
                "user",
                (packets(ports=((53000, 53999),)), RuleAction.REJECT),
                (ANYTHING, RuleAction.RETURN),
                (ANYTHING, RuleAction.DROP),
            ),
        ),
        FLOW,
    )
    location = RuleLocation(Tool.NFT, "inet filter", ("in", "user"), 1, 101)
    assert found == (
        BlockingRule(UDP, Family.IPV4, (PortRange(53000, 53999),), Hook.INPUT, RuleAction.REJECT, location, "user 1"),
    )  # fmt: skip
    assert found[0].location.chain == "user"


def test_a_policy_decides_what_is_left() -> None:
    base = BaseChain(Hook.INPUT, policy_drops=True)
    found = evaluate(ruleset(chain("in", (packets(ports=((50001, 60000),)), RuleAction.ACCEPT), base=base)), FLOW)
    assert told(found) == [("policy drop", "443, 50000", None)]
    assert found[0].location == RuleLocation(Tool.NFT, "inet filter", ("in",), None)
    legacy = Ruleset((Table(Tool.IPTABLES, "filter", (Family.IPV4,), (Chain("INPUT", base=base),)),))
    assert told(evaluate(legacy, FLOW)) == [("-P INPUT DROP", "443, 50000-60000", None)]


def test_base_chains_are_met_in_order_and_each_is_asked() -> None:
    table = ruleset(
        chain("late", (ANYTHING, RuleAction.DROP), base=BaseChain(Hook.INPUT, 10)),
        chain("out", (packets(source_ports=((443, 443),)), RuleAction.DROP), base=BaseChain(Hook.OUTPUT)),
        chain("post", (ANYTHING, RuleAction.DROP), base=BaseChain(Hook.POSTROUTING)),
        chain("early", (TO_MEDIA, RuleAction.ACCEPT), (ANYTHING, RuleAction.DROP), base=BaseChain(Hook.INPUT)),
        chain("pre", (TO_MEDIA, RuleAction.REDIRECT), base=BaseChain(Hook.PREROUTING, -100, nat=True)),
        chain("nat", (ANYTHING, RuleAction.DROP), base=BaseChain(Hook.POSTROUTING, 100, nat=True)),  # sees no answers
    )
    found = evaluate(table, FLOW)
    assert [(each.text, each.hook, each.action) for each in found] == [
        ("pre 1", Hook.PREROUTING, RuleAction.REDIRECT),
        ("early 2", Hook.INPUT, RuleAction.DROP),
        ("late 1", Hook.INPUT, RuleAction.DROP),
        ("out 1", Hook.OUTPUT, RuleAction.DROP),
        ("post 1", Hook.POSTROUTING, RuleAction.DROP),
    ]


def test_a_table_of_another_family_is_none_of_it() -> None:
    one = ruleset(chain("in", (ANYTHING, RuleAction.DROP), base=BASE), families=(Family.IPV6,))
    assert not evaluate(one, FLOW)
    assert evaluate(one, replace(FLOW, family=Family.IPV6))


CLIENT = replace(FLOW, client=ip_address("192.0.2.7"), server=ip_address("198.51.100.1"), interface="eth0")
NET = packets(Family.IPV4, sources=((int(ip_address("192.0.2.0")), int(ip_address("192.0.2.255"))),))
LOOPBACK = packets(Family.IPV4, sources=((0x7F000000, 0x7FFFFFFF),))
SELF = packets(Family.IPV4, destinations=((int(ip_address("198.51.100.1")),) * 2,))
SYN = frozenset(("syn",))


@pytest.mark.parametrize(
    ("match", "flow", "fits"),
    [
        (NEVER, FLOW, False),
        (packets(transports=frozenset((UDP,))), FLOW, True),
        (packets(Family.IPV6), FLOW, False),
        (UNCLEAR, FLOW, None),
        (UNCLEAR & NEVER, FLOW, False),
        (packets(states=frozenset(("new",))), FLOW, True),
        (packets(states=frozenset(("established", "related"))), FLOW, False),
        (packets(to_local=True), FLOW, True),
        (packets(to_local=False), FLOW, False),
        (packets(source_ports=((1024, HIGHEST),)), FLOW, True),
        (packets(source_ports=((53, 53),)), FLOW, False),
        (packets(source_ports=((5000, 6000),)), FLOW, None),
        (NET, FLOW, None),
        (NET, CLIENT, True),
        (NET & UNCLEAR, CLIENT, None),
        (NET, replace(CLIENT, client=ip_address("192.0.3.0")), False),
        (LOOPBACK, FLOW, False),
        (packets(Family.IPV4, sources=ADDRESSES[Family.IPV4]), FLOW, True),
        (packets(Family.IPV4, sources=()), FLOW, False),
        (SELF, FLOW, None),
        (SELF, CLIENT, True),
        (packets(incoming=(InterfaceNames(frozenset(("lo",))),)), FLOW, False),
        (packets(incoming=(InterfaceNames(frozenset(("lo",)), negated=True),)), FLOW, True),
        (packets(incoming=(InterfaceNames(frozenset(("lo",))),)), replace(FLOW, client=ip_address("127.0.0.1")), True),
        (packets(incoming=(InterfaceNames(frozenset(("eth0",))),)), FLOW, None),
        (packets(incoming=(InterfaceNames(frozenset(("eth0",)), negated=True),)), FLOW, None),
        (packets(incoming=(InterfaceNames(frozenset(("eth0",))),)), CLIENT, True),
        (packets(incoming=(InterfaceNames(prefixes=("eth",)),)), CLIENT, True),
        (packets(incoming=(InterfaceNames(prefixes=("wl",)),)), CLIENT, False),
        (packets(incoming=(InterfaceNames(prefixes=("wl",)),)), FLOW, None),
        (packets(incoming=(InterfaceNames(prefixes=("",)),)), FLOW, True),
        (packets(outgoing=(InterfaceNames(frozenset(("eth0",))),)), CLIENT, False),
        (packets(flags=(TcpFlags(SYN | {"ack"}, SYN),)), FLOW, True),
        (packets(flags=(TcpFlags(SYN | {"ack"}, SYN, negated=True),)), FLOW, False),
        (packets(flags=(TcpFlags(SYN | {"ecn"}, SYN),)), FLOW, None),
    ],
)
def test_what_a_rule_matches(match: Match, flow: Flow, fits: bool | None) -> None:
    expected = {True: [("in 1", "")], False: [], None: [("in 1", "in 1")]}[fits]
    assert of((match, RuleAction.DROP), flow=flow) == expected


@pytest.mark.parametrize(
    ("match", "flow", "fits"),
    [
        (packets(source_ports=((443, 443),)), FLOW, True),
        (packets(source_ports=((1, 442),)), FLOW, False),
        (packets(ports=((443, 443),)), FLOW, False),
        (packets(states=frozenset(("established",))), FLOW, True),
        (packets(to_local=True), FLOW, False),
        (packets(to_local=True), replace(FLOW, client=ip_address("127.0.0.1")), True),
        (packets(incoming=(InterfaceNames(frozenset(("eth0",))),)), CLIENT, False),
        (packets(outgoing=(InterfaceNames(frozenset(("eth0",))),)), CLIENT, True),
        (packets(Family.IPV4, destinations=NET.sources), CLIENT, True),
        (packets(Family.IPV4, sources=SELF.destinations), CLIENT, True),
        (packets(flags=(TcpFlags(SYN | {"ack"}, SYN),)), FLOW, False),
    ],
)
def test_what_a_rule_matches_of_the_answers(match: Match, flow: Flow, fits: bool) -> None:
    assert bool(of((match, RuleAction.DROP), flow=flow, base=BaseChain(Hook.OUTPUT))) is fits


def test_before_connection_tracking_there_are_no_states() -> None:
    raw = BaseChain(Hook.PREROUTING, -300)
    assert of((packets(states=frozenset(("new",))), RuleAction.DROP), base=raw) == []
    assert of((packets(states=frozenset(("invalid",))), RuleAction.DROP), base=raw) == [("in 1", "")]


def test_what_is_not_tracked_has_no_sure_state() -> None:
    table = ruleset(
        chain("raw", (ANYTHING, RuleAction.NOTRACK), base=BaseChain(Hook.PREROUTING, -300)),
        chain("in", (packets(states=frozenset(("new",))), RuleAction.ACCEPT), (ANYTHING, RuleAction.DROP), base=BASE),
    )
    assert told(evaluate(table, FLOW)) == [("in 2", "443, 50000-60000", "in 1")]


def test_doubt_is_of_the_ports_that_it_may_concern() -> None:
    table = ruleset(chain("in", (UNCLEAR & TO_MEDIA, RuleAction.ACCEPT), (ANYTHING, RuleAction.DROP), base=BASE))
    assert told(evaluate(table, FLOW)) == [("in 2", "443", None), ("in 2", "50000-60000", "in 1")]
    assert told(evaluate(table, FLOW, blocked=True)) == [("in 2", "443", None), ("in 2", "50000-60000", None)]


def test_ports_that_are_blocked_were_not_accepted_unless_another_chain_blocks_them() -> None:
    one = chain("in", (UNCLEAR, RuleAction.ACCEPT), (ANYTHING, RuleAction.DROP), base=BASE)
    other = chain("out", (packets(source_ports=((443, 443),)), RuleAction.DROP), base=BaseChain(Hook.OUTPUT))
    assert told(evaluate(ruleset(one), FLOW, True)) == [("in 2", "443, 50000-60000", None)]
    assert told(evaluate(ruleset(one, other), FLOW, True))[0] == ("in 2", "443, 50000-60000", "in 1")


def test_what_may_have_left_a_chain_is_not_accepted_there_for_sure() -> None:
    drops = BaseChain(Hook.INPUT, policy_drops=True)
    table = ruleset(
        chain("in", (UNCLEAR, RuleAction.RETURN), (ANYTHING, RuleAction.JUMP, "a"), base=drops),
        chain("a", (ANYTHING, RuleAction.JUMP, "b")),
        chain("b", (ANYTHING, RuleAction.ACCEPT)),
    )
    assert told(evaluate(table, FLOW)) == [("policy drop", "443, 50000-60000", "in 1")]


def test_a_rule_that_may_drop_is_in_doubt_whatever_is_known() -> None:
    assert of((UNCLEAR, RuleAction.DROP), (ANYTHING, RuleAction.ACCEPT)) == [("in 1", "in 1")]
    for blocked in (False, True):
        assert of((UNCLEAR, RuleAction.DROP), (ANYTHING, RuleAction.REJECT), blocked=blocked) == [("in 2", "in 1")]
        assert of((UNCLEAR, RuleAction.RETURN), (ANYTHING, RuleAction.REJECT), blocked=blocked) == [("in 2", "in 1")]


def test_the_first_doubt_is_named() -> None:
    assert of((UNCLEAR, RuleAction.ACCEPT), (UNCLEAR, RuleAction.DROP), (ANYTHING, RuleAction.DROP)) == [
        ("in 3", "in 1")
    ]
    assert of((UNCLEAR, RuleAction.DROP), (UNCLEAR, RuleAction.ACCEPT), (ANYTHING, RuleAction.DROP)) == [
        ("in 3", "in 1")
    ]


def test_what_a_rule_does_may_be_unknown() -> None:
    assert of((ANYTHING, RuleAction.UNKNOWN), (ANYTHING, RuleAction.ACCEPT)) == [("in 1", "in 1")]
    assert of((ANYTHING, RuleAction.UNKNOWN), (ANYTHING, RuleAction.DROP)) == [("in 2", "in 1")]


def test_a_jump_to_nowhere_may_do_anything() -> None:
    assert told(evaluate(ruleset(chain("in", (ANYTHING, RuleAction.JUMP, "none"), base=BASE)), FLOW)) == [
        ("in 1", "443, 50000-60000", "in 1")
    ]


def test_what_stands_ahead_of_all_rules_makes_all_unsure() -> None:
    table = replace(ruleset(chain("in", (ANYTHING, RuleAction.DROP), base=BASE)), not_evaluated=("ingress",))
    assert told(evaluate(table, FLOW, True)) == [("in 1", "443, 50000-60000", "ingress")]


@pytest.mark.parametrize("action", [RuleAction.JUMP, RuleAction.GOTO])
def test_loops_end(action: RuleAction) -> None:
    table = ruleset(
        chain("in", (ANYTHING, action, "in"), (ANYTHING, action, "in"), (ANYTHING, RuleAction.DROP), base=BASE)
    )
    found = evaluate(table, FLOW)
    assert found
    assert not any(each.certain for each in found)


def line_by_line(count: int) -> tuple[Rule, ...]:
    action = {number: RuleAction.DROP if number < 20000 else RuleAction.ACCEPT for number in range(1, count + 1)}
    return tuple(Rule(number, f"rule {number}", packets(ports=((50001 + number * 2 % 10000,) * 2,)), action[number])
                 for number in action)  # fmt: skip


def test_50000_rules_of_10001_ports_take_seconds_at_most() -> None:
    began = time.process_time()
    found = evaluate(ruleset(Chain("in", line_by_line(50000), BaseChain(Hook.INPUT, policy_drops=True))), FLOW)
    assert time.process_time() - began < 10
    assert sum(len(run) for each in found for run in each.ports) == 10002


def test_many_rules_that_lead_to_many_end_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_walk, "MAX_STEPS", 1000)
    jumps = tuple(Rule(number, f"jump {number}", ANYTHING, RuleAction.JUMP, "user") for number in range(100))
    user = tuple(
        Rule(number, "user", packets(ports=((number, number),)), RuleAction.RETURN) for number in range(1, 100)
    )
    found = evaluate(ruleset(Chain("in", jumps, BASE), Chain("user", user)), FLOW)
    assert {each.certain for each in found} == {False}


def test_both_is_what_both_match() -> None:
    one = packets(Family.IPV4, frozenset((TCP,)), ports=((1, 5),), states=frozenset(("new",)))
    assert one & ANYTHING == ANYTHING & one == one
    assert one & packets(Family.IPV6) == NEVER
    assert packets(to_local=True) & packets(to_local=False) == NEVER
    met = one & packets(transports=frozenset(Transport), ports=((5, 9),), to_local=True, unclear=True)
    assert met == replace(one, ports=RangeSet([(5, 5)]), to_local=True, unclear=True)
    assert (met & packets(to_local=True)).to_local


# Random rules for ports 1 to 8: a rule's match may be unclear, and its jump leads to a later chain.
PORTS = st.tuples(st.integers(1, 8), st.integers(0, 7)).map(lambda pair: ((pair[0], min(8, sum(pair))),))
MATCHES = st.builds(packets, ports=st.none() | PORTS, unclear=st.sampled_from([False, False, True]))
CLEAR = st.builds(packets, ports=st.none() | PORTS)
ACTS = st.sampled_from(
    [
        RuleAction.ACCEPT,
        RuleAction.DROP,
        RuleAction.RETURN,
        RuleAction.JUMP,
        RuleAction.JUMP,
        RuleAction.GOTO,
        RuleAction.CONTINUE,
    ]
)


def rule_sets(matches: st.SearchStrategy[Match]) -> st.SearchStrategy[tuple[Chain, ...]]:
    rows = st.lists(st.tuples(matches, ACTS, st.integers(1, 3)), max_size=5)

    def build(drops: bool, lists: list[list[tuple[Match, RuleAction, int]]]) -> tuple[Chain, ...]:
        return tuple(
            chain(str(level), *((match, action, str(level + step)) for match, action, step in rows
                                if level + step < len(lists) or action not in (RuleAction.JUMP, RuleAction.GOTO)),
                  base=None if level else BaseChain(Hook.INPUT, policy_drops=drops))
            for level, rows in enumerate(lists)
        )  # fmt: skip

    return st.builds(build, st.booleans(), st.lists(rows, min_size=1, max_size=4))


def one_by_one(chains: dict[str, Chain], name: str, port: int, world: frozenset[str]) -> str | None:
    """What decides for one port, where of the unclear rules those in `world` match: a text, or '' for an accept."""
    for rule in chains[name].rules:
        hit = rule.match.ports is None or port in rule.match.ports
        if not hit or (rule.match.unclear and rule.text not in world) or rule.action is RuleAction.CONTINUE:
            continue
        if rule.action in (RuleAction.JUMP, RuleAction.GOTO):
            decided = one_by_one(chains, rule.target, port, world)
            if decided is not None or rule.action is RuleAction.GOTO:
                return decided
        elif rule.action is RuleAction.RETURN:
            return None
        else:
            return "" if rule.action is RuleAction.ACCEPT else rule.text
    return None


def worlds(chains: tuple[Chain, ...]) -> Iterator[frozenset[str]]:
    unclear = [rule.text for chain in chains for rule in chain.rules if rule.match.unclear]
    for size in range(len(unclear) + 1):
        yield from map(frozenset, itertools.combinations(unclear, size))


def outcomes(chains: tuple[Chain, ...], port: int) -> set[str]:
    """All that may decide, the policy too."""
    base = chains[0].base
    policy = "policy drop" if base and base.policy_drops else ""
    named = {chain.name: chain for chain in chains}
    found = (one_by_one(named, "0", port, world) for world in worlds(chains))
    return {policy if decided is None else decided for decided in found}


def decider(decision: BlockingRule) -> str:
    """The rule or policy itself, without the rule by which packets leave the chain for its policy."""
    return decision.text.rpartition(", then ")[2]


@ANY
@given(rule_sets(CLEAR))
def test_the_walk_by_runs_agrees_with_one_by_port(chains: tuple[Chain, ...]) -> None:
    found = evaluate(ruleset(*chains), replace(FLOW, ports=(PortRange(1, 8),)))
    for port in range(1, 9):
        here = [each for each in found if any(port in run for run in each.ports)]
        assert ({decider(each) for each in here} or {""}) == outcomes(chains, port)
        assert all(each.certain for each in here)


@ANY
@given(
    rule_sets(MATCHES).filter(lambda chains: sum(1 for _ in itertools.islice(worlds(chains), 65)) <= 64), st.booleans()
)
def test_what_is_sure_is_so_in_every_world(chains: tuple[Chain, ...], blocked: bool) -> None:
    found = evaluate(ruleset(*chains), replace(FLOW, ports=(PortRange(1, 8),)), blocked)
    for port in range(1, 9):
        here = [each for each in found if any(port in run for run in each.ports)]
        possible = outcomes(chains, port) - ({""} if blocked else set())
        assert len(here) <= 1
        if here and here[0].certain:
            assert possible == {decider(here[0])}
        if not here:
            assert possible <= {""}


def test_ports_that_come_back_from_a_chain_out_of_their_order_are_found_again() -> None:
    chains = (
        chain(
            "0",
            (packets(), RuleAction.JUMP, "2"),
            (packets(ports=((1, 1),)), RuleAction.DROP, ""),
            base=BaseChain(Hook.INPUT, policy_drops=False),
        ),
        chain("2", (packets(ports=((2, 2),)), RuleAction.RETURN, ""), (packets(), RuleAction.RETURN, "")),
    )
    (found,) = evaluate(ruleset(*chains), replace(FLOW, ports=(PortRange(1, 8),)))
    assert (found.text, found.ports) == ("0 2", (PortRange(1, 1),))
