"""Choose how to open ports in this host's own firewall: by the program that wrote the rules that block them."""

from __future__ import annotations

from typing import Callable, NamedTuple

from .fix import BlockingRules, Fix, FixRules
from .fix_docker import fix_docker, is_docker_rule
from .fix_fail2ban import fix_fail2ban, is_fail2ban_rule
from .fix_firewalld import fix_firewalld, is_firewalld_rule
from .fix_iptables import fix_iptables
from .fix_nftables import fix_nftables
from .fix_ufw import can_ufw_allow, fix_ufw, is_ufw
from .model import BlockingRule, FirewallManagers, Tool


class Fixer(NamedTuple):
    """The name of a program that writes rules, if any; which are its own; and what opens the ports that they block."""

    name: str | None
    recognises: Callable[[BlockingRule, FirewallManagers], bool]
    fix: FixRules


# The first that recognises a rule opens its ports; this is the order of the commands too. A firewall is added here.
FIXERS = (
    Fixer("fail2ban", is_fail2ban_rule, fix_fail2ban),
    Fixer("Docker", is_docker_rule, fix_docker),
    Fixer("ufw", can_ufw_allow, fix_ufw),
    Fixer("firewalld", is_firewalld_rule, fix_firewalld),
    Fixer(None, lambda rule, _: rule.location.tool is Tool.NFT, fix_nftables),
    Fixer(None, lambda *_: True, fix_iptables),
)


def fix_for(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    """Return what opens the ports that these rules block; each port is named once a family."""
    fix = Fix()
    fixers = [(rule, _fixer(rule, managers)) for rule in rules]
    for fixer in FIXERS:
        own = [rule for rule, its_fixer in fixers if its_fixer is fixer]
        if own:
            fix += fixer.fix(own, managers)
    return fix


def _fixer(rule: BlockingRule, managers: FirewallManagers) -> Fixer:
    return next(fixer for fixer in FIXERS if fixer.recognises(rule, managers))


def manager_of(rule: BlockingRule, managers: FirewallManagers) -> str | None:
    """Return the name of the program that wrote a rule, where it can be told."""
    return "ufw" if is_ufw(rule, managers) else _fixer(rule, managers).name
