"""Read the conditions of rules in nft's JSON (libnftables-json(5)). What is not understood is never guessed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, Callable

from ..core.address import Family
from ..core.plan import Transport
from ..core.ports import HIGHEST
from ..core.ranges import RangeSet
from .ruleset import (
    ADDRESSES,
    ANYTHING,
    NEVER,
    PORTS,
    STATES,
    UNCLEAR,
    InterfaceNames,
    Match,
    TcpFlags,
    intersect,
    to_local,
)

# What a reader stumbles over where JSON is not of the shape that it expects.
SHAPE_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)

_TRANSPORTS = {"tcp": Transport.TCP, 6: Transport.TCP, "udp": Transport.UDP, 17: Transport.UDP}
# Protocols beside TCP and UDP that a rule's payload may be of.
_OTHERS = frozenset(("ah", "comp", "dccp", "esp", "icmp", "icmpv6", "igmp", "sctp", "udplite", "arp"))
_FAMILY_WORDS = {"ip": Family.IPV4, "ipv4": Family.IPV4, 2: Family.IPV4, "ip6": Family.IPV6, "ipv6": Family.IPV6,
                 10: Family.IPV6}  # fmt: skip
_TCP_FLAGS = frozenset(("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"))
_FLAGS_FIELD = {"payload": {"protocol": "tcp", "field": "flags"}}
_NEGATED = {"==": False, "in": False, "!=": True, "!": True}


def read_condition(left: dict[str, Any], op: str, right: Any) -> Match:
    """Return a condition that is understood; raise one of SHAPE_ERRORS where it is not."""
    return _condition(left, op, _entries(right))


def unclear_condition(value: Any) -> Match:
    """Return what is known of a condition that is not understood: the protocol of its field."""
    try:
        protocol = value["left"]["payload"]["protocol"]
        return intersect(_protocol(protocol), UNCLEAR)
    except SHAPE_ERRORS:
        return UNCLEAR


def _protocol(name: str) -> Match:
    if name in _OTHERS:
        return NEVER
    if name in ("ip", "ip6"):
        return Match(_FAMILY_WORDS[name])
    return Match(transports=frozenset((_TRANSPORTS[name],))) if name in _TRANSPORTS else ANYTHING


def _value(entry: Any) -> Any:
    """Return an entry of a set without what is said of it: a time that it has left, a comment."""
    return entry["elem"]["val"] if isinstance(entry, dict) and "elem" in entry else entry


def _entries(right: Any) -> list[Any]:
    if isinstance(right, dict) and "set" in right:
        items = right["set"]
        return [_value(entry) for entry in items] if isinstance(items, list) else [items]
    return right if isinstance(right, list) else [right]


def _condition(left: dict[str, Any], op: str, entries: list[Any]) -> Match:
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
        ranges = _ranges(op, entries, PORTS, _port)
        return intersect(met, Match(ports=ranges) if field == "dport" else Match(source_ports=ranges))
    if met.family is not None and field in ("saddr", "daddr"):
        family = met.family
        ranges = _ranges(op, entries, ADDRESSES[family], lambda text: _address(text, family))
        return Match(family, sources=ranges) if field == "saddr" else Match(family, destinations=ranges)
    if (protocol, field) in (("ip", "protocol"), ("ip6", "nexthdr")) and negated is not None:
        return intersect(met, _transports(entries, negated))
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
            first, last = map(parse, entry["range"])
            pairs.append((first, last))
    if op in ("<", ">", "<=", ">="):
        ((number, _),) = pairs
        pairs = {"<": [(low, number - 1)], "<=": [(low, number)], ">": [(number + 1, high)], ">=": [(number, high)]}[op]
    ranges = RangeSet(pairs) & whole
    return whole - ranges if _NEGATED.get(op) else ranges


def _port(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= HIGHEST:  # a bool is an int
        raise ValueError("no port")
    return value


def _address(text: Any, family: Family) -> int:
    if not isinstance(text, str):
        raise ValueError("no address")
    return int(IPv4Address(text) if family is Family.IPV4 else IPv6Address(text))
