"""Sentences about the rules that block ports: which rule of whose does it, as far as it was proven."""

from __future__ import annotations

from typing import Iterator, Sequence

from ..core.observation import Where
from ..core.ports import list_ports
from .fixes import manager_of
from .model import BlockingRule, FirewallManagers, RuleAction

MAX_QUOTE = 200  # characters of a rule: what it matches and does fits, a comment of somebody's need not
MAX_QUOTES = 4  # rules in a piece of advice; more are of one making, and the commands are for all
MAX_RUNS = 4  # of ports, beside a rule
MAX_PATH = 8  # chains; more than ufw or firewalld nest

_NOT_FOUND = ("Packets reach the server and are dropped there, but no rule that does it was found in the firewall "
              "rules that could be read.")  # fmt: skip
_PROVEN = {
    Where.BEFORE_SERVER: "Blocked before the server, probably by the provider's firewall: no packet arrives.",
    Where.SERVER_HOST: "Packets reach the server; its own firewall drops them.",
    Where.RETURN_PATH: "Packets reach the server; its answers are lost on the way back.",
}
_BLOCKED_HERE_TOO = "The server's own firewall would drop them too."
_UNKNOWN = "It is not known whether packets reach the server: open the ports in both firewalls, the server's first."


def explain(where: Where, rules: Sequence[BlockingRule], managers: FirewallManagers) -> Iterator[str]:
    """Yield who blocks ports, where `rules` of this host's firewall do, or would if packets came as far as that."""
    deciding = () if where is Where.BEFORE_SERVER else rules
    for rule in deciding[:MAX_QUOTES]:
        yield quote(rule, manager_of(rule, managers))
    if any(rule.certain for rule in deciding) and where is not Where.UNKNOWN:
        return
    yield _NOT_FOUND if where is Where.SERVER_HOST and not deciding else _PROVEN.get(where, _UNKNOWN)
    if rules and not deciding:
        yield _BLOCKED_HERE_TOO


def quote(rule: BlockingRule, manager: str | None) -> str:
    """Return a sentence that says what a rule does, where it is, and its text."""
    location = rule.location
    path = " > ".join(_printable(chain) for chain in location.path[-MAX_PATH:])
    number = "the policy" if location.number is None else f"rule {location.number}"
    verb = "redirects" if rule.action is RuleAction.REDIRECT else "blocks"
    ports = list_ports(rule.ports, rule.transport.value, MAX_RUNS)
    who = f"he server's own firewall{f' ({manager})' if manager else ''}"
    text = (f"{who} {verb} {ports} by {number} of {path} (table {_printable(location.table)}): "
            f"`{_printable(rule.text)}`")  # fmt: skip
    if rule.certain:
        return f"T{text}."
    doubt = f", since this rule may decide before it: `{_printable(rule.doubt)}`" if rule.doubt else ""
    if rule.doubt == rule.text:
        doubt = ", since that rule is not fully understood"
    return f"Maybe t{text}; this is not certain{doubt}."


def _printable(text: str) -> str:
    """Return a text of the firewall's, short and printable."""
    printable = "".join(char if char.isprintable() else "?" for char in text[: MAX_QUOTE + 1])
    return printable if len(printable) <= MAX_QUOTE else f"{printable[: MAX_QUOTE - 3]}..."
