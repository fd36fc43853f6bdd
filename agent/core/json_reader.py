"""Read JSON that nobody vouches for: bounded in size, depth and digits, each key once, every number finite."""

from __future__ import annotations

import json
import re
from typing import Any

from .errors import DecodeError

# Digits of a whole number: no field needs more than 64 bits.
MAX_DIGITS = 20
# A report nests six deep: report, addresses, address, findings, finding, evidence. Later versions may add some.
MAX_DEPTH = 16

_BESIDE_BRACKETS = re.compile(r'"[^"]*"?|[^][{}"]+')
_INNERMOST = re.compile(r"\[\]|\{\}")


def load_object(text: str | bytes, max_length: int | None = None) -> dict[str, Any]:
    """Return the JSON object that a text is; DecodeError for anything else, whatever is wrong with it.

    `max_length`, of characters or bytes, is for those who have not bounded the text by reading it.
    """
    if max_length is not None and len(text) > max_length:
        raise DecodeError(f"longer than {max_length:,} characters")
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")  # json would guess at other encodings
        _refuse_deep(text)
        value = json.loads(text, parse_int=_parse_int, parse_constant=_refuse, object_pairs_hook=_unique)
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DecodeError(f"not a JSON object: {error}") from None
    if not isinstance(value, dict):
        raise DecodeError("not a JSON object")
    return value


def _refuse_deep(text: str) -> None:
    # json recurses, and how deep it may depends on Python and its caller: so the depth is known before. What is quoted
    # does not count, once no quote in it is escaped; and pairs of brackets are taken away from within.
    brackets = _BESIDE_BRACKETS.sub("", text.replace(r"\\", "").replace(r"\"", ""))
    for _ in range(MAX_DEPTH):
        brackets, removed = _INNERMOST.subn("", brackets)
        if not removed:
            break
    if brackets:
        raise DecodeError(f"nested deeper than {MAX_DEPTH}, or a bracket without its other")


def _parse_int(digits: str) -> int:
    # int() takes time that grows with the square of the digits. float() has no such weakness, and what is too large for
    # it is infinite, which no field may be.
    if len(digits) > MAX_DIGITS:
        raise DecodeError("a number too long")
    return int(digits)


def _refuse(constant: str) -> None:
    raise DecodeError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise DecodeError("a key stands twice in one object")
    return value
