"""nft's listings: goldens of the real tool, statements by hand, and any JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import Family
from agent.core.plan import Transport
from agent.core.ports import PortRange
from agent.firewall import nftables
from agent.firewall.evaluate import evaluate
from agent.firewall.matching import Flow
from agent.firewall.model import (
    ANYTHING,
    NEVER,
    STATES,
    UNCLEAR,
    BaseChain,
    Hook,
    InterfaceNames,
    Match,
    Rule,
    RuleAction,
    Ruleset,
    TcpFlags,
    Tool,
    UnreadableRules,
)
from agent.firewall.nft_text import parse_listing
from tests.core.values import ANY
from tests.firewall.goldens import golden
from tests.firewall.values import packets

# Limits, by their numbers: who changes one changes it here too.
HIGHEST = 65_535

V4, V6 = Family.IPV4, Family.IPV6
TCP, UDP = frozenset((Transport.TCP,)), frozenset((Transport.UDP,))
MEDIA = Flow(Transport.UDP, V4, (PortRange(443, 443), PortRange(50000, 60000)), ip_address("192.0.2.7"), None, "eth0")
WEB = replace(MEDIA, transport=Transport.TCP, ports=tuple(PortRange(port, port) for port in (22, 80, 443)))


def listing(*expressions: list[Any], sets: tuple[Any, ...] = (), **chain: Any) -> str:
    """A table with one chain, as JSON."""
    base = {"family": "inet", "table": "t", "name": "in", "type": "filter", "hook": "input", "prio": 0, **chain}
    rules = [
        {"rule": {"family": "inet", "table": "t", "chain": "in", "handle": 7, "expr": expr}} for expr in expressions
    ]
    return json.dumps({"nftables": [{"table": {"family": "inet", "name": "t"}}, *sets, {"chain": base}, *rules]})


def read_golden(name: str) -> Ruleset:
    """The rules of a real listing, quoted as nft prints them."""
    return nftables.read(golden(f"{name}.nft.json"), golden(f"{name}.nft"))


def rules_of(*statements: Any, sets: tuple[Any, ...] = ()) -> tuple[Rule, ...]:
    return nftables.read(listing(list(statements), sets=sets)).tables[0].chains[0].rules


def match(left: Any, right: Any, op: str = "==") -> Any:
    return {"match": {"op": op, "left": left, "right": right}}


def field(protocol: str, name: str) -> Any:
    return {"payload": {"protocol": protocol, "field": name}}


MANY = {rule.text: rule for rule in read_golden("many").tables[0].chains[1].rules}
SYN = frozenset(("syn",))


def net(first: str, last: str) -> tuple[int, int]:
    return int(ip_address(first)), int(ip_address(last))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ct state established,related accept", packets(states=frozenset(("established", "related")))),
        ("ct state { established, related } accept", packets(states=frozenset(("established", "related")))),
        ("ct state != new accept", packets(states=STATES - {"new"})),
        ("ct state ! new drop", packets(states=STATES - {"new"})),
        ("ct state new / new,untracked drop", UNCLEAR),
        ('iifname "lo" accept', packets(incoming=(InterfaceNames(frozenset(("lo",))),))),
        ('iif "lo" accept', packets(incoming=(InterfaceNames(frozenset(("lo",))),))),
        ('iifname != "lo" accept', packets(incoming=(InterfaceNames(frozenset(("lo",)), negated=True),))),
        ('iifname "eth*" accept', packets(incoming=(InterfaceNames(prefixes=("eth",)),))),
        ('iifname { "eth0", "eth1*" } accept', packets(incoming=(InterfaceNames(frozenset(("eth0",)), ("eth1",)),))),
        ("meta l4proto { tcp, udp } th dport { 50-60, 80, 443 } accept",
         packets(transports=TCP | UDP, ports=((50, 60), (80, 80), (443, 443)))),
        ("tcp dport != { 80, 443 } drop", packets(transports=TCP, ports=((1, 79), (81, 442), (444, HIGHEST)))),
        ("udp dport > 50000 drop", packets(transports=UDP, ports=((50001, HIGHEST),))),
        ("udp dport 50000-60000 drop", packets(transports=UDP, ports=((50000, 60000),))),
        ("udp dport @ports accept", packets(transports=UDP, ports=((80, 80), (443, 443), (50000, 60000)))),
        ("ip saddr @ban drop", packets(V4, sources=(net("1.2.3.4", "1.2.3.4"), net("10.0.0.0", "10.255.255.255")))),
        ("ip saddr @tm drop", packets(V4, sources=(net("9.9.9.9", "9.9.9.9"),))),
        ("ip saddr { 1.2.3.4, 5.5.5.5-5.5.5.7, 10.0.0.0/8 } drop",
         packets(V4, sources=(net("1.2.3.4", "1.2.3.4"), net("5.5.5.5", "5.5.5.7"),
                              net("10.0.0.0", "10.255.255.255")))),
        ("ip saddr != 1.2.3.0/24 drop",
         packets(V4, sources=(net("0.0.0.0", "1.2.2.255"), net("1.2.4.0", "255.255.255.255")))),
        ("ip daddr 127.0.0.0/8 drop", packets(V4, destinations=(net("127.0.0.0", "127.255.255.255"),))),
        ("ip protocol udp accept", packets(V4, UDP)),
        ("ip6 nexthdr udp accept", packets(V6, UDP)),
        ("meta nfproto ipv4 accept", packets(V4)),
        ("meta protocol ip accept", packets(V4)),
        ("icmp type echo-request accept", NEVER),
        ("meta l4proto { icmp, ipv6-icmp } accept", NEVER),
        ("tcp flags syn / syn,ack accept", packets(transports=TCP, flags=(TcpFlags(SYN | {"ack"}, SYN),))),
        ("tcp flags fin,syn / fin,syn drop", packets(transports=TCP, flags=(TcpFlags(SYN | {"fin"}, SYN | {"fin"}),))),
        ("limit rate 5/second accept", UNCLEAR),
        ("fib daddr type local accept", packets(to_local=True)),
        ("fib saddr . iif oif missing drop", UNCLEAR),
        ("ip saddr . tcp dport { 1.1.1.1 . 80 } accept", UNCLEAR),
        ("reject with icmp host-prohibited", packets(V4)),
        ("meta l4proto tcp reject with tcp reset", packets(transports=TCP)),
        ("reject with icmpx admin-prohibited", ANYTHING),
        ("meta mark 0x00000005 accept", UNCLEAR),
        ("th dport 5 drop", packets(ports=((5, 5),))),
        ("udp length 5 drop", packets(transports=UDP, unclear=True)),
        ("ip ttl 1 drop", packets(V4, unclear=True)),
        ("tcp dport & 1 == 1 drop", UNCLEAR),
        ("meta pkttype broadcast drop", NEVER),
        ("ct status dnat accept", NEVER),
        ("ct direction original accept", UNCLEAR),
    ],
)  # fmt: skip
def test_conditions_as_nft_lists_them(text: str, expected: Match) -> None:
    verb = text.split(" with ", maxsplit=1)[0].rpartition(" ")[2] if " with " in text else text.rpartition(" ")[2]
    assert (MANY[text].match, MANY[text].action) == (expected, RuleAction(verb))


def test_rules_have_their_number_and_handle() -> None:
    table = read_golden("many").tables[0]
    assert (table.tool, table.name, table.families) == (Tool.NFT, "inet filter", tuple(Family))
    assert [chain.base for chain in table.chains] == [
        None, BaseChain(Hook.INPUT, 0, policy_drops=True), BaseChain(Hook.PREROUTING, -100, nat=True),
    ]  # fmt: skip
    ninth = MANY['iifname "eth*" accept']
    assert ninth.number == 9
    assert ninth.handle == 20
    numbers = [rule.number for rule in table.chains[1].rules]
    assert sorted(set(numbers)) == list(range(1, numbers[-1] + 1))


def test_verdict_maps_are_rules_for_each_entry() -> None:
    key = field("tcp", "dport")
    data = [[22, {"jump": {"target": "x"}}], [{"range": [80, 90]}, {"goto": {"target": "y"}}], [5, {"drop": None}]]
    named = {"map": {"family": "inet", "table": "t", "name": "m", "elem": data}}
    for given_data, sets in (({"set": data}, ()), ("@m", (named,))):
        found = rules_of({"vmap": {"key": key, "data": given_data}}, sets=sets)
        assert [
            (rule.number, rule.match.ports and rule.match.ports.ranges, rule.action, rule.target) for rule in found
        ] == [
            (1, ((22, 22),), RuleAction.JUMP, "x"),
            (1, ((80, 90),), RuleAction.GOTO, "y"),
            (1, ((5, 5),), RuleAction.DROP, ""),
        ]


@pytest.mark.parametrize(
    "vmap",
    [
        {"key": field("tcp", "dport"), "data": "@none"},
        {"key": {"concat": []}, "data": {"set": [[1, {"drop": None}]]}},
        {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["*", {"drop": None}]]}},
        {"key": {"numgen": {}}, "data": {"set": [[1, {"drop": None}]]}},
        {},
    ],
)
def test_verdict_maps_that_are_not_understood_may_do_anything(vmap: Any) -> None:
    assert [(rule.match, rule.action) for rule in rules_of({"vmap": vmap})] == [(UNCLEAR, RuleAction.UNKNOWN)]


@pytest.mark.parametrize(
    ("statements", "expected", "action"),
    [
        ([{"redirect": {"port": 5}}], ANYTHING, RuleAction.REDIRECT),
        ([{"redirect": None}], ANYTHING, RuleAction.ACCEPT),
        ([{"redirect": {"port": {"map": {}}}}], UNCLEAR, RuleAction.REDIRECT),
        ([{"dnat": {"family": "ip", "addr": "1.2.3.4"}}], packets(V4), RuleAction.REDIRECT),
        ([{"dnat": {"addr": {"map": {}}}}], UNCLEAR, RuleAction.REDIRECT),
        ([{"reject": None}], ANYTHING, RuleAction.REJECT),
        ([{"reject": {"type": "icmpv6"}}], packets(V6), RuleAction.REJECT),
        ([{"counter": "named"}, {"log": None}], ANYTHING, RuleAction.CONTINUE),
        ([{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 5}}], ANYTHING, RuleAction.CONTINUE),
        ([{"mangle": {"key": field("tcp", "dport"), "value": 5}}], UNCLEAR, RuleAction.UNKNOWN),
        ([{"queue": None}], UNCLEAR, RuleAction.UNKNOWN),
        ([{"xt": {"type": "match", "name": "x"}}, {"drop": None}], UNCLEAR, RuleAction.DROP),
        ([{"xt": {"type": "target", "name": "REJECT"}}], UNCLEAR, RuleAction.UNKNOWN),
        ([{"xt": None}], UNCLEAR, RuleAction.UNKNOWN),
        ([{"drop": None, "accept": None}], UNCLEAR, RuleAction.UNKNOWN),
        (["drop"], UNCLEAR, RuleAction.UNKNOWN),
        ([{"jump": {}}], UNCLEAR, RuleAction.UNKNOWN),
        ([{"set": {"op": "add", "elem": 1, "set": "@x"}}, {"drop": None}], UNCLEAR, RuleAction.DROP),
        (
            [match(field("tcp", "flags"), "syn"), {"drop": None}],
            packets(
                transports=TCP,
                flags=(TcpFlags(frozenset(("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr")), SYN),),
            ),
            RuleAction.DROP,
        ),
        (
            [match(field("tcp", "flags"), ["fin", "syn"], "!"), {"drop": None}],
            packets(transports=TCP, flags=(TcpFlags(SYN | {"fin"}, frozenset()),)),
            RuleAction.DROP,
        ),
        (
            [match(field("tcp", "flags"), ["syn", "fin"], "in"), {"drop": None}],
            packets(transports=TCP, unclear=True),
            RuleAction.DROP,
        ),
        (
            [match(field("udp", "dport"), "domain"), {"drop": None}],
            packets(transports=UDP, unclear=True),
            RuleAction.DROP,
        ),
        ([match(field("udp", "dport"), True), {"drop": None}], packets(transports=UDP, unclear=True), RuleAction.DROP),
        (
            [match(field("udp", "dport"), "@none"), {"drop": None}],
            packets(transports=UDP, unclear=True),
            RuleAction.DROP,
        ),
        ([match({"exthdr": {"name": "rt", "field": "type"}}, 0), {"drop": None}], NEVER, RuleAction.DROP),
        ([match({"meta": {"key": "iifname"}}, "a\\*"), {"drop": None}], UNCLEAR, RuleAction.DROP),
        (
            [match({"meta": {"key": "oif"}}, "lo"), {"drop": None}],
            packets(outgoing=(InterfaceNames(frozenset(("lo",))),)),
            RuleAction.DROP,
        ),
        ([match({"meta": {"key": "iif"}}, 5), {"drop": None}], UNCLEAR, RuleAction.DROP),
        ([match({"meta": {"key": "nfproto"}}, "ipv4", "!="), {"drop": None}], packets(V6), RuleAction.DROP),
        ([match({"meta": {"key": "l4proto"}}, {"range": [1, 20]}), {"drop": None}], UNCLEAR, RuleAction.DROP),
        ([match({"meta": {"key": "pkttype"}}, "host"), {"drop": None}], ANYTHING, RuleAction.DROP),
        ([match({"ct": {"key": "state"}}, "odd"), {"drop": None}], UNCLEAR, RuleAction.DROP),
        ([match({"ct": {"key": "state"}}, "dnat"), {"drop": None}], UNCLEAR, RuleAction.DROP),
        ([match({"ct": {"key": "state"}}, ["new", "snat"], "in"), {"drop": None}], UNCLEAR, RuleAction.DROP),
        ([match({"&": [field("tcp", "flags"), ["syn", "odd"]]}, "syn"), {"drop": None}], UNCLEAR, RuleAction.DROP),
        (
            [match({"fib": {"result": "type", "flags": ["daddr"]}}, {"set": ["local", "unicast"]}), {"drop": None}],
            UNCLEAR,
            RuleAction.DROP,
        ),
        (
            [
                match({"fib": {"result": "type", "flags": ["daddr"]}}, {"set": ["local", "multicast"]}, "!="),
                {"drop": None},
            ],
            packets(to_local=False),
            RuleAction.DROP,
        ),
        ([match({"fib": {"result": "type", "flags": ["daddr"]}}, "multicast"), {"drop": None}], NEVER, RuleAction.DROP),
        (
            [match({"fib": {"result": "type", "flags": ["daddr"]}}, "unreachable"), {"drop": None}],
            UNCLEAR,
            RuleAction.DROP,
        ),
        ([match(field("ip", "saddr"), 5), {"drop": None}], packets(V4, unclear=True), RuleAction.DROP),
        ([match(field("ip6", "saddr"), "1.2.3.4"), {"drop": None}], packets(V6, unclear=True), RuleAction.DROP),
    ],
)
def test_statements(statements: list[Any], expected: Match, action: RuleAction) -> None:
    (rule,) = rules_of(*statements)
    assert (rule.match, rule.action) == (expected, action)


def test_what_is_not_tracked_goes_on() -> None:
    assert [rule.action for rule in rules_of({"notrack": None}, {"accept": None})] == [
        RuleAction.NOTRACK,
        RuleAction.ACCEPT,
    ]


def told(name: str, flow: Flow, blocked: bool = False) -> list[tuple[str, str, str, bool]]:
    return [
        (", ".join(map(str, each.ports)), each.location.chain, each.text, each.certain)
        for each in evaluate(read_golden(name), flow, blocked)
    ]


def test_firewalld() -> None:
    deny = ("443", "filter_IN_public_deny", "meta nfproto ipv4 udp dport 443 drop", True)
    assert told("firewalld", MEDIA) == [deny]
    assert told("firewalld", WEB) == [
        ("443", "filter_IN_public", "reject with icmpx admin-prohibited", True)
    ]  # fmt: skip
    path = told("firewalld", replace(MEDIA, family=V6, client=ip_address("2001:db8::7")), blocked=True)
    assert path == [
        ("443, 50000-60000", "filter_PREROUTING", "meta nfproto ipv6 fib saddr . mark . iif oif missing drop", False),
        ("443", "filter_IN_public", "reject with icmpx admin-prohibited", True),
    ]


def test_fail2ban_by_a_set() -> None:
    rule = "tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable"
    assert told("fail2ban", WEB) == [("22", "f2b-chain", rule, True)]
    assert told("fail2ban", replace(WEB, client=ip_address("192.0.2.8"))) == []


def test_what_iptables_made_is_in_doubt_where_nft_has_no_words() -> None:
    (found,) = evaluate(read_golden("docker"), WEB)
    assert (found.action, found.location.table, found.certain) == (RuleAction.DROP, "ip nat", False)


def test_a_chain_at_a_device_that_may_stop_packets_is_told() -> None:
    assert read_golden("many").not_evaluated == ("table netdev z, chain y (ingress)",)
    ingress = listing([{"counter": None}, {"accept": None}], hook="ingress")
    assert nftables.read(ingress).not_evaluated == ()
    assert nftables.read(ingress.replace('"prio": 0', '"prio": 0, "policy": "drop"')).not_evaluated != ()


def test_a_table_that_sleeps_is_none() -> None:
    text = listing([{"drop": None}])
    assert nftables.read(text).tables
    assert not nftables.read(text.replace('"name": "t"', '"name": "t", "flags": ["dormant"]', 1)).tables


def test_other_families_are_left_out() -> None:
    assert nftables.read(listing([{"drop": None}]).replace("inet", "bridge")).tables == ()


def test_a_map_in_every_rule_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nftables, "MAX_RULES", 100)
    vmap = {"vmap": {"key": field("tcp", "dport"), "data": {"set": [[port, {"drop": None}] for port in range(60)]}}}
    assert len(nftables.read(listing([vmap])).tables[0].chains[0].rules) == 60
    with pytest.raises(UnreadableRules):
        nftables.read(listing([vmap], [vmap]))


@pytest.mark.parametrize(
    "text",
    ["", "Error: syntax", "{}", "[]", '{"nftables": 5}', '{"nftables": [[]]}', '{"nftables": [{"rule": {}}]}',
     "[" * 10**5, '{"nftables": [{"chain": {"name": []}}]}', listing(prio="x"),
     '{"nftables": [' + "9" * 10**6, '{"nftables": [{"table": {"name": "t"}}]}',
     '{"nftables": [{"table": {"family": "ip"}}]}'],
)  # fmt: skip
def test_what_is_no_listing(text: str) -> None:
    with pytest.raises(UnreadableRules):
        nftables.read(text)


@pytest.mark.parametrize("name", ["many", "firewalld", "fail2ban", "docker"])
def test_every_rule_is_quoted_as_nft_prints_it(name: str) -> None:
    lines = [line.strip() for line in golden(f"{name}.nft").split("\n")]
    for table in read_golden(name).tables:
        for chain in table.chains:
            assert all(f"{rule.text} # handle {rule.handle}" in lines for rule in chain.rules), chain.name


def quoted(text: str, *expressions: list[Any]) -> list[str]:
    """The texts of the rules of chain `in` of `inet t`, all of handle 7, by nft's plain listing."""
    found = nftables.read(listing(*expressions), text).tables[0].chains[0].rules
    return [rule.text for rule in found]


DROP_443 = [match(field("udp", "dport"), 443), {"drop": None}]


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "Error: syntax error, unexpected list",
        "table inet t {\n\tchain in { # handle 1\n\t\tudp dport 443 drop\n\t}\n}",  # an nft without handles
        "table inet t { # handle 1\n\tchain in { # handle 1\n\t\tudp dport 443 drop # handle 8\n\t}\n}",
        "table inet t { # handle 1\n\tchain in { # handle 1\n\t\tudp dport 443 accept # handle 7\n\t}\n}",
        "table inet t { # handle 1\n\tchain in { # handle 1\n\t\tudp dport 80 drop # handle 7\n\t}\n}",
        "table inet t { # handle 1\n\tchain in { # handle 1\n\t\tudp dport 4430 drop # handle 7\n\t}\n}",
        "table inet t { # handle 1\n\tchain out { # handle 1\n\t\tudp dport 443 drop # handle 7\n\t}\n}",
        "table ip t { # handle 1\n\tchain in { # handle 1\n\t\tudp dport 443 drop # handle 7\n\t}\n}",
    ],
)
def test_a_rule_is_not_quoted_from_a_listing_that_differs(lines: str) -> None:
    assert quoted(lines, DROP_443) == ["handle 7"]


def test_a_rule_of_an_odd_shape_leaves_the_others() -> None:
    odd = [match(5, 5), {"drop": 5}]
    rules = nftables.read(listing(odd, DROP_443)).tables[0].chains[0].rules
    assert [rule.action for rule in rules] == [RuleAction.DROP, RuleAction.DROP]


def test_what_a_comment_forges_is_not_quoted() -> None:
    """A comment may have line breaks, and so whole lines of a listing."""
    body = "\t\tudp dport 443 drop # handle 7\n\t}\n}\n"
    chain = "table inet t { # handle 1\n\tchain in { # handle 1\n"
    assert quoted(chain + body, DROP_443) == ["udp dport 443 drop"]
    for forged in (
        chain + '\t\tudp dport 443 drop comment "\n' + body,
        chain + body + chain + body,
        chain + "\t\tudp dport 443 accept # handle 7\n" + body,
        chain + "\t\ttype filter hook input priority filter;\n" + body + "\t\tcomment\n" + body + chain,
    ):
        assert parse_listing(forged).get(("inet t", "in")) in (
            None,
            [(7, "udp dport 443 accept"), (7, "udp dport 443 drop")],
        ), forged


def test_texts_are_short() -> None:
    ports = list(range(1000, 2000))
    text = f"udp dport {{ {', '.join(map(str, ports))} }} drop"
    (found,) = quoted(
        f"table inet t {{ # handle 1\n\tchain in {{ # handle 2\n\t\t{text} # handle 7\n\t}}\n}}\n",
        [match(field("udp", "dport"), {"set": ports}), {"drop": None}],
    )
    assert len(found) == 300
    assert text.startswith(found[:-1])


NAMES = """match vmap op left right payload protocol field meta key ct set range prefix addr len elem val data reject
jump target drop & dnat fib flags type expr concat xt mangle limit exthdr"""
KEYS = st.sampled_from(NAMES.split())
LEAVES = st.none() | st.booleans() | st.integers(-5, 70000) | st.floats() | st.sampled_from(
    ["==", "!=", "in", "tcp", "ip", "dport", "saddr", "state", "iifname", "new", "10.0.0.0", "@s", "*", "lo", "accept"]
)  # fmt: skip
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
                     max_leaves=12)  # fmt: skip
SETS = st.builds(lambda held: ({"set": {"family": "inet", "table": "t", "name": "s", "elem": held}},), TREES)


@ANY
@given(st.text() | TREES.map(json.dumps) | TREES.map(lambda tree: json.dumps({"nftables": tree}))
       | st.builds(lambda one, sets: listing(one, sets=sets), st.lists(TREES, max_size=3), SETS)
       | st.builds(lambda left, right: listing([match(left, right), {"drop": None}]), TREES, TREES))  # fmt: skip
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = nftables.read(text)
    except UnreadableRules:
        return
    evaluate(found, MEDIA)
    evaluate(found, replace(WEB, family=V6))
