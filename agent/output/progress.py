"""Render what the client does now, in one line."""

from __future__ import annotations

from .style import Style


def render(doing: str, done: int, total: int, left: float | None, style: Style) -> str:
    """Return what is done, how far, and how long it still takes, in less than `style.width` columns: it never wraps."""
    text = style.clean(doing)
    if total:
        text += f": {done:,} of {total:,} answered"
    if left is not None:
        text += f", about {max(1, round(left))} s left"
    return text[: style.width - 1]
