"""What the terminal can do, and text made for it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

MIN_WIDTH, MAX_WIDTH = 40, 80


@dataclass(frozen=True)
class Style:
    """How to write: in columns of `width`, with more than ASCII, with colour."""

    width: int = MAX_WIDTH
    unicode: bool = False
    colour: bool = False

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, where there are colours."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour else text

    def clean(self, text: str) -> str:
        """A text of unknown origin as it may be shown: no control characters, and plain ASCII where it must be."""
        printable = "".join(char if char.isprintable() else "?" for char in text)
        return printable if self.unicode else printable.encode("ascii", "replace").decode("ascii")

    def wrap(self, text: str, indent: int) -> list[str]:
        """The text in lines that fit, all indented."""
        return textwrap.wrap(
            self.clean(text), self.width, initial_indent=" " * indent, subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )  # fmt: skip


_COLOURS = {"green": "32", "red": "31", "yellow": "33", "bold": "1"}
