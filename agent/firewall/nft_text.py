"""Read rules in nft's own words, which its JSON does not have: `nft -s -a list ruleset` (nft(8))."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, Dict, Iterator, List, Sequence, Tuple

# A rule of a hundred addresses says nothing more by the last of them.
MAX_TEXT = 300
MAX_COMPARED = 100  # ports and addresses of a rule that are looked for in its text: a set may have thousands

# By table (with its family) and chain: the handles and texts of the rules, in their order.
Listing = Dict[Tuple[str, str], List[Tuple[int, str]]]

_TABLE = re.compile(r"table (\S+ .+) \{(?: # handle [0-9]+)?")
_CHAIN = re.compile(r"\tchain (.+) \{(?: # handle [0-9]+)?")
_RULE = re.compile(r"\t\t(.+) # handle ([0-9]{1,20})")
_DECLARATION = re.compile(r"\t\t(?:type|comment|flags|policy) .*")
_WORD = re.compile(r"[\w.:]+")
_VERDICTS = frozenset(("accept", "drop", "reject", "return", "jump", "goto", "vmap", "dnat", "redirect", "notrack"))
_FIELDS = frozenset(("payload", "&"))  # of a packet, perhaps with a mask


def parse_listing(text: str) -> Listing:
    """Return the rules of each chain whose lines are all of the form that nft prints.

    Comments and log prefixes may contain line breaks, so any line may be forged: a chain with another line, or one that
    is there twice, is left out. Never raises.
    """
    chains: Listing = {}
    broken: set[tuple[str, str]] = set()
    table = ""
    key: tuple[str, str] | None = None
    for line in text.split("\n"):
        begins = _CHAIN.fullmatch(line) if key is None else None
        rule = _RULE.fullmatch(line) if key else None
        if key and line == "\t}":
            key = None
        elif key and rule:
            chains[key].append((int(rule.group(2)), rule.group(1).rstrip()))
        elif key and (chains[key] or not _DECLARATION.fullmatch(line)):
            broken.add(key)
        elif begins:
            key = (table, begins.group(1))
            broken.update({key} & chains.keys())
            chains[key] = []
        elif key is None and _TABLE.fullmatch(line):
            table = line[len("table ") :].rpartition(" {")[0]
    return {key: rules for key, rules in chains.items() if key not in broken}


def rule_texts(rules: Sequence[dict[str, Any]], listed: Sequence[tuple[int, str]] | None) -> Iterator[str]:
    """Yield the text of each of a chain's rules, given as JSON; its handle alone where the listing has not that rule.

    The two listings are not made at the same moment: all handles of the chain must be the same, and a rule's text must
    have the verdict, ports and addresses of its JSON.
    """
    agree = listed is not None and [handle for handle, _ in listed] == [rule.get("handle") for rule in rules]
    for number, rule in enumerate(rules):
        handle, text = rule.get("handle"), listed[number][1] if agree and listed else ""
        words = frozenset(_WORD.findall(text))
        if not words.issuperset(islice(_words(rule.get("expr")), MAX_COMPARED)):
            text = ""
        text = text or (f"handle {handle}" if isinstance(handle, int) else "a rule without a handle")
        yield text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _words(expressions: Any) -> Iterator[str]:
    """Yield words that the text of a rule has to have, whatever the version of nft."""
    for statement in expressions if isinstance(expressions, list) else ():
        for name, value in statement.items() if isinstance(statement, dict) else ():
            fields = value if isinstance(value, dict) else {}
            if name in _VERDICTS:
                yield name
            if name in ("jump", "goto"):
                yield from _WORD.findall(str(fields.get("target")))
            left = fields.get("left")
            if name == "match" and isinstance(left, dict) and not _FIELDS.isdisjoint(left):
                yield from _leaves(fields.get("right"))


def _leaves(value: Any) -> Iterator[str]:
    """Yield the words of the numbers and names in an expression."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += [*value.values()][:MAX_COMPARED]
        elif isinstance(value, list):
            pending += value[:MAX_COMPARED]
        elif isinstance(value, (int, str)) and not isinstance(value, bool):
            yield from _WORD.findall(str(value)[:MAX_TEXT])
