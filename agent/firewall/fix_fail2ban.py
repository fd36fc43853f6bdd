"""Lift the bans of fail2ban (fail2ban-client(1))."""

from __future__ import annotations

import re
from typing import Iterable, Iterator

from .fix import SAFE_NAME, BlockingRules, Fix
from .model import BlockingRule, FirewallManagers

_NETWORK = re.compile(r"[0-9A-Fa-f.:]{2,45}(?:/[0-9]{1,3})?")
_BAN_SET = re.compile(r"(?:--match-set |@)f2b-(\S+)")
_NO_BAN = "A rule of fail2ban blocks this: `fail2ban-client status` shows its jails."


def is_fail2ban_rule(rule: BlockingRule, managers: FirewallManagers) -> bool:
    """Return whether a rule is fail2ban's: in a chain or by a set of its own, or against an address that it bans.

    In ufw's and firewalld's chains, by which it can ban, its rules have no other mark.
    """
    if rule.location.table == "inet f2b-table" or any(_jails(rule)):
        return True
    banned = (f"{ban.address}{length}" for ban in managers.bans for length in ("", "/32", "/128"))
    return not frozenset(rule.text.split()).isdisjoint(banned)


def _jails(rule: BlockingRule) -> Iterator[str]:
    """Yield the names behind `f2b-` in those of a rule's chains and sets, which are mostly those of jails."""
    yield from (chain[len("f2b-") :] for chain in rule.location.path if chain.startswith("f2b-"))
    yield from _BAN_SET.findall(rule.text)


def fix_fail2ban(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    """Return what lifts the bans that these rules are of."""
    return unban(managers, {jail for rule in rules for jail in _jails(rule)})


def unban(managers: FirewallManagers, jails: Iterable[str] = ()) -> Fix:
    """Return what lifts the client's bans, those of some jails where they can be told by their names, else all."""
    bans = [ban for ban in managers.bans if ban.jail in set(jails)] or managers.bans
    safe = [ban for ban in bans if SAFE_NAME.fullmatch(ban.jail) and _NETWORK.fullmatch(ban.address)]
    commands = (f"fail2ban-client set {ban.jail} unbanip {ban.address}" for ban in safe)
    return Fix(tuple(dict.fromkeys(commands)), () if safe else (_NO_BAN,))
