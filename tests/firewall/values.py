"""Values of the firewall's rules, written shortly."""

from __future__ import annotations

from typing import Any

from agent.core.ranges import RangeSet
from agent.firewall.model import Match

_RANGES = ("ports", "source_ports", "sources", "destinations")


def packets(*values: Any, **fields: Any) -> Match:
    """A match whose ports and addresses may be given as pairs of numbers."""
    ranges = {name: RangeSet(fields[name]) for name in _RANGES if isinstance(fields.get(name), tuple)}
    return Match(*values, **{**fields, **ranges})
