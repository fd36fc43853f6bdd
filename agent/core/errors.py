"""Every error that a user can meet: what happened, why, and what to do."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """The exit statuses, the same for every command."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INTERRUPTED = 130


class UserError(Exception):
    """What the user has to know: what happened, why, what to do next; `code` is the report's stable `error.code`."""

    status = Exit.INCONCLUSIVE

    def __init__(self, code: str, what: str, why: str, hint: str) -> None:
        super().__init__(what)
        self.code, self.what, self.why, self.hint = code, what, why, hint

    @property
    def message(self) -> str:
        """Return what happened and why, for places that have room for one text."""
        return f"{self.what}: {self.why}" if self.why else self.what


class UsageError(UserError):
    """The command line does not say what it has to; exit status 2."""

    status = Exit.USAGE

    def __init__(self, what: str, why: str, hint: str = "see --help") -> None:
        super().__init__("usage", what, why, hint)


class DecodeError(ValueError):
    """The one exception that every decoder raises, whatever bytes it is given."""
