"""The settings of one program: those of its file, and the flags and variables that override them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping, NoReturn

from ..core.ports import HIGHEST, LOWEST, PortRange
from .document import Document, refuse

# Characters of a source that a report has room for: the end of a long path tells more than its beginning.
MAX_SOURCE = 200

# YAML 1.1 has more words for these than 1.2, and go-yaml takes them where the program wants one.
_TRUE = frozenset(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"))
_FALSE = frozenset(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"))
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,4})")
_RANGE = re.compile(r"([1-9][0-9]{0,4}) *- *([1-9][0-9]{0,4})")


@dataclass(frozen=True)
class Setting:
    """A value, and the file, the key, flag or variable, and the line where it stands."""

    text: str
    file: str
    key: str
    line: int


class Settings:
    """Settings by their keys. UserError where a value is not of its kind, which is not shown: it may be a secret."""

    def __init__(self, document: Document, overrides: Mapping[str, Setting] | None = None) -> None:
        self._document, self._overrides = document, overrides or {}

    def _get(self, key: str) -> Setting | None:
        if key in self._overrides:
            return self._overrides[key]
        node = self._document.text(*key.split("."))
        return Setting(node.text, self._document.file, key, node.line) if node else None

    def source(self, key: str) -> str:
        """Return where the value of a key comes from, in at most 200 characters."""
        setting = self._get(key)
        text = f"{setting.file}, {setting.key}" if setting else f"default of {key}, not in {self._document.file}"
        return text if len(text) <= MAX_SOURCE else "..." + text[3 - MAX_SOURCE :]

    def refuse(self, key: str, why: str) -> NoReturn:
        """Refuse the value of a key, or that it has none, without showing it."""
        setting = self._get(key) or Setting("", self._document.file, key, 1)
        refuse(setting.file, setting.line, f"{setting.key} {why}")

    def text(self, key: str) -> str:
        """Return the value as it is written; empty where there is none."""
        setting = self._get(key)
        return setting.text if setting else ""

    def items(self, key: str) -> tuple[str, ...]:
        """Return the items of a list of texts."""
        return tuple(item.text for item in self._document.texts(*key.split(".")))

    def flag(self, key: str) -> bool:
        """Return whether a value is true; false where there is none."""
        text = self.text(key)
        if text and text not in _TRUE and text not in _FALSE:
            self.refuse(key, "is neither true nor false")
        return text in _TRUE

    def number(self, key: str, default: int = 0, least: int = 0) -> int:
        """Return a number from `least` to 65535: a port, or a value that means none."""
        text = self.text(key)
        if text and (not _NUMBER.fullmatch(text) or not least <= int(text) <= HIGHEST):
            self.refuse(key, f"is not a number from {least} to {HIGHEST}")
        return int(text) if text else default

    def port_range(self, key: str) -> PortRange | None:
        """Return a port, or several as in `7882-7892`; None for 0 and where there is no value."""
        match = _RANGE.fullmatch(self.text(key))
        if not match:
            port = self.number(key)
            return PortRange(port, port) if port else None
        return self.range_of(key, int(match.group(1)), int(match.group(2)))

    def range_of(self, key: str, first: int, last: int) -> PortRange:
        """Return the range of two ports, of which `key` has one."""
        if not LOWEST <= first <= last <= HIGHEST:
            self.refuse(key, "does not make a range of ports")
        return PortRange(first, last)
