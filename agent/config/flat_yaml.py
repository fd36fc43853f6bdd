"""A strict reader of the YAML that configuration files are: mappings and lists by indentation, a value in one line.

It keeps what it is asked for and nothing else, and names what it refuses by its line and kind: what stands there may be
a secret. Whatever YAML reads in another way than line by line (anchors, aliases, tags, values over several lines) is
refused, but for block scalars that nobody asks for (YAML 1.2.2, chapters 6 to 8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterator, List, NoReturn, Sequence, Tuple

from ..core.errors import UserError

# The reader calls itself for each level; a compose file has five or six.
MAX_DEPTH = 20
# Stands in a path for an item of a list: no key can be this.
ITEM = "\0"

Path = Tuple[str, ...]
Ways = Tuple[Path, ...]


@dataclass(frozen=True)
class Scalar:
    """A value as it stands, without quotes, and its line, from 1."""

    text: str
    line: int


Found = Dict[Path, List[Scalar]]

# What YAML does not take, or takes for the end of a line where an editor shows none.
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_MARKER = re.compile(r"(?:---|\.\.\.)(?: |$)")
_QUOTED = re.compile(r""" "[^"\\]*(?:\\.[^"\\]*)*" | '[^']*(?:''[^']*)*' """, re.VERBOSE)
_ESCAPE = re.compile(r'\\(["\\/])')
_COMMENT = re.compile(r"(?:^| )#.*")
_COLON = re.compile(r":(?: +|$)")
_BLOCK_SCALAR = re.compile(r"[|>](?:[+-]?[1-9]?|[1-9][+-])(?: +#.*)?$")
_CLOSES = {"[": "]", "{": "}"}
# Within brackets: a quoted text, a bracket, a comma or a word. A comment is none of these.
_WORD = rf"""(?x: {_QUOTED.pattern} | [^][{{}},"'\#\ ][^][{{}},\ ]* )"""
_TOKEN = re.compile(rf" *({_WORD}|[][{{}},])")
_LIST = re.compile(rf"\[ *(?:{_WORD} *(?:, *{_WORD} *)*(?:, *)?)?\]$")
UNFINISHED = "it does not end, so that the file may be half written"
_NOT_PLAIN = "a value over several lines, or one that has to be quoted"
_INDENTATION = "its indentation fits nothing above it, or a value goes on over several lines"
_OTHER = "another kind of value than has to be here"
_BEHIND = "text behind a value"
_NULL = ("", "~", "null", "Null", "NULL")


def refuse(file: str, line: int, what: str) -> NoReturn:
    """Refuse a configuration file for what stands in a line."""
    raise UserError("configuration", f"{file} is not understood", f"line {line}: {what}",
                    "mend that line, or name the ports yourself: --tcp 80,443,7881 --udp 50000-60000")  # fmt: skip


def read_yaml(text: str, file: str, wanted: Sequence[str], needed: Sequence[str] = ()) -> Found:
    """The values of the wanted keys, each by its path; no value is a null. UserError where the text is refused.

    Wanted is `rtc.tcp_port`, where `*` stands for any key and `[]` for the items of a list. The `needed` keys of the
    first level have to be there, whatever stands behind them.
    """
    text = text.replace("\r\n", "\n")
    strange = _UNPRINTABLE.search(text)
    if strange:
        refuse(file, text.count("\n", 0, strange.start()) + 1, "a character that cannot be shown")
    reader = _Reader(file, list(_lines(text, file)))
    reader.read(tuple(tuple(ITEM if key == "[]" else key for key in path.split(".")) for path in wanted))
    missing = [key for key in needed if key not in reader.first_level]
    if missing:
        refuse(file, 1, f"no {missing[0]} in the whole file: it is another one, or half of one")
    last = text.count("\n") + 1
    if any(one.line == last for values in reader.found.values() for one in values):
        refuse(file, last, UNFINISHED)
    return reader.found


@dataclass(frozen=True)
class _Line:
    number: int
    indent: int
    text: str

    @property
    def is_item(self) -> bool:
        return self.text == "-" or self.text.startswith("- ")


def _lines(text: str, file: str) -> Iterator[_Line]:
    """The lines that say something."""
    begun = False
    for number, line in enumerate(text.split("\n"), 1):
        content = line.strip(" ")
        if not content.strip("\t") or content.lstrip("\t ")[0] == "#":
            continue
        if _MARKER.match(line):
            if begun or _COMMENT.sub("", line).rstrip() != "---":
                refuse(file, number, "a second document")
        else:
            yield _Line(number, len(line) - len(line.lstrip(" ")), content)
        begun = True


class _Reader:
    """What is read so far. `wants` are the wanted paths, as far as they lead on from where the reader is."""

    def __init__(self, file: str, lines: list[_Line]) -> None:
        self._file, self._lines, self._at = file, lines, 0
        self.found: Found = {}
        self.first_level: set[str] = set()

    def read(self, wants: Ways) -> None:
        """Read all of it."""
        if not self._lines:
            refuse(self._file, 1, "nothing stands in it")
        self._block(wants, ())
        if self._at < len(self._lines):
            self._refuse(_INDENTATION)

    def _refuse(self, what: str) -> NoReturn:
        refuse(self._file, self._lines[self._at].number, what)

    def _indent(self) -> int:
        """Of the next line; -1 behind the last."""
        return self._lines[self._at].indent if self._at < len(self._lines) else -1

    def _block(self, wants: Ways, path: Path) -> None:
        if len(path) > MAX_DEPTH:
            self._refuse(f"more than {MAX_DEPTH} levels")
        if self._lines[self._at].is_item:
            self._list(wants, path)
        else:
            self._mapping(wants, path)

    def _list(self, wants: Ways, path: Path) -> None:
        indent, inner = self._indent(), _beneath(wants, ITEM)
        if wants and not inner:
            self._refuse(_OTHER)
        while self._indent() == indent and self._lines[self._at].is_item:
            line = self._lines[self._at]
            rest = line.text[1:].lstrip(" ")
            item = _Line(line.number, indent + len(line.text) - len(rest), rest)
            self._lines[self._at] = item
            if item.is_item or self._key(rest):
                self._block(inner, (*path, ITEM))
            else:
                self._value(indent, inner, (*path, ITEM), rest)

    def _mapping(self, wants: Ways, path: Path) -> None:
        indent, seen = self._indent(), set() if path else self.first_level
        while self._indent() == indent and not self._lines[self._at].is_item:
            found = self._key(self._lines[self._at].text)
            if not found:
                self._refuse("neither a key with its value nor an item of a list")
            if wants and all(way in ((), (ITEM,)) for way in wants):
                self._refuse(_OTHER)
            key, rest = found
            if key in seen:
                self._refuse("a key that stands twice")
            seen.add(key)
            self._value(indent, _beneath(wants, key), (*path, key), rest, in_mapping=True)

    def _key(self, text: str) -> tuple[str, str] | None:
        """The key that a line begins with, and what follows it."""
        quoted = _QUOTED.match(text)
        if quoted:
            after = text[quoted.end() :].lstrip(" ")
            colon = _COLON.match(after)
            return (self._unquote(quoted.group()), after[colon.end() :]) if colon else None
        colon = _COLON.search(_COMMENT.sub("", text))
        if not colon or text[0] in "[{":  # a list of several words with colons, say
            return None
        key = text[: colon.start()].rstrip(" ")
        self._refuse_indicator(key)
        return key, text[colon.end() :]

    def _value(self, indent: int, wants: Ways, path: Path, rest: str, in_mapping: bool = False) -> None:
        """What stands behind a key, or behind the dash of an item, and in the lines below."""
        if "\t" in _COMMENT.sub("", self._lines[self._at].text):
            self._refuse("a tab")
        empty = not _without_comment(rest)
        if _BLOCK_SCALAR.match(rest):
            if wants:
                self._refuse(_NOT_PLAIN)
            self._at += 1
            while self._indent() > indent:
                self._at += 1
        elif empty:
            self._at += 1
            if self._indent() > indent or (in_mapping and self._indent() == indent and self._lines[self._at].is_item):
                self._block(wants, path)
        else:
            self._inline(wants, path, rest)
            self._at += 1
        if self._indent() > indent:
            self._refuse(_INDENTATION)

    def _inline(self, wants: Ways, path: Path, text: str) -> None:
        """A value that ends in its line."""
        quoted = _QUOTED.match(text)
        if quoted:
            if _without_comment(text[quoted.end() :]):
                self._refuse(_BEHIND)
            if self._is_kept(wants):
                self._keep(path, self._unquote(quoted.group()))
        elif text[0] in _CLOSES:
            self._flow(wants, path, text)
        else:
            value = _without_comment(text)
            self._refuse_indicator(value)
            if _COLON.search(value):
                self._refuse(_NOT_PLAIN)
            if value not in _NULL and self._is_kept(wants):
                self._keep(path, value)

    def _flow(self, wants: Ways, path: Path, text: str) -> None:
        """`[a, "b"]`; one that is not wanted may have others in it."""
        open_, at = "", 0
        while open_ or not at:
            token = _TOKEN.match(text, at)
            word = token.group(1) if token else ""
            if not token or len(open_) > MAX_DEPTH or (word in ("]", "}") and word != _CLOSES[open_[-1]]):
                self._refuse("a list or mapping that does not end in its line, or has a comment in it")
            at = token.end()
            open_ = open_ + word if word in _CLOSES else open_[:-1] if word in ("]", "}") else open_
        if _without_comment(text[at:]):
            self._refuse(_BEHIND)
        if not wants:
            return
        inner = _beneath(wants, ITEM)
        if not inner or not _LIST.match(text[:at]):
            self._refuse(_OTHER)
        for word in re.findall(_WORD, text[:at]):
            self._inline(inner, (*path, ITEM), word)

    def _is_kept(self, wants: Ways) -> bool:
        if wants and () not in wants:
            self._refuse(_OTHER)
        return bool(wants)

    def _keep(self, path: Path, value: str) -> None:
        self.found.setdefault(path, []).append(Scalar(value, self._lines[self._at].number))

    def _unquote(self, text: str) -> str:
        inner = text[1:-1]
        if text[0] == "'":
            return inner.replace("''", "'")
        if "\\" in _ESCAPE.sub("", inner):
            self._refuse("an escape in a quoted text")
        return _ESCAPE.sub(r"\1", inner)

    def _refuse_indicator(self, text: str) -> None:
        """Refuse a plain text that can be none by how it begins."""
        if text[:1] in tuple("&*!") or text == "<<":
            self._refuse("an anchor, an alias, a tag or a merge")
        if text[:1] in tuple("|>%@`\"'[]{},#") or text[:2] in ("?", "? ", "-", "- ", ":", ": "):
            self._refuse(_NOT_PLAIN)


def _without_comment(text: str) -> str:
    return _COMMENT.sub("", text).strip(" ")


def _beneath(wants: Ways, key: str) -> Ways:
    return tuple(way[1:] for way in wants if way and (way[0] == key or (way[0] == "*" and key != ITEM)))
