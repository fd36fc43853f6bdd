"""Texts that went wrong in a few places, as an editor, a script or a crash leaves them."""

from __future__ import annotations

import random
from typing import Iterator

_PIECES = (
    "\n", "\n  ", "\n    ", "  ", " ", ":", ": ", "- ", "-", "#", " #", "'", '"', "[", "]", "{", "}", ",", "&x ", "*x",
    "!x ", " |\n", " >-\n", '"\n', "\t", "---\n", "...", "? ", "%", "@", "`", "<<: ", "\\", "null", "~", "\r", "\x85",
    "\0", "é", "0", "9", "=", "$", "${X}", "true", "rtc:", "tcp_port: 5",
)  # fmt: skip


def of(text: str, chance: random.Random, number: int) -> Iterator[str]:
    """So many of them; the same for the same chance."""
    for _ in range(number):
        changed = text
        for _ in range(chance.randint(1, 4)):
            changed = chance.choice((_insert, _delete, _copy, _indent, _cut, _replace))(changed, chance)
        yield changed


def _insert(text: str, chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    return text[:at] + chance.choice(_PIECES) + text[at:]


def _replace(text: str, chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    return text[:at] + chance.choice(_PIECES) + text[at + 1 :]


def _delete(text: str, chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    return text[:at] + text[at + chance.randint(1, 6) :]


def _copy(text: str, chance: random.Random) -> str:
    at, of = chance.randint(0, len(text)), chance.randint(0, len(text))
    return text[:at] + text[of : of + chance.randint(1, 40)] + text[at:]


def _indent(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    number = chance.randrange(len(lines))
    lines[number] = " " * chance.randint(0, 6) + lines[number].lstrip(" ")
    return "\n".join(lines)


def _cut(text: str, chance: random.Random) -> str:
    return text if chance.random() < 0.8 else text[: chance.randint(0, len(text))]
