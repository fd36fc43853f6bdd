"""Open ports in ufw, by rules of its own (ufw(8)); what it does with each of them was seen with ufw 0.36.2."""

from __future__ import annotations

import re
from typing import Iterator, Sequence

from ..core.address import Family
from ..core.plan import Transport
from .fix import BlockingRules, Fix, blocks_answers, multiport, ports_of
from .fix_fail2ban import is_fail2ban_rule
from .model import BlockingRule, FirewallManagers, Tool

_INTERNAL = re.compile(r"ufw6?-(?:before-(?:input|output)|not-local)")
_NO_IPV6 = "ufw blocks all IPv6, since /etc/default/ufw says IPV6=no."


def is_ufw(rule: BlockingRule, managers: FirewallManagers) -> bool:
    """Return whether ufw decides, in a chain of its own or by the policy that it sets."""
    location = rule.location
    if managers.ufw is None or is_fail2ban_rule(rule, managers):
        return False
    if any(chain.startswith(("ufw-", "ufw6-")) for chain in location.path):
        return True
    # ufw's iptables are of one variant; what the other, legacy, has left behind is none of its.
    current = location.tool in (Tool.IPTABLES, Tool.NFT)
    filters = current and location.table in ("filter", "ip filter", "ip6 filter")
    return filters and location.number is None and location.chain in ("INPUT", "OUTPUT")


def is_ufw_internal(chain: str) -> bool:
    """Return whether a chain is of those that ufw loads from before.rules: its commands do not reach them."""
    return _INTERNAL.fullmatch(chain) is not None


def is_ufw_rule(rule: BlockingRule) -> bool:
    """Return whether one of the rules decides that `ufw status numbered` lists."""
    return any("-user-" in chain for chain in rule.location.path)


def can_ufw_allow(rule: BlockingRule, managers: FirewallManagers) -> bool:
    """Return whether a command of ufw's opens what a rule blocks."""
    return is_ufw(rule, managers) and (is_ufw_rule(rule) or not is_ufw_internal(rule.location.chain))


def fix_ufw(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    """Return rules of ufw's that allow the ports, before its own that deny them."""
    assert managers.ufw
    commands: list[str] = []
    closed = not managers.ufw.ipv6 and any(rule.family is Family.IPV6 for rule in rules)
    if closed:
        commands += ["sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw", "ufw reload"]
    for out in (False, True):
        one_way = [rule for rule in rules if blocks_answers(rule) is out]
        for transport, runs in ports_of(one_way).items():
            first = any(is_ufw_rule(rule) for rule in one_way if rule.transport is transport)
            for ports, _ in multiport(runs):
                commands += _allow(ports, transport, out, first, managers.ufw.rules)
    return Fix(tuple(commands), (_NO_IPV6,) if closed else ())


def _allow(ports: str, transport: Transport, out: bool, first: bool, rules: Sequence[str]) -> Iterator[str]:
    """Yield the command that allows ports, before all rules where it has to come `first`.

    `prepend`, not `insert 1`: that fails where there is no rule, and puts the rule for IPv6 last where the two
    families' rules differ. ufw takes no rule that it has already, and leaves that where it is, so it goes first.
    """
    way = "out " if out else ""
    listed = f"{ports}/{transport.value}"
    rule = f"proto {transport.value} from any port {ports} to any" if out else listed
    if first:
        # Those of the two families, which ufw lists one by one, are deleted together.
        for action, log in dict.fromkeys(_existing(listed, out, rules)):
            yield f"ufw delete {action.lower()} {way}{f'{log} ' if log else ''}{rule}"
    yield f"ufw {'prepend ' if first else ''}allow {way}{rule}"


def _existing(ports: str, out: bool, rules: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the action and the kind of log of each rule that there is for just these ports, from and to anywhere."""
    actions, v6 = "(ALLOW|DENY|REJECT|LIMIT)", r"(?: \(v6\))?"
    inward = rf"{ports}{v6} +{actions} IN +Anywhere{v6}(?: +\((log|log-all)\))?"
    outward = rf"Anywhere{v6} +{actions} OUT +{ports}{v6} +\((?:(log|log-all), )?out\)"
    pattern = re.compile((outward if out else inward) + "(?: +#.*)?")
    for match in filter(None, map(pattern.fullmatch, rules)):
        yield match.group(1), match.group(2) or ""
