"""Read what `iptables-save` and `ip6tables-save` print, of both variants (iptables-extensions(8))."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Callable, Iterator

from ..core.address import Family
from ..core.plan import Transport
from ..core.ranges import RangeSet
from .model import Hook, RuleAction, Tool
from .ruleset import (
    ADDRESSES,
    ANYTHING,
    NEVER,
    PORTS,
    STATES,
    UNCLEAR,
    BaseChain,
    Chain,
    InterfaceNames,
    Match,
    Rule,
    Ruleset,
    Table,
    TcpFlags,
    UnreadableRules,
    intersect,
    to_local,
)

# include/uapi/linux/netfilter_ipv4.h; nat's chains that change the destination stand apart from the others.
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50, "nat": -100}
_NAT_SOURCE = 100
_HOOKS = {hook.value.upper(): hook for hook in Hook}

_TRANSPORTS = {"tcp": Transport.TCP, "6": Transport.TCP, "udp": Transport.UDP, "17": Transport.UDP}
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
        at += 1
        if option in ("-j", "-g") and not quoted and at < len(words):
            action, target = _target(option, [word for word, _ in words[at:]], chains)
            return Rule(number, text, match, action, target)
        if option == "-m" and not quoted and at < len(words):
            module = words[at][0]
            at += 1
            match = intersect(match, NEVER if module in _HEADERS else ANYTHING if module in _MODULES else UNCLEAR)
            continue
        reader = None if quoted else _BASIC.get(option) or _OPTIONS.get((module, option))
        count = 0 if option in _ALONE else 2 if option == "--tcp-flags" else 1
        if reader is None or at + count > len(words):
            match = intersect(match, UNCLEAR)
            continue
        try:
            match = intersect(match, reader([word for word, _ in words[at : at + count]], negated, family))
        except ValueError:
            match = intersect(match, UNCLEAR)
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


_Reader = Callable[["list[str]", bool, Family], Match]


def _protocol(values: list[str], negated: bool, _: Family) -> Match:
    name = values[0]
    if name in ("all", "0"):
        return NEVER if negated else ANYTHING
    named = frozenset((_TRANSPORTS[name],)) if name in _TRANSPORTS else frozenset()
    return Match(transports=frozenset(Transport) - named if negated else named)


def _networks(text: str, negated: bool, family: Family) -> RangeSet:
    network = ip_network(text, strict=False)
    if "." in text.partition("/")[2]:  # a mask with holes, which would be taken for another thing
        raise ValueError(text)
    if network.version != (4 if family is Family.IPV4 else 6):
        raise ValueError(text)
    addresses = RangeSet([(int(network[0]), int(network[-1]))])
    return ADDRESSES[family] - addresses if negated else addresses


def _names(name: str, negated: bool) -> tuple[InterfaceNames]:
    if name.endswith("+"):
        return (InterfaceNames(prefixes=(name[:-1],), negated=negated),)
    return (InterfaceNames(frozenset((name,)), negated=negated),)


def _ports(text: str, negated: bool) -> RangeSet:
    """Read a list of ports and of ranges with a colon, either end of which may be left out."""
    ranges = []
    for item in text.split(","):
        first, colon, last = item.partition(":")
        low, high = (end or default for end, default in ((first, "0"), (last if colon else first, "65535")))
        if not _NUMBER.fullmatch(low) or not _NUMBER.fullmatch(high) or not item:
            raise ValueError(item)
        ranges.append((max(1, int(low)), min(65535, int(high))))
    return PORTS - RangeSet(ranges) if negated else RangeSet(ranges)


def _destination_ports(values: list[str], negated: bool, _: Family) -> Match:
    return Match(ports=_ports(values[0], negated))


def _source_ports(values: list[str], negated: bool, _: Family) -> Match:
    return Match(source_ports=_ports(values[0], negated))


def _states(values: list[str], negated: bool, _: Family) -> Match:
    """Read states; packets that no rule has changed are never in DNAT or SNAT."""
    named = frozenset(values[0].lower().split(","))
    if named - STATES - {"dnat", "snat"}:
        raise ValueError(values[0])
    return Match(states=STATES - named if negated else STATES & named)


def _to_local(values: list[str], negated: bool, _: Family) -> Match:
    return to_local(frozenset(values[0].lower().split(",")), negated)


def _kind(values: list[str], negated: bool, _: Family) -> Match:
    if values[0] not in ("unicast", "broadcast", "multicast"):
        raise ValueError(values[0])
    return ANYTHING if (values[0] == "unicast") is not negated else NEVER


def _flags(values: list[str], negated: bool, _: Family) -> Match:
    every = frozenset(("fin", "syn", "rst", "psh", "ack", "urg"))
    mask, value = (every if text == "ALL" else frozenset(text.lower().split(",")) - {"none"} for text in values)
    if not value | mask <= every:
        raise ValueError(values[0])
    return Match(flags=(TcpFlags(mask, value, negated),))


def _syn(_: list[str], negated: bool, family: Family) -> Match:
    return _flags(["FIN,SYN,RST,ACK", "SYN"], negated, family)


_BASIC: dict[str, _Reader] = {
    "-p": _protocol,
    "-s": lambda values, negated, family: Match(family, sources=_networks(values[0], negated, family)),
    "-d": lambda values, negated, family: Match(family, destinations=_networks(values[0], negated, family)),
    "-i": lambda values, negated, _: Match(incoming=_names(values[0], negated)),
    "-o": lambda values, negated, _: Match(outgoing=_names(values[0], negated)),
    "-f": lambda _, negated, __: ANYTHING if negated else NEVER,  # a later fragment, which ours have not
}
_OPTIONS: dict[tuple[str, str], _Reader] = {
    ("tcp", "--dport"): _destination_ports,
    ("tcp", "--sport"): _source_ports,
    ("tcp", "--tcp-flags"): _flags,
    ("tcp", "--syn"): _syn,
    ("udp", "--dport"): _destination_ports,
    ("udp", "--sport"): _source_ports,
    ("multiport", "--dports"): _destination_ports,
    ("multiport", "--sports"): _source_ports,
    ("conntrack", "--ctstate"): _states,
    ("state", "--state"): _states,
    ("addrtype", "--dst-type"): _to_local,
    ("pkttype", "--pkt-type"): _kind,
    ("comment", "--comment"): lambda *_: ANYTHING,
    ("icmp", "--icmp-type"): lambda *_: ANYTHING,  # its -p leaves ours out
    ("icmp6", "--icmpv6-type"): lambda *_: ANYTHING,
}
_ALONE = frozenset(("-f", "--syn"))
# Headers that packets of WebRTC do not have, and without which these match nothing, negated or not.
_HEADERS = frozenset(("ah", "dccp", "dst", "esp", "frag", "hbh", "mh", "rt", "sctp"))
_MODULES = frozenset(module for module, _ in _OPTIONS)
