"""iptables' listings: goldens of both variants, lines by hand, and any text."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import Family
from agent.core.plan import Transport
from agent.core.ports import PortRange
from agent.firewall import iptables
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
    TcpFlags,
    Tool,
    UnreadableRules,
)
from tests.core.values import ANY
from tests.firewall.goldens import golden
from tests.firewall.values import packets

# Limits, by their numbers: who changes one changes it here too.
HIGHEST = 65_535

V4, V6 = Family.IPV4, Family.IPV6
TCP, UDP = frozenset((Transport.TCP,)), frozenset((Transport.UDP,))
MEDIA = Flow(Transport.UDP, V4, (PortRange(443, 443), PortRange(50000, 60000)), ip_address("192.0.2.7"), None, "eth0")
WEB = replace(MEDIA, transport=Transport.TCP, ports=tuple(PortRange(port, port) for port in (80, 443, 1935)))


def rule_of(words: str, family: Family = V4) -> Rule:
    text = f"*filter\n:INPUT ACCEPT [0:0]\n:USER - [0:0]\n-A INPUT {words}\nCOMMIT\n"
    (table,) = iptables.read(text, family).tables
    (rule,) = table.chains[0].rules
    assert (rule.number, rule.text) == (1, f"-A INPUT {words}")
    return rule


def net(first: str, last: str) -> tuple[tuple[int, int]]:
    return ((int(ip_address(first)), int(ip_address(last))),)


def test_both_variants_say_the_same() -> None:
    found = {variant: iptables.read(golden(f"many.iptables-{variant}"), V4) for variant in ("nft", "legacy")}
    one, other = ({table.name: table for table in rules.tables} for rules in found.values())
    assert one == other
    filter_table = one["filter"]
    assert (filter_table.tool, filter_table.families) == (Tool.IPTABLES, (V4,))
    chains = {chain.name: chain for chain in filter_table.chains}
    assert {name: len(chain.rules) for name, chain in chains.items()} == {
        "INPUT": 10, "FORWARD": 0, "OUTPUT": 0, "USER": 3,
    }  # fmt: skip
    assert (chains["INPUT"].base, chains["USER"].base) == (BaseChain(Hook.INPUT, 0, policy_drops=True), None)
    assert chains["FORWARD"].base is None
    nat = {chain.name: chain.base for chain in one["nat"].chains}
    assert nat["PREROUTING"] == BaseChain(Hook.PREROUTING, -100, nat=True)
    assert nat["POSTROUTING"] == BaseChain(Hook.POSTROUTING, 100, nat=True)
    assert [one[name].chains[0].base for name in ("raw", "mangle")] == [
        BaseChain(Hook.PREROUTING, -300), BaseChain(Hook.PREROUTING, -150),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("-p udp -m udp --dport 50000:60000", packets(transports=UDP, ports=((50000, 60000),))),
        ("-p udp -m udp ! --dport 50000:60000", packets(transports=UDP, ports=((1, 49999), (60001, HIGHEST)))),
        ("-p udp -m udp --sport 1024:65535", packets(transports=UDP, source_ports=((1024, HIGHEST),))),
        ("-p tcp -m tcp --dport :1023", packets(transports=TCP, ports=((1, 1023),))),
        ("-p tcp -m multiport --dports 80,443,7000:7010",
         packets(transports=TCP, ports=((80, 80), (443, 443), (7000, 7010)))),
        ("-p tcp -m multiport ! --sports 1:65535", packets(transports=TCP, source_ports=())),
        ("-p tcp -m multiport --ports 80", packets(transports=TCP, unclear=True)),
        ("! -p tcp", packets(transports=UDP)),
        ("-p 17", packets(transports=UDP)),
        ("-p icmp -m icmp --icmp-type 8", NEVER),
        ("-p all", ANYTHING),
        ("! -p all", NEVER),
        ("-s 10.0.0.0/8", packets(V4, sources=net("10.0.0.0", "10.255.255.255"))),
        ("-d 10.0.0.0/255.0.255.0", UNCLEAR),
        ("-s 10.0.0.0/0.0.0.255", UNCLEAR),
        ("-s 10.0.0.0/33", UNCLEAR),
        ("-s ::1/128", UNCLEAR),
        ("! -d 128.0.0.0/1", packets(V4, destinations=net("0.0.0.0", "127.255.255.255"))),
        ("-i lo", packets(incoming=(InterfaceNames(frozenset(("lo",))),))),
        ("! -i eth+", packets(incoming=(InterfaceNames(prefixes=("eth",), negated=True),))),
        ("-o +", packets(outgoing=(InterfaceNames(prefixes=("",)),))),
        ("-f", NEVER),
        ("! -f", ANYTHING),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", packets(states=frozenset(("related", "established")))),
        ("-m conntrack ! --ctstate NEW", packets(states=STATES - {"new"})),
        ("-m conntrack --ctstate DNAT", packets(states=frozenset())),
        ("-m conntrack --ctstate ODD", UNCLEAR),
        ("-m conntrack --ctstate NEW,ODD", UNCLEAR),
        ("-m state --state DNAT", UNCLEAR),
        ("-m conntrack --ctdir REPLY", UNCLEAR),
        ("-m state --state NEW", packets(states=frozenset(("new",)))),
        ("-m addrtype --dst-type LOCAL", packets(to_local=True)),
        ("-m addrtype ! --dst-type LOCAL", packets(to_local=False)),
        ("-m addrtype --dst-type MULTICAST", NEVER),
        ("-m addrtype ! --dst-type MULTICAST", ANYTHING),
        ("-m addrtype --dst-type BLACKHOLE", UNCLEAR),
        ("-m addrtype --dst-type LOCAL,UNICAST", UNCLEAR),
        ("-m addrtype --src-type LOCAL", UNCLEAR),
        ("-m pkttype --pkt-type unicast", ANYTHING),
        ("-m pkttype --pkt-type broadcast", NEVER),
        ("-m pkttype --pkt-type odd", UNCLEAR),
        ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", packets(transports=TCP, flags=(
            TcpFlags(frozenset(("fin", "syn", "rst", "ack")), frozenset(("syn",)), True),))),
        ("-p tcp -m tcp --syn", packets(transports=TCP, flags=(
            TcpFlags(frozenset(("fin", "syn", "rst", "ack")), frozenset(("syn",))),))),
        ("-p tcp -m tcp --tcp-flags ALL NONE", packets(transports=TCP, flags=(
            TcpFlags(frozenset(("fin", "syn", "rst", "psh", "ack", "urg")), frozenset()),))),
        ("-p tcp -m tcp --tcp-flags ODD SYN", packets(transports=TCP, unclear=True)),
        ("-p tcp -m tcp --dport http", packets(transports=TCP, unclear=True)),
        ("-p tcp -m tcp --dport 80,", packets(transports=TCP, unclear=True)),
        ("-m rt --rt-type 0", replace(NEVER, unclear=True)),
        ("-m limit --limit 3/min", UNCLEAR),
        ("-m recent --update --name x --dport 5", UNCLEAR),  # another module's option
        ("--dport 5", UNCLEAR),
        ('-m string --string "-p" icmp', UNCLEAR),  # what is quoted is no option
        ('-m string --string "-j" ACCEPT', UNCLEAR),
        ('-m comment --comment "-j DROP"', ANYTHING),
        ('-m comment --comment "a \\"b\\" -p tcp"', ANYTHING),
        ("-m comment --comment x", ANYTHING),
    ],
)  # fmt: skip
def test_conditions(words: str, match: Match) -> None:
    assert rule_of(f"{words} -j DROP") == Rule(1, f"-A INPUT {words} -j DROP", match, RuleAction.DROP)


@pytest.mark.parametrize(
    ("words", "action"),
    [
        ("-j ACCEPT", RuleAction.ACCEPT),
        ("-j DROP", RuleAction.DROP),
        ("-j REJECT --reject-with icmp-host-prohibited", RuleAction.REJECT),
        ("-j RETURN", RuleAction.RETURN),
        ("-j DNAT --to-destination 10.0.0.2:80", RuleAction.REDIRECT),
        ("-j REDIRECT --to-ports 8080", RuleAction.REDIRECT),
        ("-j REDIRECT", RuleAction.ACCEPT),
        ("-j CT --notrack", RuleAction.NOTRACK),
        ("-j CT --helper ftp", RuleAction.CONTINUE),
        ('-j LOG --log-prefix "[UFW BLOCK] "', RuleAction.CONTINUE),
        ("-j MASQUERADE", RuleAction.CONTINUE),
        ("-j NFQUEUE --queue-num 1", RuleAction.UNKNOWN),
        ("-j SOMETHING", RuleAction.UNKNOWN),
        ("-m comment --comment nothing", RuleAction.CONTINUE),
    ],
)
def test_targets(words: str, action: RuleAction) -> None:
    assert (rule_of(words).action, rule_of(words).target) == (action, "")


def test_an_option_without_its_value_is_unclear() -> None:
    assert rule_of("-p tcp -m multiport --dports").match == packets(transports=TCP, unclear=True)


def test_chains_are_jumped_to_or_gone_to() -> None:
    assert (rule_of("-j USER").action, rule_of("-j USER").target) == (RuleAction.JUMP, "USER")
    assert (rule_of("-g USER").action, rule_of("-g USER").target) == (RuleAction.GOTO, "USER")


def test_counters_are_no_part_of_a_rule() -> None:
    text = "*filter\n:INPUT DROP [7:420]\n[12:34] -A INPUT -j ACCEPT\nCOMMIT\n"
    assert iptables.read(text, V4).tables[0].chains[0].rules[0].text == "-A INPUT -j ACCEPT"


def told(name: str, flow: Flow, blocked: bool = False) -> list[tuple[str, str, int | None, str, bool]]:
    found = evaluate(iptables.read(golden(name), flow.family), flow, blocked)
    return [(", ".join(map(str, each.ports)), each.location.chain, each.location.number, each.text, each.certain)
            for each in found]  # fmt: skip


def test_oracles_reject_comes_before_ufws_chains() -> None:
    reject = "-A INPUT -j REJECT --reject-with icmp-host-prohibited"
    assert told("oracle-ufw.iptables", MEDIA) == [("443, 50000-60000", "INPUT", 5, reject, True)]
    assert told("oracle-ufw.iptables", WEB) == [("80, 443, 1935", "INPUT", 5, reject, True)]


def test_ufw() -> None:
    denied = ("443", "ufw-user-input", 7, "-A ufw-user-input -p udp -m udp --dport 443 -j DROP", True)
    assert told("ufw.iptables", MEDIA) == [denied]
    rejected = "-A ufw-user-input -p tcp -m tcp --dport 1935 -j REJECT --reject-with tcp-reset"
    assert told("ufw.iptables", WEB) == [
        ("1935", "ufw-user-input", 8, rejected, True),
        ("443", "INPUT", None, "-P INPUT DROP", True),
    ]
    v6 = replace(MEDIA, family=V6, client=ip_address("2001:db8::7"))
    assert told("ufw.ip6tables", v6) == [
        ("443", "ufw6-user-input", 7, "-A ufw6-user-input -p udp -m udp --dport 443 -j DROP", True)
    ]


def test_ufws_limit_may_be_what_rejects() -> None:
    limited = replace(WEB, ports=(PortRange(7881, 7881),))
    ((_, chain, number, _, sure),) = told("ufw.iptables", limited, blocked=True)
    assert (chain, number, sure) == ("ufw-user-limit", 2, False)


def test_docker_forwards_what_it_publishes() -> None:
    (found,) = evaluate(iptables.read(golden("docker.iptables"), V4), WEB)
    assert (found.action, found.hook, found.location.path, found.location.number, found.certain) == (
        RuleAction.REDIRECT, Hook.PREROUTING, ("PREROUTING", "DOCKER"), 2, True,
    )  # fmt: skip
    assert not evaluate(iptables.read(golden("docker.iptables"), V4), MEDIA)


def test_fail2ban_bans_one_client() -> None:
    banned = ("80, 443, 1935", "f2b-sshd", 1, "-A f2b-sshd -s 192.0.2.7/32 -j REJECT "
              "--reject-with icmp-port-unreachable")  # fmt: skip
    assert told("fail2ban.iptables", WEB) == [(*banned, True)]
    assert told("fail2ban.iptables", replace(WEB, client=ip_address("192.0.2.8"))) == []
    assert told("fail2ban.iptables", replace(WEB, client=None)) == [(*banned, False)]


@pytest.mark.parametrize(
    "text", ["no such option", "*filter\n", "*filter\n-A INPUT -j DROP\nCOMMIT", "*filter\nnoise\nCOMMIT", "COMMIT"]
)
def test_what_is_no_listing(text: str) -> None:
    with pytest.raises(UnreadableRules):
        iptables.read(text, V4)


def test_50000_lines() -> None:
    rules = "\n".join(f"-A INPUT -p udp -m udp --dport {port} -m comment --comment \"no {port}\" -j DROP"
                      for port in range(10000, 60000))  # fmt: skip
    found = evaluate(iptables.read(f"*filter\n:INPUT ACCEPT [0:0]\n{rules}\nCOMMIT\n", V4), MEDIA)
    assert [each.location.number for each in found] == list(range(40001, 50001))


NAMES = "-A -p -s -d -i -m -j -g ! INPUT USER tcp udp 10.0.0.0/8 ::/0 lo multiport --dports 1:2 --tcp-flags DROP"
WORDS = st.sampled_from(re.split(" ", NAMES)) | st.sampled_from(["80", "ALL", "COMMIT", '"a b"', '"', "*filter"])
LINES = st.lists(WORDS | st.text(max_size=4), max_size=9).map(" ".join)
RULES = LINES.map(lambda line: f"*filter\n:INPUT DROP [0:0]\n:USER - [0:0]\n-A INPUT {line}\nCOMMIT\n")


@ANY
@given(st.text() | st.lists(LINES, max_size=6).map("\n".join) | RULES, st.sampled_from(Family))
def test_any_text_is_read_or_refused(text: str, family: Family) -> None:
    try:
        found = iptables.read(text, family)
    except UnreadableRules:
        return
    evaluate(found, replace(MEDIA, family=family))
