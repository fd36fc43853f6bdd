"""Read the conditions of rules in nft's JSON (libnftables-json(5)). What is not understood is never guessed."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, Callable

from ..core.address import Family
from ..core.ports import HIGHEST
from ..core.ranges import RangeSet
from .model import ADDRESSES, ANYTHING, NEVER, PORTS, TCP_FLAGS, TRANSPORTS, UNCLEAR, InterfaceNames, Match

# What a reader stumbles over where JSON is not of the shape that it expects.
SHAPE_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)

# Protocols beside TCP and UDP that a rule's payload may be of.
_OTHERS = frozenset(("ah", "comp", "dccp", "esp", "icmp", "icmpv6", "igmp", "sctp", "udplite", "arp"))
_FAMILY_WORDS = {"ip": Family.IPV4, "ipv4": Family.IPV4, 2: Family.IPV4, "ip6": Family.IPV6, "ipv6": Family.IPV6,
                 10: Family.IPV6}  # fmt: skip
_FLAGS_FIELD = {"payload": {"protocol": "tcp", "field": "flags"}}
_NEGATED = {"==": False, "in": False, "!=": True, "!": True}


def read_condition(left: dict[str, Any], op: str, right: Any) -> Match:
    """Return a condition that is understood; raise one of SHAPE_ERRORS where it is not."""
    ((kind, of),) = left.items()
    entries, negated = _entries(right), _NEGATED.get(op)
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
        return Match.of_states(frozenset(entries), negated)
    if left == {"ct": {"key": "status"}} and entries in (["dnat"], ["snat"]):
        return ANYTHING if negated else NEVER  # of packets that no rule has changed
    if left == {"fib": {"result": "type", "flags": ["daddr"]}}:
        return Match.of_destinations(frozenset(entries), negated)
    raise ValueError(kind)


def unclear_condition(value: Any) -> Match:
    """Return what is known of a condition that is not understood: the protocol of its field."""
    try:
        return _protocol(value["left"]["payload"]["protocol"]) & UNCLEAR
    except SHAPE_ERRORS:
        return UNCLEAR


def _protocol(name: str) -> Match:
    if name in _OTHERS:
        return NEVER
    if name in ("ip", "ip6"):
        return Match(_FAMILY_WORDS[name])
    return Match.of_transports([name], False) if name in TRANSPORTS else ANYTHING


def _entries(right: Any) -> list[Any]:
    """Return the entries of a set, without what is said of them: a time that one has left, a comment."""
    items = right["set"] if isinstance(right, dict) and "set" in right else right
    return [entry["elem"]["val"] if isinstance(entry, dict) and "elem" in entry else entry
            for entry in (items if isinstance(items, list) else [items])]  # fmt: skip


def _tcp_flags(left: dict[str, Any], op: str, entries: list[Any]) -> Match:
    value = frozenset(entries) - {0}
    if "&" in left:
        field, mask = left["&"]
        if field != _FLAGS_FIELD:
            raise ValueError(field)
        return Match.of_flags(frozenset(mask if isinstance(mask, list) else [mask]), value, _NEGATED[op])
    if op == "!":
        return Match.of_flags(value, frozenset(), False)
    if op not in ("==", "!=") or len(entries) != 1:  # several are either all of them, or each by itself
        raise ValueError(op)
    return Match.of_flags(TCP_FLAGS, value, op == "!=")


def _payload(protocol: str, field: str, op: str, entries: list[Any]) -> Match:
    if protocol in _OTHERS:
        return NEVER
    match = _protocol(protocol)
    family = match.family
    if field in ("sport", "dport"):
        ranges = _ranges(op, entries, PORTS, _port)
        return match & (Match(ports=ranges) if field == "dport" else Match(source_ports=ranges))
    if family and field in ("saddr", "daddr"):
        ranges = _ranges(op, entries, ADDRESSES[family], partial(_address, family=family))
        return Match(family, sources=ranges) if field == "saddr" else Match(family, destinations=ranges)
    if (protocol, field) in (("ip", "protocol"), ("ip6", "nexthdr")):
        return match & Match.of_transports(entries, _NEGATED[op])
    raise ValueError(field)


def _meta(key: str, entries: list[Any], negated: bool) -> Match:
    if key == "l4proto":
        return Match.of_transports(entries, negated)
    if key in ("nfproto", "protocol"):
        named = {_FAMILY_WORDS[entry] for entry in entries if entry not in ("arp", "vlan")}
        families = set(Family) - named if negated else named
        return ANYTHING if len(families) == 2 else Match(families.pop()) if families else NEVER
    if key == "pkttype":
        return Match.of_packets(frozenset(entries), negated)
    if any("\\" in entry for entry in entries):  # a star that is part of a name
        raise ValueError("an odd name")
    if key in ("iifname", "iif"):
        return Match(incoming=(InterfaceNames.of(entries, "*", negated),))
    if key in ("oifname", "oif"):
        return Match(outgoing=(InterfaceNames.of(entries, "*", negated),))
    raise ValueError(key)


def _ranges(op: str, entries: list[Any], whole: RangeSet, parse: Callable[[Any], int]) -> RangeSet:
    ((low, high),) = whole.ranges
    pairs = []
    for entry in entries:
        if not isinstance(entry, dict):
            pairs.append((parse(entry),) * 2)
        elif "prefix" in entry:
            network = ip_network((entry["prefix"]["addr"], entry["prefix"]["len"]))
            parse(entry["prefix"]["addr"])
            pairs.append((int(network[0]), int(network[-1])))
        else:
            first, last = entry["range"]
            pairs.append((parse(first), parse(last)))
    if op in ("<", ">", "<=", ">="):
        ((number, _),) = pairs
        pairs = {"<": [(low, number - 1)], "<=": [(low, number)], ">": [(number + 1, high)], ">=": [(number, high)]}[op]
    ranges = RangeSet(pairs) & whole
    return whole - ranges if _NEGATED.get(op) else ranges


def _port(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= HIGHEST:  # a bool is an int
        raise ValueError("no port")
    return value


def _address(value: Any, family: Family) -> int:
    if not isinstance(value, str):
        raise ValueError("no address")
    return int(IPv4Address(value) if family is Family.IPV4 else IPv6Address(value))
