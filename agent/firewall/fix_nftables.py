"""Open ports in nftables: a rule that accepts them, before the one that blocks them (nft(8))."""

from __future__ import annotations

import re

from .fix import SAFE_NAME, UNSAFE, BlockingRules, Fix, insertions, redirected
from .model import FirewallManagers

MAX_SET = 100  # runs in one rule: a command stays far below 2,000 characters

_TABLE = re.compile(r"(?:ip|ip6|inet) [A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_NOT_SAVED = ("This is lost at the next reboot: add the same rule to the file that the rules are loaded from, "
              "/etc/nftables.conf.")  # fmt: skip


def fix_nftables(rules: BlockingRules, managers: FirewallManagers) -> Fix:
    """Return the rules to insert, in each chain before its first blocking rule."""
    fix = redirected(rules)
    for location, _, answers, ports in insertions(rules):
        named = SAFE_NAME.fullmatch(location.chain) and _TABLE.fullmatch(location.table)
        if not named or (location.number is not None and location.handle is None):
            fix += UNSAFE
            continue
        chain = f"{location.table} {location.chain}"
        verb = f"add rule {chain}" if location.handle is None else f"insert rule {chain} handle {location.handle}"
        side = "sport" if answers else "dport"
        for transport, runs in ports.items():
            for start in range(0, len(runs), MAX_SET):
                listed = ", ".join(map(str, runs[start : start + MAX_SET]))
                which = f"'{{ {listed} }}'" if "," in listed else listed
                fix += Fix((f"nft {verb} {transport.value} {side} {which} accept",), (_NOT_SAVED,))
    return fix
