"""What the client does now, in one line."""

from __future__ import annotations

from .style import Style


def render(doing: str, done: int, total: int, left: float | None, style: Style) -> str:
    """What, how far, how long still; at most `style.width - 1` columns, so that the line never wraps."""
    text = style.clean(doing)
    if total:
        text += f": {done:,} of {total:,} answered"
    if left is not None:
        text += f", about {max(1, round(left))} s left"
    return text[: style.width - 1]
