"""Write to stdout and stderr: text, JSON, errors and the live line; and let signals end the program cleanly."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import IO, TYPE_CHECKING

from ..core.errors import UserError
from ..output.style import MAX_WIDTH, MIN_WIDTH, Style

if TYPE_CHECKING:
    from ..client.steps import Progress

# Characters written at a time: a pipe takes 4,096 bytes whole or not at all (pipe(7)). Of more, a signal may leave a
# part, and an unbuffered stream (PYTHONUNBUFFERED) loses the rest.
_CHUNK = 1000


def style_of(stream: IO[str], min_width: int = MIN_WIDTH) -> Style:
    """Return how to write to a stream: `min_width` columns at least, colour and Unicode where it shows them."""
    columns, is_terminal = MAX_WIDTH, stream.isatty()
    if is_terminal:
        with contextlib.suppress(OSError, ValueError):  # of this stream: the others may be files
            columns = min(os.get_terminal_size(stream.fileno()).columns or MAX_WIDTH, MAX_WIDTH)
    colour = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and os.name != "nt"
    unicode = (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return Style(max(min_width, columns), unicode, colour)


def write(text: str, stream: IO[str] | None = None) -> None:
    """Write a text to a stream, stdout by default, whole also where a signal comes meanwhile.

    Not where a second one comes: perhaps nobody reads the text.
    """
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "ascii"
    text = text.encode(encoding, "replace").decode(encoding)
    _Output.busy = True
    try:
        for start in range(0, len(text), _CHUNK):
            stream.write(text[start : start + _CHUNK])
        stream.flush()
    finally:
        _Output.busy = False
    if _Output.interrupted:
        _Output.interrupted = False
        raise KeyboardInterrupt


def write_json(value: object) -> None:
    """Write a value to stdout as one line of JSON."""
    write(json.dumps(value, separators=(",", ":")) + "\n")


def write_error(error: UserError) -> None:
    """Write an error to stderr: what happened, why, what to do."""
    from ..output.events import error_text

    write(error_text(error, style_of(sys.stderr)), sys.stderr)


def internal_error(error: Exception) -> UserError:
    """Return the error to show for an exception that nothing else handled."""
    hint = "run it again; if it happens again, report it with the line above"
    return UserError("internal", "an error inside pnmcheck", f"{type(error).__name__}: {error}", hint)


class LiveLine:
    """One line on stderr that says what is going on; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._enabled = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._length = 0  # of what stands there now

    def show(self, progress: Progress) -> None:
        """Replace the line."""
        from ..output.text import render_progress

        if self._enabled:
            # A line that wraps could not be replaced.
            self._replace(render_progress(*progress, style_of(sys.stderr, min_width=1)))

    def clear(self) -> None:
        """Remove the line."""
        if self._length:
            self._replace("", "\r")

    def _replace(self, line: str, end: str = "") -> None:
        # Spaces overwrite the rest of a longer line: not every terminal on Windows can clear a line.
        sys.stderr.write("\r" + line.ljust(self._length) + end)
        sys.stderr.flush()
        self._length = len(line)


class _Output:
    """Whether a text is being written now, and whether a signal came meanwhile."""

    busy = interrupted = False


def catch_signals() -> None:
    """Turn the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt; ignore those that come during the cleanup."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def interrupt(number: int, frame: object) -> None:
        if _Output.busy and not _Output.interrupted:
            _Output.interrupted = True
            return
        for caught in numbers:
            signal.signal(caught, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP on purpose
            signal.signal(number, interrupt)
