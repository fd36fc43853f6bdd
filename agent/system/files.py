"""Read files of the system, as far as this user may."""

from __future__ import annotations

import io
import os
import stat
from typing import NoReturn

from ..core.errors import UserError

# Configuration that people write has some kilobytes.
MAX_CONFIGURATION = 1024 * 1024


def read_text(path: str, most: int) -> str:
    """Return the first `most` characters of a file; an empty text where it is missing or must not be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(most)
    except OSError:
        return ""


def read_configuration(path: str) -> str:
    """Return the text of a configuration file, of at most 1 MiB of UTF-8; UserError where it cannot be read."""
    try:
        # A device may act when it is opened, so its kind is read first; O_NONBLOCK is for a FIFO put there meanwhile.
        _refuse_special(path, os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            _refuse_special(path, os.fstat(descriptor))
            data = file.read(MAX_CONFIGURATION + 1)
        if len(data) > MAX_CONFIGURATION:
            _refuse(path, f"it has more than {MAX_CONFIGURATION // 1024} KiB", "check that this is the right file")
        return data.decode("utf-8")
    except FileNotFoundError:
        _refuse(path, "there is no such file", "name the ports yourself (--tcp, --udp), or LiveKit's own configuration "
                "(--plan livekit:FILE)")  # fmt: skip
    except UnicodeDecodeError as error:
        _refuse(path, f"byte {error.start} is not UTF-8", "save it as UTF-8")
    except PermissionError:
        _refuse(path, "this user may not read it", "start with sudo")
    except (OSError, ValueError) as error:  # a ValueError is a name that cannot be one
        _refuse(path, getattr(error, "strerror", None) or "this cannot be the name of a file", "check that file")


def _refuse_special(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        _refuse(path, "it is not a regular file", "look what is there instead")


def _refuse(path: str, why: str, hint: str) -> NoReturn:
    raise UserError("configuration", f"{path} cannot be read", why, hint)


class ReopenableFile:
    """A file that stays open, so that it can be read again after the right to open it is given up."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file: io.FileIO | None = io.FileIO(path)  # a buffered one would give the old text again
        except OSError:
            self._file = None

    def read(self, most: int) -> str:
        """Return its first `most` bytes as they are now; of a file that could not be opened, what read_text returns."""
        if self._file is None:
            return read_text(self._path, most)
        try:
            self._file.seek(0)
            return self._file.read()[:most].decode("utf-8", "replace")
        except OSError:
            return ""

    def close(self) -> None:
        """Close it."""
        if self._file:
            self._file.close()
