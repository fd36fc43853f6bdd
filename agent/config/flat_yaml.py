"""Read the YAML that configuration files are written in: mappings and lists by indentation, each value in one line.

What YAML reads otherwise than line by line is refused: anchors, aliases, tags, mappings in braces, values over several
lines. A literal or folded block is left unread, and refused where its value is needed (YAML 1.2.2, chapters 6 to 8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterator, NoReturn

from .document import Document, Node, refuse

# The parser calls itself for each level; a compose file has five or six.
MAX_DEPTH = 20

# What YAML does not allow, or takes for the end of a line where an editor shows none.
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_MARKER = re.compile(r"(?:---|\.\.\.)(?: |$)")
_QUOTED = re.compile(r""" "[^"\\]*(?:\\.[^"\\]*)*" | '[^']*(?:''[^']*)*' """, re.VERBOSE)
_ESCAPE = re.compile(r'\\(["\\/])')
_COMMENT = re.compile(r"(?:^| )#.*")
_COLON = re.compile(r":(?: +|$)")
_BLOCK_SCALAR = re.compile(r"[|>](?:[+-]?[1-9]?|[1-9][+-])(?: +#.*)?$")
# Within brackets: a quoted text or a word. A comment is neither.
_WORD = rf"""(?x: {_QUOTED.pattern} | [^][{{}},"'\#\ ][^][{{}},\ ]* )"""
_LIST = re.compile(rf"\[ *(?:{_WORD} *(?:, *{_WORD} *)*(?:, *)?)?\]")
_NULL = ("", "~", "null", "Null", "NULL")

UNFINISHED = "the line has no end, so the file may be incomplete"
_NOT_PLAIN = "a value over several lines, or one that needs quotes"
_INDENTATION = "wrong indentation, or a value over several lines"
_TEXT_AFTER = "text after a value"
_ESCAPES = "an escape in a quoted text"


def read_yaml(text: str, file: str) -> Document:
    """Return the document that a file's text holds. UserError where the text is refused, whoever needs the line."""
    text = text.replace("\r\n", "\n")
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        refuse(file, text.count("\n", 0, unprintable.start()) + 1, "a control character")
    return Document(file, _Parser(file, list(_lines(text, file)), text.count("\n") + 1).document())


@dataclass(frozen=True)
class _Line:
    number: int
    indent: int
    text: str

    @property
    def is_item(self) -> bool:
        return self.text == "-" or self.text.startswith("- ")


def _lines(text: str, file: str) -> Iterator[_Line]:
    """Yield the lines that are neither empty nor a comment."""
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


class _Parser:
    """A cursor over the lines. `unfinished` is the number of the last one, which no line end follows."""

    def __init__(self, file: str, lines: list[_Line], unfinished: int) -> None:
        self._file, self._lines, self._unfinished, self._at = file, lines, unfinished, 0

    def document(self) -> Node:
        """Return the value of all lines."""
        if not self._lines:
            refuse(self._file, 1, "the file is empty")
        root = self._block(0)
        if self._at < len(self._lines):
            self._refuse(_INDENTATION)
        return root

    def _refuse(self, why: str) -> NoReturn:
        refuse(self._file, self._lines[self._at].number, why)

    def _indent(self) -> int:
        """Return that of the next line; -1 after the last."""
        return self._lines[self._at].indent if self._at < len(self._lines) else -1

    def _block(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self._refuse(f"more than {MAX_DEPTH} levels")
        line = self._lines[self._at]
        return Node(line.number, self._list(depth) if line.is_item else self._mapping(depth))

    def _list(self, depth: int) -> list[Node]:
        indent, items = self._indent(), []
        while self._indent() == indent and self._lines[self._at].is_item:
            line = self._lines[self._at]
            rest = line.text[1:].lstrip(" ")
            item = _Line(line.number, indent + len(line.text) - len(rest), rest)
            self._lines[self._at] = item
            nested = item.is_item or self._key(rest)
            items.append(self._block(depth + 1) if nested else self._value(indent, depth, rest))
        return items

    def _mapping(self, depth: int) -> dict[str, Node]:
        indent = self._indent()
        entries: dict[str, Node] = {}
        while self._indent() == indent and not self._lines[self._at].is_item:
            entry = self._key(self._lines[self._at].text)
            if not entry:
                self._refuse("neither `key: value` nor an item of a list")
            key, rest = entry
            if key in entries:
                self._refuse("a duplicate key")
            entries[key] = self._value(indent, depth, rest, in_mapping=True)
        return entries

    def _key(self, text: str) -> tuple[str, str] | None:
        """Return the key at the start of a line, and what follows it."""
        quoted = _QUOTED.match(text)
        if quoted:
            after = text[quoted.end() :].lstrip(" ")
            colon = _COLON.match(after)
            key = _unquoted(quoted.group()) if colon else ""
            if key is None:
                self._refuse(_ESCAPES)
            return (key, after[colon.end() :]) if colon else None
        colon = _COLON.search(_COMMENT.sub("", text))
        if not colon or text[0] in "[{":  # a list of several words with colons, say
            return None
        key = text[: colon.start()].rstrip(" ")
        self._refuse_indicator(key)
        return key, text[colon.end() :]

    def _value(self, indent: int, depth: int, rest: str, in_mapping: bool = False) -> Node:
        """Return the value after a key, or after the dash of an item, and in the lines below."""
        line = self._lines[self._at].number
        node = Node(line, None, UNFINISHED if line == self._unfinished else "")
        if "\t" in _COMMENT.sub("", self._lines[self._at].text):
            self._refuse("a tab")
        if _BLOCK_SCALAR.match(rest):
            node = Node(line, None, _NOT_PLAIN)
            self._at += 1
            while self._indent() > indent:
                self._at += 1
        elif _without_comment(rest):
            node = self._inline(rest)
            self._at += 1
        else:
            self._at += 1
            if self._indent() > indent or (in_mapping and self._indent() == indent and self._lines[self._at].is_item):
                node = self._block(depth + 1)
        if self._indent() > indent:
            self._refuse(_INDENTATION)
        return node

    def _inline(self, text: str) -> Node:
        """Return a value that ends in its line."""
        line = self._lines[self._at].number
        unread = UNFINISHED if line == self._unfinished else ""
        whole = _QUOTED.match(text) or _LIST.match(text)
        if whole:
            if _without_comment(text[whole.end() :]):
                self._refuse(_TEXT_AFTER)
            if text[0] == "[":
                return Node(line, [self._inline(word) for word in re.findall(_WORD, whole.group())], unread)
            value = _unquoted(whole.group())
            return Node(line, value, unread or ("" if value is not None else _ESCAPES))
        value = _without_comment(text)
        if value == "{}":
            return Node(line, {}, unread)
        self._refuse_indicator(value)
        if _COLON.search(value):
            self._refuse(_NOT_PLAIN)
        return Node(line, None if value in _NULL else value, unread)

    def _refuse_indicator(self, text: str) -> None:
        """Refuse a text without quotes that cannot be one by its first characters."""
        if text[:1] in tuple("&*!") or text == "<<":
            self._refuse("an anchor, an alias, a tag or a merge")
        if text[:1] in tuple("[{"):
            self._refuse("brackets that do not hold a list of words in one line")
        if text[:1] in tuple("|>%@`\"'[]{},#") or text[:2] in ("?", "? ", "-", "- ", ":", ": "):
            self._refuse(_NOT_PLAIN)


def _without_comment(text: str) -> str:
    return _COMMENT.sub("", text).strip(" ")


def _unquoted(text: str) -> str | None:
    """Return the text within quotes; None where it has an escape that is not understood."""
    inner = text[1:-1]
    if text[0] == "'":
        return inner.replace("''", "'")
    return None if "\\" in _ESCAPE.sub("", inner) else _ESCAPE.sub(r"\1", inner)
