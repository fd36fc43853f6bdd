"""Explain what Docker does with published ports: no command of the firewall's undoes it."""

from __future__ import annotations

from .fix import BlockingRules, Fix
from .model import BlockingRule, FirewallManagers, RuleAction

_PUBLISHED = ("Docker forwards this port to a container before ufw's and this server's own rules see it. `docker ps` "
              "shows the container: stop it, or publish another port.")  # fmt: skip


def is_docker_rule(rule: BlockingRule, managers: FirewallManagers | None = None) -> bool:
    """Return whether a rule forwards the port to a container of Docker's."""
    return rule.action is RuleAction.REDIRECT and "DOCKER" in rule.location.path


def fix_docker(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    """Return what to do about a published port."""
    return Fix((), (_PUBLISHED,))
