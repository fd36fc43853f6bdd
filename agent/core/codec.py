"""JSON that nobody vouches for, and values: a table of keys beside each dataclass maps one to the other, both ways.

A codec's `encode` makes plain JSON of a value of this program. Its `decode` takes JSON that nobody vouches for, checks
type and bounds, and raises DecodeError for anything else. A key that no table has is no error: peers may add some.
"""

from __future__ import annotations

import enum
import json
import math
import re
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Callable, Generic, Mapping, Tuple, TypeVar

from .address import MAX_ADDRESS, parse_address
from .errors import DecodeError
from .ports import HIGHEST, LOWEST, PortRange

Value = TypeVar("Value")
Choices = TypeVar("Choices", bound=enum.Enum)


class Codec(Generic[Value]):
    """A kind of JSON value; the keys of an `inline` one stand in the object of the value that has it."""

    inline = False

    def encode(self, value: Value) -> Any:
        """Return the value as plain JSON."""
        return value

    def decode(self, value: object, key: str = "") -> Value:
        """Return what the JSON at `key` says; DecodeError where it is of another type, or out of bounds."""
        raise NotImplementedError


Members = Mapping[str, Codec[Any]]  # of a JSON object, in the order in which they are written


@dataclass(frozen=True)
class Text(Codec[str]):
    """A text of at most `most` characters, each of which can be written as UTF-8; all of it matches `pattern`."""

    most: int = 200
    pattern: str = ""

    def decode(self, value: object, key: str = "") -> str:
        if not isinstance(value, str) or len(value) > self.most:
            raise DecodeError(f"not a text of at most {self.most} characters")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise DecodeError("half of a surrogate pair")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise DecodeError("not of the form that it has to have")
        return value


@dataclass(frozen=True)
class AddressText(Codec[str]):
    """An IP address as text; `canonical` is how `str` writes it, else as it came, with the name of an interface."""

    canonical: bool = False

    def decode(self, value: object, key: str = "") -> str:
        text = Text(MAX_ADDRESS).decode(value)
        try:
            address = parse_address(text)
        except ValueError:
            raise DecodeError("not an IP address") from None
        return str(address) if self.canonical else text


@dataclass(frozen=True)
class Integer(Codec[int]):
    """A whole number from `least` to `most`; true and 1.0 are none."""

    least: int
    most: int

    def decode(self, value: object, key: str = "") -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise DecodeError(f"not a whole number from {self.least} to {self.most}")
        return value


@dataclass(frozen=True)
class Number(Codec[float]):
    """A finite number from `least` to `most`; written with so many decimals, where that is said."""

    least: float
    most: float
    decimals: int | None = None

    def encode(self, value: float) -> float:
        return value if self.decimals is None else round(value, self.decimals)

    def decode(self, value: object, key: str = "") -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise DecodeError(f"not a number from {self.least} to {self.most}")
        if not math.isfinite(value):
            raise DecodeError("not a finite number")
        return float(value)


class Boolean(Codec[bool]):
    """true or false."""

    def decode(self, value: object, key: str = "") -> bool:
        if not isinstance(value, bool):
            raise DecodeError(f"'{key}' is neither true nor false")
        return value


@dataclass(frozen=True)
class Choice(Codec[Choices]):
    """One of the values of an enumeration, by its word."""

    kind: type[Choices]

    def encode(self, value: Choices) -> Any:
        return value.value

    def decode(self, value: object, key: str = "") -> Choices:
        for member in self.kind:
            if isinstance(value, str) and member.value == value:
                return member
        raise DecodeError(f"'{key}' is none of the values known")


@dataclass(frozen=True)
class Nullable(Codec[Any]):
    """null, which is None here, or what the other codec has."""

    codec: Codec[Any]

    def encode(self, value: Any) -> Any:
        return None if value is None else self.codec.encode(value)

    def decode(self, value: object, key: str = "") -> Any:
        return None if value is None else self.codec.decode(value, key)


@dataclass(frozen=True)
class ListOf(Codec[Tuple[Any, ...]]):
    """A list of at most `most` items."""

    codec: Codec[Any]
    most: int = 1 << 31  # of what is never decoded

    def encode(self, value: tuple[Any, ...]) -> list[Any]:
        return [self.codec.encode(item) for item in value]

    def decode(self, value: object, key: str = "") -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > self.most:
            raise DecodeError(f"'{key}' is not a list of at most {self.most} items")
        return tuple(self.codec.decode(item, key) for item in value)


@dataclass(frozen=True)
class Derived(Codec[Any]):
    """What is written for readers and follows from the rest of the value, so that decoding leaves it out."""

    derive: Callable[[Any], Any]

    def encode(self, value: Any) -> Any:
        return self.derive(value)


@dataclass(frozen=True)
class Record(Codec[Value]):
    """A JSON object, from its keys in their order: each with its codec, and the attribute of a like name.

    `attributes` names those that are called otherwise. `check` looks at a value as a whole, and may raise DecodeError.
    """

    make: Callable[..., Value]
    keys: Members
    attributes: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Value], None] | None = None
    inline: bool = False

    def encode(self, value: Value) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for key, codec in self.keys.items():
            plain = codec.encode(value if isinstance(codec, Derived) else getattr(value, self.attributes.get(key, key)))
            written.update(plain if codec.inline else {key: plain})
        return written

    def decode(self, value: object, key: str = "") -> Value:
        if not isinstance(value, dict):
            raise DecodeError("not a JSON object")
        attributes: dict[str, Any] = {}
        for name, codec in self.keys.items():
            if isinstance(codec, Derived):
                continue
            if not codec.inline and name not in value:
                raise DecodeError(f"'{name}' is missing")
            attributes[self.attributes.get(name, name)] = codec.decode(value if codec.inline else value[name], name)
        decoded = self.make(**attributes)
        if self.check:
            self.check(decoded)
        return decoded


class TupleOf(Record[Any]):
    """A tuple, as a JSON object that has its items at these keys."""

    def __init__(self, keys: Members) -> None:
        super().__init__(lambda **items: tuple(items.values()), keys)

    def encode(self, value: tuple[Any, ...]) -> dict[str, Any]:
        return super().encode(SimpleNamespace(**dict(zip(self.keys, value))))


@dataclass(frozen=True)
class Row(Codec[Value]):
    """A record as a list of its values without their keys; `name` says what it is."""

    record: Record[Value]
    names: tuple[str, ...]
    name: str

    def encode(self, value: Value) -> list[Any]:
        return list(self.record.encode(value).values())

    def decode(self, value: object, key: str = "") -> Value:
        if not isinstance(value, list) or len(value) != len(self.names):
            raise DecodeError(f"not a {self.name}")
        return self.record.decode(dict(zip(self.names, value)), key)


def _make_ports(first: int, last: int) -> PortRange:
    return PortRange(first, Integer(first, HIGHEST).decode(last))


_PORT = Integer(LOWEST, HIGHEST)
PORTS = Record(_make_ports, {"first": _PORT, "last": _PORT}, inline=True)


# Digits of a whole number: no field needs more than 64 bits.
MAX_DIGITS = 20
# A report nests six deep: report, addresses, address, findings, finding, evidence. Later versions may add some.
MAX_DEPTH = 16

_BESIDE_BRACKETS = re.compile(r'"[^"]*"?|[^][{}"]+')
_INNERMOST = re.compile(r"\[\]|\{\}")


def load_object(text: str | bytes, max_length: int | None = None) -> dict[str, Any]:
    """Return the JSON object that a text, of `max_length` characters or bytes, is; DecodeError for anything else."""
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
