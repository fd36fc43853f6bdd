"""The settings of one program, wherever they come from: its file, and what beats it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping, NoReturn

from ..core.ports import HIGHEST, LOWEST, PortRange
from .flat_yaml import ITEM, Found, refuse

# As much of a source as a report has room for: the end of a long path tells more than its beginning.
MAX_SOURCE = 200

# YAML 1.1 has more words for these than 1.2, and go-yaml takes them where the program wants one.
_TRUE = frozenset(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"))
_FALSE = frozenset(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"))
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,4})")
_RUN = re.compile(r"([1-9][0-9]{0,4}) *- *([1-9][0-9]{0,4})")


@dataclass(frozen=True)
class Setting:
    """A value, and the file, the key, flag or variable, and the line where it stands."""

    text: str
    file: str
    key: str
    line: int

    def refuse(self, what: str) -> NoReturn:
        """Refuse the file for this value, without showing it."""
        refuse(self.file, self.line, f"{self.key} {what}")


class Settings:
    """Settings by their keys. UserError where a value is not of its kind, which is not shown: it may be a secret."""

    def __init__(self, file: str, found: Found, over: Mapping[str, Setting]) -> None:
        self.file, self._found = file, found
        self._all = {".".join(path): Setting(values[0].text, file, ".".join(path), values[0].line)
                     for path, values in found.items()}  # fmt: skip
        self._all.update(over)

    def source(self, key: str) -> str:
        """Where the value of a key comes from."""
        found = self._all.get(key)
        text = f"{found.file}, {found.key}" if found else f"default of {key}, not in {self.file}"
        return text if len(text) <= MAX_SOURCE else "..." + text[3 - MAX_SOURCE :]

    def refuse(self, key: str, what: str) -> NoReturn:
        """Refuse what a key has, or has not."""
        self._all.get(key, Setting("", self.file, key, 1)).refuse(what)

    def text(self, key: str) -> str:
        """The value as it stands; empty where there is none."""
        found = self._all.get(key)
        return found.text if found else ""

    def items(self, key: str) -> tuple[str, ...]:
        """The items of a list."""
        return tuple(one.text for one in self._found.get((*key.split("."), ITEM), ()))

    def flag(self, key: str) -> bool:
        """True or false, which it is where nothing is said."""
        text = self.text(key)
        if text and text not in _TRUE and text not in _FALSE:
            self.refuse(key, "is neither true nor false")
        return text in _TRUE

    def number(self, key: str, default: int = 0, least: int = 0) -> int:
        """A port, or 0, or what else from `least` on means that there is none."""
        text = self.text(key)
        if text and (not _NUMBER.fullmatch(text) or not least <= int(text) <= HIGHEST):
            self.refuse(key, f"is no number from {least} to {HIGHEST}")
        return int(text) if text else default

    def run(self, key: str) -> PortRange | None:
        """A port, or several as `7882-7892`; None for 0 and for nothing."""
        match = _RUN.fullmatch(self.text(key))
        if not match:
            port = self.number(key)
            return PortRange(port, port) if port else None
        return self.range(key, int(match.group(1)), int(match.group(2)))

    def range(self, key: str, first: int, last: int) -> PortRange:
        """The run of ports that two numbers make, of which `key` has one."""
        if not LOWEST <= first <= last <= HIGHEST:
            self.refuse(key, "makes no range of ports")
        return PortRange(first, last)
