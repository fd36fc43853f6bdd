"""Strict reading of JSON values that a stranger wrote: each field has a type and bounds, or FieldError."""

from __future__ import annotations

import enum
import json
import math
import re
from typing import Any, Callable, TypeVar

Value = TypeVar("Value")
Choice = TypeVar("Choice", bound=enum.Enum)


class FieldError(ValueError):
    """A JSON text or one of its fields is not what it has to be."""


MAX_DIGITS = 20
# A report nests six deep: report, addresses, address, findings, finding, evidence. Later versions may add some.
MAX_DEPTH = 16

_BESIDE_BRACKETS = re.compile(r'"[^"]*"?|[^][{}"]+')
_INNERMOST = re.compile(r"\[\]|\{\}")


def parse(text: str | bytes) -> Fields:
    """Read one JSON object; FieldError for anything else, whatever is wrong with it."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")  # json would guess at other encodings
        _refuse_deep(text)
        return Fields(json.loads(text, parse_int=_parse_int, parse_constant=_refuse, object_pairs_hook=_unique))
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise FieldError(f"not a JSON object: {error}") from None


def _refuse_deep(text: str) -> None:
    # json recurses, and how deep it may depends on Python and its caller: so the depth is known before. What is quoted
    # does not count, once no quote in it is escaped; and pairs of brackets are taken away from within.
    brackets = _BESIDE_BRACKETS.sub("", text.replace(r"\\", "").replace(r"\"", ""))
    for _ in range(MAX_DEPTH):
        brackets, found = _INNERMOST.subn("", brackets)
        if not found:
            break
    if brackets:
        raise FieldError(f"nested deeper than {MAX_DEPTH}, or a bracket without its other")


def _parse_int(digits: str) -> int:
    # int() takes time that grows with the square of the digits; no field needs more than 64 bits. float() has no such
    # weakness, and what is too large for it is infinite, which no field may be.
    if len(digits) > MAX_DIGITS:
        raise FieldError("a number too long")
    return int(digits)


def _refuse(constant: str) -> None:
    raise FieldError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FieldError("a key stands twice in one object")
    return found


class Fields:
    """One JSON object, read field by field. A key that nobody reads is no error: peers may add some."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise FieldError("not a JSON object")
        self._value: dict[str, Any] = value

    def _take(self, key: str) -> Any:
        if key not in self._value:
            raise FieldError(f"'{key}' is missing")
        return self._value[key]

    def text(self, key: str, most: int = 200) -> str:
        """A text of at most `most` characters."""
        return text(self._take(key), most)

    def integer(self, key: str, least: int, most: int) -> int:
        """A whole number from `least` to `most`; true and 1.0 are none."""
        return integer(self._take(key), least, most)

    def number(self, key: str, least: float, most: float) -> float:
        """A finite number from `least` to `most`."""
        return number(self._take(key), least, most)

    def boolean(self, key: str) -> bool:
        """true or false."""
        value = self._take(key)
        if not isinstance(value, bool):
            raise FieldError(f"'{key}' is neither true nor false")
        return value

    def choice(self, key: str, kind: type[Choice]) -> Choice:
        """One of the values of an enumeration."""
        value = self._take(key)
        for member in kind:
            if isinstance(value, str) and member.value == value:
                return member
        raise FieldError(f"'{key}' is none of the values known")

    def object(self, key: str) -> Fields:
        """An object within this one."""
        return Fields(self._take(key))

    def list(self, key: str, read: Callable[[Any], Value], most: int) -> tuple[Value, ...]:
        """A list of at most `most` items, each read by `read`."""
        value = self._take(key)
        if not isinstance(value, list) or len(value) > most:
            raise FieldError(f"'{key}' is not a list of at most {most} items")
        return tuple(map(read, value))

    def optional(self, key: str, read: Callable[[str], Value]) -> Value | None:
        """None where the value is null, else what `read(key)` makes of it."""
        return None if self._take(key) is None else read(key)


def text(value: object, most: int) -> str:
    """A string of at most `most` characters, each of which can be written as UTF-8."""
    if not isinstance(value, str) or len(value) > most:
        raise FieldError(f"not a text of at most {most} characters")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise FieldError("half of a surrogate pair")
    return value


def integer(value: object, least: int, most: int) -> int:
    """A whole number from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise FieldError(f"not a whole number from {least} to {most}")
    return value


def number(value: object, least: float, most: float) -> float:
    """A finite number from `least` to `most`."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise FieldError(f"not a number from {least} to {most}")
    if not math.isfinite(value):
        raise FieldError("not a finite number")
    return float(value)
