"""Open ports in firewalld: in the zone that decides for the client (firewall-cmd(1), firewalld.richlanguage(5))."""

from __future__ import annotations

import re

from .fix import SAFE_NAME, UNSAFE, BlockingRules, Fix, ports_of
from .model import BlockingRule, FirewallManagers, Hook

MAX_OPTIONS = 50  # ports in one command, which stays far below 2,000 characters

_ZONE_CHAIN = re.compile(r"(?:filter_)?IN_(.+)")
# By the part of a zone that denies, the priority that comes before it, as no port of the zone does: before what has
# none, and before what has a negative one, of which this is the least.
_PRIORITIES = {"deny": -100, "pre": -32768}
_RICH_RULE = """--add-rich-rule='rule priority="{}" port port="{}" protocol="{}" accept'"""
_POLICY = ("firewalld blocks or redirects this by something else than a zone's ports: `firewall-cmd --list-all-zones` "
           "and `firewall-cmd --list-all-policies` show it.")  # fmt: skip


def is_firewalld_rule(rule: BlockingRule, managers: FirewallManagers) -> bool:
    """Return whether a rule is in one of firewalld's chains."""
    return rule.location.table == "inet firewalld" or "INPUT_ZONES" in rule.location.path


def fix_firewalld(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    """Return commands for what runs and for what is kept: a reload would lose whatever else runs and is not kept."""
    fix = Fix()
    by_zone: dict[tuple[str, int | None], list[BlockingRule]] = {}
    for rule in rules:
        zone, part = _zone(rule, managers)
        if rule.hook is not Hook.INPUT or zone is None:
            fix += Fix((), (_POLICY,))
        elif not SAFE_NAME.fullmatch(zone):
            fix += UNSAFE
        else:
            by_zone.setdefault((zone, _PRIORITIES.get(part)), []).append(rule)
    for (zone, priority), group in by_zone.items():
        commands = (f"firewall-cmd {kept}--zone={zone} {options}"
                    for options in _options(group, priority) for kept in ("", "--permanent "))  # fmt: skip
        fix += Fix(tuple(commands))
    return fix


def _options(rules: BlockingRules, priority: int | None) -> list[str]:
    """Return the options of each command that opens the ports of these rules in a zone."""
    ports = [(run, transport.value) for transport, runs in ports_of(rules).items() for run in runs]
    if priority:
        return [_RICH_RULE.format(priority, *port) for port in ports]
    options = [f"--add-port={run}/{transport}" for run, transport in ports]
    return [" ".join(options[start : start + MAX_OPTIONS]) for start in range(0, len(options), MAX_OPTIONS)]


def _zone(rule: BlockingRule, managers: FirewallManagers) -> tuple[str | None, str]:
    """Return the zone whose chains decide, and which part of them; else the zone of the client's packets."""
    names = [match.group(1) for match in map(_ZONE_CHAIN.fullmatch, rule.location.path) if match]
    if names and names[-1].startswith("policy_"):
        return None, ""
    if names:  # from the zone's own chain packets go into those of its parts
        return names[0], names[-1][len(names[0]) + 1 :]
    return managers.zone, ""
