"""What the real tools print, saved: nft 1.0.6, iptables 1.8.9, ufw 0.36.2, firewalld 1.3.3.

`many` are conditions of all kinds; the others are what their names say, as those programs make them. Oracle's rules
are those of its images, with ufw's behind them. `NAME.nft` is what `nft -s -a list ruleset` prints of the rules that
`NAME.nft.json` holds, in the same namespace.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("goldens")


def golden(name: str) -> str:
    """The text of one."""
    return (FOLDER / name).read_text(encoding="utf-8")
