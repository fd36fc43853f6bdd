"""Other problems on the server, beside its ports: what happened, what it does to users, and what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """One problem on the server, which changes no verdict; `code` is a stable word for programs."""

    code: str
    what: str
    breaks: str
    fix: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notes:
    """The results of some checks: the problems, the checks that found none, and those without a result and why."""

    problems: tuple[Note, ...] = ()
    fine: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
