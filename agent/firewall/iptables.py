"""Read what `iptables-save` and `ip6tables-save` print, of both variants (iptables-extensions(8))."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Callable, Iterator

from ..core.address import Family
from ..core.ranges import RangeSet
from .model import (
    ADDRESSES,
    ANYTHING,
    NEVER,
    PORTS,
    UNCLEAR,
    BaseChain,
    Chain,
    Hook,
    InterfaceNames,
    Match,
    Rule,
    RuleAction,
    Ruleset,
    Table,
    Tool,
    UnreadableRules,
)

# include/uapi/linux/netfilter_ipv4.h; nat's chains that change the destination stand apart from the others.
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50, "nat": -100}
_NAT_SOURCE = 100
_HOOKS = {hook.value.upper(): hook for hook in Hook}

_VERDICTS = {name: RuleAction[name] for name in ("ACCEPT", "DROP", "NOTRACK", "REJECT", "RETURN")}
_VERDICTS.update(DNAT=RuleAction.REDIRECT, TPROXY=RuleAction.REDIRECT)
# Targets after which the next rule comes, and those that change the source alone, in chains that answers do not see.
_HARMLESS = frozenset((
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "DSCP", "ECN", "HL", "HMARK", "IDLETIMER", "LED", "LOG",
    "MARK", "MASQUERADE", "NFLOG", "RATEEST", "SECMARK", "SET", "SNAT", "TCPMSS", "TCPOPTSTRIP", "TEE", "TOS", "TRACE",
    "TTL", "ULOG",
))  # fmt: skip

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"(?=\s|$)|(\S+)')
_NUMBER = re.compile(r"[0-9]{1,5}")
_COUNTERS = re.compile(r"\[[0-9]+:[0-9]+\] ")


def read(text: str, family: Family, tool: Tool = Tool.IPTABLES) -> Ruleset:
    """Return the tables of a listing; raise UnreadableRules where it is none."""
    tables = []
    lines = iter(text.split("\n"))
    for line in lines:
        if line.startswith("*"):
            tables.append(_table(line[1:].strip(), lines, family, tool))
        elif line.strip() and not line.startswith("#"):
            raise UnreadableRules("a line outside any table")
    return Ruleset(tuple(tables))


def _table(name: str, lines: Iterator[str], family: Family, tool: Tool) -> Table:
    policies: dict[str, str] = {}
    rules: dict[str, list[Rule]] = {}
    for line in lines:
        if line == "COMMIT":
            chains = tuple(Chain(chain, tuple(rules[chain]), _base(name, chain, policies[chain])) for chain in rules)
            return Table(tool, name, (family,), chains)
        if line.startswith(":"):
            chain, _, rest = line[1:].partition(" ")
            policies[chain], rules[chain] = rest.partition(" ")[0], []
        elif line.strip() and not line.startswith("#"):
            counters = _COUNTERS.match(line)
            line = line[counters.end() :] if counters else line
            words = _words(line)
            if len(words) < 2 or words[0] != ("-A", False) or words[1][0] not in rules:
                raise UnreadableRules("a line that is no rule of a chain")
            chain = words[1][0]
            rules[chain].append(_rule(len(rules[chain]) + 1, line, words[2:], family, rules))
    raise UnreadableRules("a table without an end")


def _base(table: str, chain: str, policy: str) -> BaseChain | None:
    hook = _HOOKS.get(chain)
    if policy == "-" or hook is None or table not in _PRIORITIES:
        return None
    nat = table == "nat"
    priority = _NAT_SOURCE if nat and hook in (Hook.INPUT, Hook.POSTROUTING) else _PRIORITIES[table]
    return BaseChain(hook, priority, policy == "DROP", nat)


def _words(line: str) -> list[tuple[str, bool]]:
    """Return the words of a line, and whether each is quoted: then it is never an option."""
    return [(re.sub(r"\\(.)", r"\1", token[1]), True) if token[1] is not None else (token[2], False)
            for token in _TOKEN.finditer(line)]  # fmt: skip


def _rule(number: int, text: str, words: list[tuple[str, bool]], family: Family, chains: dict[str, list[Rule]]) -> Rule:
    match, module, at = ANYTHING, "", 0
    while at < len(words):
        negated = words[at] == ("!", False) and at + 1 < len(words)
        at += negated
        option, quoted = words[at]
        option = "" if quoted else option
        at += 1
        values = [word for word, _ in words[at : at + 2]]
        if option in ("-j", "-g") and values:
            return Rule(number, text, match, *_target(option, [word for word, _ in words[at:]], chains))
        if option == "-m" and values:
            module = values[0]
            at += 1
            match &= NEVER if module in _HEADERS else ANYTHING if module in _MODULES else UNCLEAR
            continue
        reader = _BASIC.get(option) or _OPTIONS.get((module, option))
        count = 0 if option in _ALONE else 2 if option == "--tcp-flags" else 1
        if reader is None or len(values) < count:
            match &= UNCLEAR
            continue
        try:
            match &= reader(values[:count], negated, family)
        except ValueError:
            match &= UNCLEAR
        at += count
    return Rule(number, text, match)


def _target(option: str, words: list[str], chains: dict[str, list[Rule]]) -> tuple[RuleAction, str]:
    name = words[0]
    if name in chains:
        return (RuleAction.GOTO if option == "-g" else RuleAction.JUMP), name
    if name == "REDIRECT":  # without another port the packet comes where it was going
        return (RuleAction.REDIRECT if "--to-ports" in words else RuleAction.ACCEPT), ""
    if name == "CT":
        return (RuleAction.NOTRACK if "--notrack" in words or "--zone" in words else RuleAction.CONTINUE), ""
    return (RuleAction.CONTINUE if name in _HARMLESS else _VERDICTS.get(name, RuleAction.UNKNOWN)), ""


def _protocol(values: list[str], negated: bool, family: Family) -> Match:
    if values[0] in ("all", "0"):
        return NEVER if negated else ANYTHING
    return Match.of_transports(values, negated)


def _networks(values: list[str], negated: bool, family: Family) -> RangeSet:
    network = ip_network(values[0], strict=False)
    if "." in values[0].partition("/")[2]:  # a mask with holes, which would be taken for another thing
        raise ValueError(values[0])
    if network.version != (4 if family is Family.IPV4 else 6):
        raise ValueError(values[0])
    addresses = RangeSet([(int(network[0]), int(network[-1]))])
    return ADDRESSES[family] - addresses if negated else addresses


def _ports(values: list[str], negated: bool) -> RangeSet:
    """Read a list of ports and of ranges with a colon, either end of which may be left out."""
    ranges = []
    for item in values[0].split(","):
        first, colon, last = item.partition(":")
        low, high = first or "0", (last if colon else first) or "65535"
        if not _NUMBER.fullmatch(low) or not _NUMBER.fullmatch(high) or not item:
            raise ValueError(item)
        ranges.append((max(1, int(low)), min(65535, int(high))))
    return PORTS - RangeSet(ranges) if negated else RangeSet(ranges)


def _destination_ports(values: list[str], negated: bool, family: Family) -> Match:
    return Match(ports=_ports(values, negated))


def _source_ports(values: list[str], negated: bool, family: Family) -> Match:
    return Match(source_ports=_ports(values, negated))


def _flags(values: list[str], negated: bool, family: Family = Family.IPV4) -> Match:
    mask, value = (_listed(text.replace("ALL", "fin,syn,rst,psh,ack,urg")) - {"none"} for text in values)
    return Match.of_flags(mask, value, negated)


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.lower().split(","))


_BASIC: dict[str, Callable[[list[str], bool, Family], Match]] = {
    "-p": _protocol,
    "-s": lambda values, negated, family: Match(family, sources=_networks(values, negated, family)),
    "-d": lambda values, negated, family: Match(family, destinations=_networks(values, negated, family)),
    "-i": lambda values, negated, _: Match(incoming=(InterfaceNames.of(values, "+", negated),)),
    "-o": lambda values, negated, _: Match(outgoing=(InterfaceNames.of(values, "+", negated),)),
    "-f": lambda _, negated, __: ANYTHING if negated else NEVER,  # a later fragment, which ours have not
}
_OPTIONS: dict[tuple[str, str], Callable[[list[str], bool, Family], Match]] = {
    ("tcp", "--dport"): _destination_ports,
    ("tcp", "--sport"): _source_ports,
    ("tcp", "--tcp-flags"): _flags,
    ("tcp", "--syn"): lambda _, negated, __: _flags(["FIN,SYN,RST,ACK", "SYN"], negated),
    ("udp", "--dport"): _destination_ports,
    ("udp", "--sport"): _source_ports,
    ("multiport", "--dports"): _destination_ports,
    ("multiport", "--sports"): _source_ports,
    # In two of its states packets that no rule has changed never are.
    ("conntrack", "--ctstate"): lambda values, negated, _: Match.of_states(
        _listed(values[0]) - {"dnat", "snat"}, negated
    ),
    ("state", "--state"): lambda values, negated, _: Match.of_states(_listed(values[0]), negated),
    ("addrtype", "--dst-type"): lambda values, negated, _: Match.of_destinations(_listed(values[0]), negated),
    ("pkttype", "--pkt-type"): lambda values, negated, _: Match.of_packets(frozenset(values), negated),
    ("comment", "--comment"): lambda *_: ANYTHING,
    ("icmp", "--icmp-type"): lambda *_: ANYTHING,  # its -p leaves ours out
    ("icmp6", "--icmpv6-type"): lambda *_: ANYTHING,
}
_ALONE = frozenset(("-f", "--syn"))
# Headers that packets of WebRTC do not have, and without which these match nothing, negated or not.
_HEADERS = frozenset(("ah", "dccp", "dst", "esp", "frag", "hbh", "mh", "rt", "sctp"))
_MODULES = frozenset(module for module, _ in _OPTIONS)
