"""ufw, as `ufw status numbered` tells (ufw(8)): whether it is active, and its own rules in their order."""

from __future__ import annotations

import re

from ..system.commands import run_tool
from ..system.files import read_text
from .model import UfwStatus

DEFAULTS = "/etc/default/ufw"
MAX_DEFAULTS = 64 * 1024  # the file has a page or two
MAX_RULES = 10_000  # more than anybody typed

_RULE = re.compile(r"\[ *[0-9]{1,6}\] +(\S.*)")
_IPV6 = re.compile(r"""^\s*IPV6\s*=\s*["']?yes\b""", re.MULTILINE | re.IGNORECASE)


def parse_status(text: str) -> tuple[str, ...] | None:
    """The rules as ufw prints them, without their numbers; None where it is not active.

    Raises ValueError where the text says neither.
    """
    words = next((line.split() for line in text.splitlines() if line.startswith("Status:")), None)
    if words not in (["Status:", "active"], ["Status:", "inactive"]):
        raise ValueError("ufw does not say whether it is active")
    if "inactive" in words:
        return None
    found = filter(None, (_RULE.match(line) for line in text.splitlines()[: 2 * MAX_RULES]))
    return tuple(match.group(1).rstrip() for match in found)[:MAX_RULES]


def rules_ipv6(rules: tuple[str, ...], defaults: str) -> bool:
    """Whether ufw rules IPv6 too: by a rule for it, or by the text of its defaults."""
    return any("(v6)" in rule for rule in rules) or _IPV6.search(defaults) is not None


def read_ufw(defaults: str = DEFAULTS) -> tuple[UfwStatus | None, str]:
    """ufw where it is active, and why that could not be read, if so."""
    told = run_tool("ufw", "status", "numbered")
    if told.output is None:
        return None, "" if told.missing else told.error
    try:
        rules = parse_status(told.output)
    except ValueError as error:
        return None, str(error)
    return (None if rules is None else UfwStatus(rules, rules_ipv6(rules, read_text(defaults, MAX_DEFAULTS)))), ""
