"""Serves the modules that the archive keeps in one text; from a tree of files Python needs none of this.

What importlib.abc has for it is left alone: it takes Python 3.12 30 ms to import.
"""

from __future__ import annotations

import os
import sys
import zipfile
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from typing import Sequence

_TEXT = "rooms.txt"
_HEADER = b"\n#-- "  # before each file's name; build.py sees to it that no line of code begins so


def install() -> None:
    """Let every later `import agent.…` find what the text has. Python's own zipimport cannot read it."""
    root = os.path.dirname(os.path.dirname(__file__))
    try:
        with zipfile.ZipFile(root) as archive:
            text = archive.read(f"agent/{_TEXT}")
    except RuntimeError:  # a Python that somebody built himself, without the library for it
        sys.stderr.write("pnmcheck: this Python cannot read bzip2: start it with the system's own python3.\n")
        sys.exit(3)
    sys.meta_path.insert(0, Rooms(text, root))


class Rooms:
    """A finder on sys.meta_path. It never changes, so threads may import at the same time."""

    def __init__(self, text: bytes, root: str) -> None:
        """`text`: files, each behind the line `#-- agent/….py`; `root`: the path that those names begin at."""
        self._files: dict[str, tuple[str, bytes]] = {}
        for file in (b"\n" + text).split(_HEADER)[1:]:
            name, _, source = file.partition(b"\n")
            parts = name.decode("utf-8").split("/")
            module = ".".join(parts)[: -len(".py")]
            if parts[-1] == "__init__.py":
                module = ".".join(parts[:-1])
            self._files[module] = os.path.join(root, *parts), source

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """What Python has to know of a module to import it; None where the text does not have it."""
        return spec_from_loader(name, _Loader(name, *self._files[name])) if name in self._files else None


class _Loader(SourceFileLoader):
    """Python's own loader of a source file, only that the file is at hand and no bytecode is kept."""

    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self._source = source

    def get_data(self, path: str) -> bytes:
        """The source; other files there are in the archive itself, for `pkgutil.get_data("agent", …)`."""
        if path != self.path:
            raise OSError(f"{path}: not in {_TEXT}")
        return self._source

    def path_stats(self, path: str) -> dict[str, float]:
        """Nothing, as there is no file; without its time Python neither looks for bytecode nor writes any."""
        raise OSError(f"{path}: not a file")
