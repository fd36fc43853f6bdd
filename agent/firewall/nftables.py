"""Read what `nft -j list ruleset` prints (libnftables-json(5), nft(8)). What is not understood is never guessed."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import islice
from typing import Any, Dict, Iterator, Tuple

from ..core.address import Family
from .model import (
    ANYTHING,
    UNCLEAR,
    BaseChain,
    Chain,
    Hook,
    Match,
    Rule,
    RuleAction,
    Ruleset,
    Table,
    Tool,
    UnreadableRules,
)
from .nft_conditions import SHAPE_ERRORS, read_condition, unclear_condition
from .nft_text import Listing, parse_listing, rule_texts

_FAMILIES = {"ip": (Family.IPV4,), "ip6": (Family.IPV6,), "inet": tuple(Family)}
_HOOKS = {hook.value: hook for hook in Hook}
# Of tables (libnftables-json(5)). Some versions print others than there are, and a dormant table decides nothing.
_TABLE_FLAGS = frozenset(("dormant", "owner", "persist"))

_VERDICTS = {
    name: RuleAction(name) for name in ("accept", "continue", "drop", "goto", "jump", "notrack", "reject", "return")
}
_VERDICTS.update(dnat=RuleAction.REDIRECT, tproxy=RuleAction.REDIRECT)
# Statements after which a rule goes on; snat and masquerade stand in chains that answers do not see.
_HARMLESS = frozenset(("counter", "log", "comment", "snat", "masquerade", "flow", "ct helper", "ct timeout",
                       "ct expectation", "secmark", "dup", "last"))  # fmt: skip
# Statements that only may end a rule: it goes on where they let a packet pass.
_CONDITIONS = frozenset(("limit", "quota", "ct count", "set", "map", "meter"))

MAX_DIGITS = 20  # of a number of 64 bits; older Pythons take minutes for millions of them
# Verdict maps are rules for each of their entries; ten times the longest rule set that is planned for.
MAX_RULES = 500_000

_Item = Dict[str, Any]
_TableKey = Tuple[str, str]  # its family and name


def read(text: str, quotes: str = "") -> Ruleset:
    """Return the tables of a listing in JSON; raise UnreadableRules where it is none.

    `quotes` is nft's plain listing of the same rules: they are quoted from it where the two agree.
    """
    try:
        items = json.loads(text, parse_int=_parse_int)["nftables"]
        return _ruleset([pair for item in items for pair in item.items()], parse_listing(quotes))
    except SHAPE_ERRORS as error:
        raise UnreadableRules("no listing of rules in JSON") from error


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(digits[:MAX_DIGITS])
    return int(digits)


def _ruleset(items: list[tuple[str, _Item]], listing: Listing) -> Ruleset:
    """Return the tables that are in force, their rules quoted from a plain listing."""
    chains: dict[tuple[_TableKey, str], _Item] = {}
    rules: dict[tuple[_TableKey, str], list[_Item]] = defaultdict(list)
    sets: dict[_TableKey, _Item] = defaultdict(dict)
    tables: dict[_TableKey, list[Chain]] = defaultdict(list)
    dormant: set[_TableKey] = set()
    not_evaluated: list[str] = []
    for kind, item in items:
        key = (item.get("family", ""), item.get("table", ""))
        if kind == "table":
            key, flags = (item["family"], item["name"]), item.get("flags") or []
            flags = frozenset(flags if isinstance(flags, list) else [flags])
            if "dormant" in flags:
                dormant.add(key)
            elif flags - _TABLE_FLAGS:
                not_evaluated.append(f"table {' '.join(key)}")
        elif kind in ("set", "map"):
            sets[key][item["name"]] = item.get("elem", [])
        elif kind == "chain":
            chains[key, item["name"]] = item
        elif kind == "rule":
            rules[key, item["chain"]].append(item)
    readers = {table: _RuleReader(sets[table]) for table, _ in chains if table not in dormant}
    left = MAX_RULES
    for (table, name), item in chains.items():
        family, own = table[0], rules[table, name]
        if table not in readers:
            continue
        if item.get("hook") == "ingress" and family in ("netdev", "inet"):
            if item.get("policy") == "drop" or any(map(_may_stop, own)):
                not_evaluated.append(f"table {' '.join(table)}, chain {name} (ingress)")
        elif family in _FAMILIES:
            read_rules = readers[table].chain(own, rule_texts(own, listing.get((" ".join(table), name))))
            tables[table].append(Chain(name, tuple(islice(read_rules, left + 1)), _base(item)))
            left -= len(tables[table][-1].rules)
            if left < 0:
                raise ValueError("more rules than are followed")
    read_tables = (Table(Tool.NFT, " ".join(key), _FAMILIES[key[0]], tuple(own)) for key, own in tables.items())
    return Ruleset(tuple(read_tables), tuple(not_evaluated))


def _may_stop(rule: _Item) -> bool:
    return any(name not in _HARMLESS | {"accept", "match"} for statement in rule["expr"] for name in statement)


def _base(chain: _Item) -> BaseChain | None:
    hook = _HOOKS.get(chain.get("hook", ""))
    if hook is None:
        return None
    return BaseChain(hook, int(chain.get("prio", 0)), chain.get("policy") == "drop", chain.get("type") == "nat")


class _RuleReader:
    """Reads the rules of one table, whose named sets and maps it knows."""

    def __init__(self, sets: _Item) -> None:
        self._sets = sets
        self._read: dict[str, Match] = {}  # by a named set: it may have many entries, and many rules

    def chain(self, rules: list[_Item], texts: Iterator[str]) -> Iterator[Rule]:
        """Yield what the rules of a chain do: one Rule for each, and one for each entry of a verdict map."""
        for number, (rule, text) in enumerate(zip(rules, texts), 1):
            try:
                yield from list(self._rule(number, rule, text))
            except SHAPE_ERRORS:
                yield Rule(number, text, UNCLEAR, RuleAction.UNKNOWN)

    def _rule(self, number: int, rule: _Item, text: str) -> Iterator[Rule]:
        match, handle, unknown = ANYTHING, rule.get("handle"), False
        handle = handle if isinstance(handle, int) else None
        for statement in rule["expr"]:
            ((name, value),) = statement.items()
            if name == "match":
                match &= self._match(value)
            elif name == "vmap":
                for key, action, target in self._map(value):
                    yield Rule(number, text, match & key, action, target, handle)
                return
            elif name in _VERDICTS or name == "redirect":
                action, implied = _verdict(name, value)
                target = value["target"] if action in (RuleAction.JUMP, RuleAction.GOTO) else ""
                yield Rule(number, text, match & implied, action, target, handle)
                if action is not RuleAction.NOTRACK:
                    return
            elif name == "mangle" and ("meta" in value["key"] or "ct" in value["key"]):
                continue
            elif name not in _HARMLESS:
                match &= UNCLEAR
                known = name in _CONDITIONS or (name == "xt" and value and value.get("type") == "match")
                unknown = unknown or not known
        yield Rule(number, text, match, RuleAction.UNKNOWN if unknown else RuleAction.CONTINUE, "", handle)

    def _map(self, value: dict[str, Any]) -> list[tuple[Match, RuleAction, str]]:
        try:
            data, results = value["data"], []
            entries = self._sets[data[1:]] if isinstance(data, str) else data["set"]
            for key, verdict in entries:
                ((name, inner),) = verdict.items()
                action = _VERDICTS[name]
                if key == "*":  # all that has no entry
                    raise ValueError(key)
                match = read_condition(value["key"], "==", {"set": [key]})
                results.append((match, action, inner["target"] if inner else ""))
        except SHAPE_ERRORS:
            return [(UNCLEAR, RuleAction.UNKNOWN, "")]
        return results

    def _match(self, value: dict[str, Any]) -> Match:
        try:
            left, op, right = value["left"], value["op"], value["right"]
            if not isinstance(right, str) or not right.startswith("@"):
                return read_condition(left, op, right)
            key = f"{right} {op} {left}"
            if key not in self._read:
                self._read[key] = read_condition(left, op, {"set": self._sets[right[1:]]})
            return self._read[key]
        except SHAPE_ERRORS:
            return unclear_condition(value)


def _verdict(name: str, value: Any) -> tuple[RuleAction, Match]:
    """Return what a rule does, and the conditions that nft leaves out because they follow from it."""
    if name == "redirect":  # without another port the packet comes where it was going
        value = value or {}
        action = RuleAction.REDIRECT if "port" in value else RuleAction.ACCEPT
        return action, UNCLEAR if "map" in str(value) else ANYTHING
    if name == "dnat":
        match = Match(next(iter(_FAMILIES.get(value.get("family"), ())), None), unclear="map" in str(value))
        return RuleAction.REDIRECT, match
    kind = value.get("type", "") if name == "reject" and value else ""
    if kind == "tcp reset":
        return RuleAction.REJECT, Match.of_transports(["tcp"], False)
    return _VERDICTS[name], Match({"icmp": Family.IPV4, "icmpv6": Family.IPV6}.get(kind))
