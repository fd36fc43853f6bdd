"""Read ufw by `ufw status numbered` (ufw(8)): whether it is active, and its own rules in their order."""

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
    """Return the rules as ufw prints them, without their numbers; None where it is not active.

    Raises ValueError where the text says neither.
    """
    words = next((line.split() for line in text.splitlines() if line.startswith("Status:")), None)
    if words not in (["Status:", "active"], ["Status:", "inactive"]):
        raise ValueError("ufw does not say whether it is active")
    if "inactive" in words:
        return None
    matches = filter(None, map(_RULE.match, text.splitlines()[: 2 * MAX_RULES]))
    return tuple(match.group(1).rstrip() for match in matches)[:MAX_RULES]


def filters_ipv6(rules: tuple[str, ...], defaults: str) -> bool:
    """Return whether ufw filters IPv6 too: by a rule for it, or by the text of its defaults."""
    return any("(v6)" in rule for rule in rules) or _IPV6.search(defaults) is not None


def read_ufw(defaults: str = DEFAULTS) -> tuple[UfwStatus | None, str]:
    """Return ufw's status, None where it is not active; and why it could not be read, if so."""
    result = run_tool("ufw", "status", "numbered")
    if result.output is None:
        return None, "" if result.missing else result.error
    try:
        rules = parse_status(result.output)
    except ValueError as error:
        return None, str(error)
    return (None if rules is None else UfwStatus(rules, filters_ipv6(rules, read_text(defaults, MAX_DEFAULTS)))), ""
