"""What a stranger showed, made safe to print and short enough for a line."""

from __future__ import annotations

MOST = 60


def shown(data: bytes, most: int = MOST) -> str:
    """The first line of somebody's bytes; empty where there is nothing to read in it."""
    line = data.lstrip().split(b"\n")[0][:most].decode("ascii", "replace").strip()
    return "".join(char if char.isprintable() and char.isascii() else "?" for char in line)
