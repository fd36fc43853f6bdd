"""Run one command line and return its exit status; whatever goes wrong is told in words, never by a traceback."""

from __future__ import annotations

import os
import sys
from typing import Sequence

from ..core.errors import Exit, UserError
from .parser import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own, and return the exit status (see core.errors.Exit)."""
    try:
        arguments = parse(argv)
        from . import commands, terminal  # not before: `--help` needs none of what commands import

        terminal.catch_signals()
        return commands.COMMANDS[arguments.command](arguments)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone; without this the interpreter fails when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.INCONCLUSIVE
    except Exception as exception:  # noqa: BLE001 - the last net: no traceback reaches a user
        from . import terminal

        error = exception if isinstance(exception, UserError) else terminal.internal_error(exception)
        terminal.write_error(error)
        return error.status
