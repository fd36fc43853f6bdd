"""Files of the system, as far as they may be read."""

from __future__ import annotations

import io


def read_text(path: str, most: int) -> str:
    """The beginning of a file, `most` characters; nothing of one that is not there, or not for everybody."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(most)
    except OSError:
        return ""


class Kept:
    """A file that stays open, so that it can be read again by who may not open it any more."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file: io.FileIO | None = io.FileIO(path)  # a buffered one would give the old text again
        except OSError:
            self._file = None

    def read(self, most: int) -> str:
        """The beginning as it is now, `most` bytes; of a file that could not be opened, what read_text has."""
        if self._file is None:
            return read_text(self._path, most)
        try:
            self._file.seek(0)
            return self._file.read()[:most].decode("utf-8", "replace")
        except OSError:
            return ""

    def close(self) -> None:
        """Keep it no longer."""
        if self._file:
            self._file.close()
