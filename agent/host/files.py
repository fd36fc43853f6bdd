"""Files of the system, as far as anybody may read them."""

from __future__ import annotations


def read_text(path: str, most: int) -> str:
    """The beginning of a file, `most` characters; nothing of one that is not there, or not for everybody."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(most)
    except OSError:
        return ""
