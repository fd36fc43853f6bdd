"""A configuration file as a tree of values, wherever it was read from.

An error names the file, the line and the kind of a value, never the value, which may be a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, TypeVar

from ..core.errors import UserError

Kind = TypeVar("Kind")


def refuse(file: str, line: int, why: str) -> NoReturn:
    """Raise the UserError that refuses a configuration file; line 0 is an unknown one."""
    raise UserError("configuration", f"{file} is not understood", f"line {line}: {why}" if line else why,
                    "fix that, or name the ports yourself: --tcp 80,443,7881 --udp 50000-60000")  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A value and its line, from 1, or 0 where that is unknown; a text is without its quotes. None is YAML's null.

    `unread` is why the value is not read, where it is not.
    """

    line: int
    value: str | dict[str, Node] | list[Node] | None
    unread: str = ""

    @property
    def text(self) -> str:
        """Return the text that it is; an empty one where it is none."""
        return self.value if isinstance(self.value, str) else ""


@dataclass(frozen=True)
class Document:
    """A configuration file. Each method raises UserError where a value is of another kind, or unread."""

    file: str
    root: Node

    def require(self, *keys: str) -> None:
        """Refuse the file where one of these keys is not on its first level, whatever its value is."""
        for key in keys:
            if not isinstance(self.root.value, dict) or key not in self.root.value:
                refuse(self.file, 1, f"there is no {key} in the file: it is another one, or incomplete")

    def entries(self, *path: str) -> dict[str, Node]:
        """Return a mapping; an empty one where there is none."""
        return self._as(self._find(path), dict) or {}

    def items(self, *path: str) -> list[Node]:
        """Return the items of a list, of any kind; none where there is no list."""
        return self._as(self._find(path), list) or []

    def texts(self, *path: str) -> list[Node]:
        """Return the items of a list, which all are texts."""
        return [item for item in self.items(*path) if self._as(item, str) is not None]

    def text(self, *path: str) -> Node | None:
        """Return a node with a text; None where there is none."""
        node = self._find(path)
        return None if self._as(node, str) is None else node

    def is_list(self, *path: str) -> bool:
        """Return whether there is a list."""
        return isinstance(self._find(path).value, list)

    def _find(self, path: tuple[str, ...]) -> Node:
        node = self.root
        for key in path:
            node = (self._as(node, dict) or {}).get(key, Node(node.line, None))
        return node

    def _as(self, node: Node, kind: type[Kind]) -> Kind | None:
        if node.unread or not (node.value is None or isinstance(node.value, kind)):
            refuse(self.file, node.line, node.unread or "a different kind of value is needed here")
        return node.value
