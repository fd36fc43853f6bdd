"""Reads what `nft -j list ruleset` prints (libnftables-json(5), nft(8)). What is not understood is never guessed."""

from __future__ import annotations

import json
from collections import defaultdict
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import islice
from typing import Any, Callable, Iterator, Tuple

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import HIGHEST
from ..core.ranges import RangeSet
from .model import Hook, RuleAction, Tool
from .nft_text import Listing, parse_listing, rule_texts
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
    both,
    to_local,
)

_FAMILIES = {"ip": (Family.IPV4,), "ip6": (Family.IPV6,), "inet": tuple(Family)}
_HOOKS = {hook.value: hook for hook in Hook}
_TRANSPORTS = {"tcp": Transport.TCP, 6: Transport.TCP, "udp": Transport.UDP, 17: Transport.UDP}
# Protocols beside TCP and UDP that a rule's payload may be of.
_OTHERS = frozenset(("ah", "comp", "dccp", "esp", "icmp", "icmpv6", "igmp", "sctp", "udplite", "arp"))
_FAMILY_WORDS = {"ip": Family.IPV4, "ipv4": Family.IPV4, 2: Family.IPV4, "ip6": Family.IPV6, "ipv6": Family.IPV6,
                 10: Family.IPV6}  # fmt: skip
_TCP_FLAGS = frozenset(("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"))

_VERDICTS = {
    name: RuleAction(name) for name in ("accept", "continue", "drop", "goto", "jump", "notrack", "reject", "return")
}
_VERDICTS.update(dnat=RuleAction.REDIRECT, tproxy=RuleAction.REDIRECT)
# Statements after which a rule goes on; snat and masquerade stand in chains that answers do not see.
_HARMLESS = frozenset(("counter", "log", "comment", "snat", "masquerade", "flow", "ct helper", "ct timeout",
                       "ct expectation", "secmark", "dup", "last"))  # fmt: skip

# What a reader stumbles over where JSON is not of the shape that it expects.
_STUMBLES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
# Verdict maps are rules for each of their entries; ten times the longest rule set that is planned for.
MAX_RULES = 500_000

_Where = Tuple[str, str]  # a table's family and name


def read(text: str, quotes: str = "") -> Ruleset:
    """Return the tables of a listing in JSON; raise UnreadableRules where it is none.

    `quotes` is nft's plain listing of the same rules: they are quoted from it where the two agree.
    """
    try:
        items = json.loads(text, parse_int=_integer)["nftables"]
        return _ruleset([pair for item in items for pair in item.items()], parse_listing(quotes))
    except _STUMBLES as error:
        raise UnreadableRules("no listing of rules in JSON") from error


def _integer(digits: str) -> int:
    """Of 64 bits at most; older Pythons take minutes for millions of digits."""
    if len(digits) > 20:
        raise ValueError(digits[:20])
    return int(digits)


# Of tables (libnftables-json(5)). Some versions print others than there are, and a dormant table decides nothing.
_FLAGS = frozenset(("dormant", "owner", "persist"))


def _ruleset(items: list[tuple[str, dict[str, Any]]], listing: Listing) -> Ruleset:
    asleep, chains, ahead = set(), {}, []
    rules: dict[tuple[_Where, str], list[dict[str, Any]]] = defaultdict(list)
    sets: dict[_Where, dict[str, Any]] = defaultdict(dict)
    for kind, item in items:
        where = (item.get("family", ""), item.get("table", ""))
        if kind == "table":
            flags = item.get("flags") or []
            flags = frozenset(flags if isinstance(flags, list) else [flags])
            if "dormant" in flags:
                asleep.add((item["family"], item["name"]))
            elif flags - _FLAGS:
                ahead.append(f"table {item['family']} {item['name']}")
        elif kind in ("set", "map"):
            sets[where][item["name"]] = item.get("elem", [])
        elif kind == "chain":
            chains[where, item["name"]] = item
        elif kind == "rule":
            rules[where, item["chain"]].append(item)
    awake = {key: item for key, item in chains.items() if key[0] not in asleep}
    readers = {where: _Reader(sets[where]) for where, _ in awake}
    tables: dict[_Where, list[Chain]] = defaultdict(list)
    left = MAX_RULES
    for (where, name), item in awake.items():
        if item.get("hook") == "ingress" and where[0] in ("netdev", "inet"):
            if item.get("policy") == "drop" or any(_may_stop(rule) for rule in rules[where, name]):
                ahead.append(f"table {where[0]} {where[1]}, chain {name} (ingress)")
        elif where[0] in _FAMILIES:
            listed = rules[where, name]
            texts = rule_texts(listed, listing.get((" ".join(where), name)))
            numbered = enumerate(zip(listed, texts), 1)
            every = (rule for number, pair in numbered for rule in readers[where].rules(number, *pair))
            found = tuple(islice(every, left + 1))
            left -= len(found)
            if left < 0:
                raise ValueError("more rules than are followed")
            tables[where].append(Chain(name, found, _base(item)))
    return Ruleset(
        tuple(Table(Tool.NFT, " ".join(where), _FAMILIES[where[0]], tuple(found)) for where, found in tables.items()),
        tuple(ahead),
    )


def _may_stop(rule: dict[str, Any]) -> bool:
    return any(name not in _HARMLESS | {"accept", "match"} for statement in rule["expr"] for name in statement)


def _base(chain: dict[str, Any]) -> BaseChain | None:
    hook = _HOOKS.get(chain.get("hook", ""))
    return (
        None
        if hook is None
        else BaseChain(hook, int(chain.get("prio", 0)), chain.get("policy") == "drop", chain.get("type") == "nat")
    )


class _Reader:
    """Reads the rules of one table, whose named sets and maps it knows."""

    def __init__(self, sets: dict[str, Any]) -> None:
        self._sets = sets
        self._read: dict[str, Match] = {}  # by a named set: it may have many entries, and many rules

    def rules(self, number: int, rule: dict[str, Any], text: str) -> list[Rule]:
        """What one rule action, and one for each entry of a verdict map."""
        try:
            return list(self._rules(number, rule, text))
        except _STUMBLES:
            return [Rule(number, text, UNCLEAR, RuleAction.UNKNOWN)]

    def _rules(self, number: int, rule: dict[str, Any], text: str) -> Iterator[Rule]:
        match, handle, unknown = ANYTHING, rule.get("handle"), False
        handle = handle if isinstance(handle, int) else None
        for statement in rule["expr"]:
            ((name, value),) = statement.items()
            if name == "match":
                match = both(match, self._match(value))
            elif name == "vmap":
                for key, action, target in self._map(value):
                    yield Rule(number, text, both(match, key), action, target, handle)
                return
            elif name in _VERDICTS or name == "redirect":
                action, met = _verdict(name, value)
                target = value["target"] if action in (RuleAction.JUMP, RuleAction.GOTO) else ""
                yield Rule(number, text, both(match, met), action, target, handle)
                if action is not RuleAction.NOTRACK:
                    return
            elif name == "mangle" and ("meta" in value["key"] or "ct" in value["key"]):
                continue
            elif name not in _HARMLESS:
                match = both(match, UNCLEAR)
                known = name in _CONDITIONS or (name == "xt" and value and value.get("type") == "match")
                unknown = unknown or not known
        yield Rule(number, text, match, RuleAction.UNKNOWN if unknown else RuleAction.CONTINUE, "", handle)

    def _map(self, value: dict[str, Any]) -> list[tuple[Match, RuleAction, str]]:
        try:
            data, found = value["data"], []
            entries = self._sets[data[1:]] if isinstance(data, str) else data["set"]
            for key, verdict in entries:
                ((name, inner),) = verdict.items()
                action = _VERDICTS[name]
                if key == "*":  # all that has no entry
                    raise ValueError(key)
                found.append((_condition(value["key"], "==", [_bare(key)]), action, inner["target"] if inner else ""))
        except _STUMBLES:
            return [(UNCLEAR, RuleAction.UNKNOWN, "")]
        return found

    def _match(self, value: dict[str, Any]) -> Match:
        try:
            left, op, right = value["left"], value["op"], value["right"]
            if not isinstance(right, str) or not right.startswith("@"):
                return _condition(left, op, _entries(right))
            key = f"{right} {op} {left}"
            if key not in self._read:
                self._read[key] = _condition(left, op, _entries({"set": self._sets[right[1:]]}))
            return self._read[key]
        except _STUMBLES:
            return _kind(value)


def _verdict(name: str, value: Any) -> tuple[RuleAction, Match]:
    """What a rule action, and the conditions that nft leaves out because they follow from it."""
    if name == "redirect":  # without another port the packet comes where it was going
        value = value or {}
        return (RuleAction.REDIRECT if "port" in value else RuleAction.ACCEPT), UNCLEAR if "map" in str(
            value
        ) else ANYTHING
    if name == "dnat":
        match = Match(next(iter(_FAMILIES.get(value.get("family"), ())), None), unclear="map" in str(value))
        return RuleAction.REDIRECT, match
    kind = value.get("type", "") if name == "reject" and value else ""
    if kind == "tcp reset":
        return RuleAction.REJECT, Match(transports=frozenset((Transport.TCP,)))
    return _VERDICTS[name], Match({"icmp": Family.IPV4, "icmpv6": Family.IPV6}.get(kind))


def _kind(value: Any) -> Match:
    """What is known of a condition that is not understood: the protocol of its field."""
    try:
        protocol = value["left"]["payload"]["protocol"]
        return both(_protocol(protocol), UNCLEAR)
    except _STUMBLES:
        return UNCLEAR


def _protocol(name: str) -> Match:
    if name in _OTHERS:
        return NEVER
    if name in ("ip", "ip6"):
        return Match(_FAMILY_WORDS[name])
    return Match(transports=frozenset((_TRANSPORTS[name],))) if name in _TRANSPORTS else ANYTHING


def _bare(entry: Any) -> Any:
    """An entry of a set without what is said of it: a time that it has left, a comment."""
    return entry["elem"]["val"] if isinstance(entry, dict) and "elem" in entry else entry


def _entries(right: Any) -> list[Any]:
    if isinstance(right, dict) and "set" in right:
        held = right["set"]
        return [_bare(entry) for entry in held] if isinstance(held, list) else [held]
    return right if isinstance(right, list) else [right]


def _condition(left: dict[str, Any], op: str, entries: list[Any]) -> Match:
    """A condition that is understood; one of _STUMBLES where it is not."""
    ((kind, of),) = left.items()
    negated = _NEGATED.get(op)
    if kind == "&" or left == _FLAGS_FIELD:
        return _tcp_flags(left, op, entries)
    if kind == "payload":
        return _payload(of["protocol"], of["field"], op, entries)
    if kind == "exthdr" and "field" in of:  # an extension header of IPv6, which ours have not
        return NEVER
    if negated is None:
        raise ValueError(op)
    if kind == "meta":
        return _meta(of["key"], entries, negated)
    if left == {"ct": {"key": "state"}}:
        named = frozenset(entries)
        if named - STATES:
            raise ValueError(op)
        return Match(states=STATES - named if negated else named)
    if left == {"ct": {"key": "status"}} and entries in (["dnat"], ["snat"]):
        return ANYTHING if negated else NEVER  # of packets that no rule has changed
    if left == {"fib": {"result": "type", "flags": ["daddr"]}}:
        return to_local(frozenset(entries), negated)
    raise ValueError(kind)


def _tcp_flags(left: dict[str, Any], op: str, entries: list[Any]) -> Match:
    negated = _NEGATED.get(op)
    if "&" in left:
        (field, mask) = left["&"]
        if field != _FLAGS_FIELD or negated is None:
            raise ValueError(op)
        return _flags(mask if isinstance(mask, list) else [mask], entries, negated)
    if op == "!":
        return _flags(entries, [], False)
    if op not in ("==", "!=") or len(entries) != 1:  # several are either all of them, or each by itself
        raise ValueError(op)
    return _flags(list(_TCP_FLAGS), entries, negated is True)


def _payload(protocol: str, field: str, op: str, entries: list[Any]) -> Match:
    if protocol in _OTHERS:
        return NEVER
    met, negated = _protocol(protocol), _NEGATED.get(op)
    if field in ("sport", "dport"):
        spans = _spans(op, entries, PORTS, _port)
        return both(met, Match(ports=spans) if field == "dport" else Match(source_ports=spans))
    if met.family is not None and field in ("saddr", "daddr"):
        family = met.family
        spans = _spans(op, entries, ADDRESSES[family], lambda text: _address(text, family))
        return Match(family, sources=spans) if field == "saddr" else Match(family, destinations=spans)
    if (protocol, field) in (("ip", "protocol"), ("ip6", "nexthdr")) and negated is not None:
        return both(met, _transports(entries, negated))
    raise ValueError(field)


def _meta(key: str, entries: list[Any], negated: bool) -> Match:
    if key == "l4proto":
        return _transports(entries, negated)
    if key in ("nfproto", "protocol"):
        named = {_FAMILY_WORDS[entry] for entry in entries if entry not in ("arp", "vlan")}
        families = set(Family) - named if negated else named
        return ANYTHING if len(families) == 2 else Match(families.pop()) if families else NEVER
    if key in ("iifname", "iif"):
        return Match(incoming=(_names(entries, negated),))
    if key in ("oifname", "oif"):
        return Match(outgoing=(_names(entries, negated),))
    if key == "pkttype" and set(entries) <= {"host", "unicast", "broadcast", "multicast", "other"}:
        return ANYTHING if bool({"host", "unicast"} & set(entries)) is not negated else NEVER
    raise ValueError(key)


def _transports(entries: list[Any], negated: bool) -> Match:
    if not all(isinstance(entry, (str, int)) for entry in entries):
        raise ValueError("a range of protocols")
    named = frozenset(_TRANSPORTS[entry] for entry in entries if entry in _TRANSPORTS)
    return Match(transports=frozenset(Transport) - named if negated else named)


def _names(entries: list[str], negated: bool) -> InterfaceNames:
    if any("\\" in entry for entry in entries):  # a star that is part of a name
        raise ValueError("an odd name")
    return InterfaceNames(frozenset(entry for entry in entries if not entry.endswith("*")),
                 tuple(entry[:-1] for entry in entries if entry.endswith("*")), negated)  # fmt: skip


def _flags(mask: list[str], value: list[str], negated: bool) -> Match:
    masked, wanted = frozenset(mask), frozenset(value) - {0}
    if not masked | wanted <= _TCP_FLAGS:
        raise ValueError("other flags")
    flags = TcpFlags(masked, frozenset(map(str, wanted)), negated)
    return Match(transports=frozenset((Transport.TCP,)), flags=(flags,))


def _spans(op: str, entries: list[Any], whole: RangeSet, read_one: Callable[[Any], int]) -> RangeSet:
    ((low, high),) = whole.ranges
    found = []
    for entry in entries:
        if not isinstance(entry, dict):
            found.append((read_one(entry), read_one(entry)))
        elif "prefix" in entry:
            network = ip_network((entry["prefix"]["addr"], entry["prefix"]["len"]))
            read_one(entry["prefix"]["addr"])
            found.append((int(network[0]), int(network[-1])))
        else:
            first, last = map(read_one, entry["range"])
            found.append((first, last))
    if op in ("<", ">", "<=", ">="):
        ((number, _),) = found
        found = {"<": [(low, number - 1)], "<=": [(low, number)], ">": [(number + 1, high)], ">=": [(number, high)]}[op]
    ranges = RangeSet(found) & whole
    return whole - ranges if _NEGATED.get(op) else ranges


def _port(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= HIGHEST:  # a bool is an int
        raise ValueError("no port")
    return value


def _address(text: Any, family: Family) -> int:
    if not isinstance(text, str):
        raise ValueError("no address")
    return int(IPv4Address(text) if family is Family.IPV4 else IPv6Address(text))


_NEGATED = {"==": False, "in": False, "!=": True, "!": True}
_FLAGS_FIELD = {"payload": {"protocol": "tcp", "field": "flags"}}
_CONDITIONS = frozenset(("limit", "quota", "ct count", "set", "map", "meter"))
