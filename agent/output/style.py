"""Fit text to a terminal: its width, its characters, its colours."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

MIN_WIDTH, MAX_WIDTH = 40, 80


@dataclass(frozen=True)
class Style:
    """What a terminal can show: `width` columns, more than ASCII, colours."""

    width: int = MAX_WIDTH
    unicode: bool = False
    colour: bool = False

    def paint(self, text: str, colour: str) -> str:
        """Return the text in a colour, where the terminal has colours."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour else text

    def clean(self, text: str) -> str:
        """Return a text of unknown origin safe to show: no control characters, and only ASCII where need be."""
        printable = "".join(char if char.isprintable() else "?" for char in text)
        return printable if self.unicode else printable.encode("ascii", "replace").decode("ascii")

    def wrap(self, text: str, indent: int) -> list[str]:
        """Return the text in lines that fit, all indented."""
        margin = " " * indent
        return textwrap.wrap(
            self.clean(text), self.width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
        )


_COLOURS = {"green": "32", "red": "31", "yellow": "33", "bold": "1"}
