"""Bounds how many events about clients the operator is told."""

from __future__ import annotations

from typing import Callable

from ..core.events import Event, EventsSuppressed, ReportReceived
from .token_bucket import TokenBucket

# Lines about clients that come and go: as many at once as sessions begin and end, then as fast as somebody can read.
NOTICES, NOTICES_A_SECOND = 150, 5.0
# Reports: of every session one at once; then one a second, of which each may be 4 MiB of a stranger's text.
REPORTS, REPORTS_A_SECOND = 64, 1.0


class Notices:
    """Passes events on with `emit`, or counts them where there are too many."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit, self._withheld = emit, 0
        self._notices, self._reports = TokenBucket(NOTICES, NOTICES_A_SECOND), TokenBucket(REPORTS, REPORTS_A_SECOND)

    def admit(self, event: Event, now: float) -> bool:
        """Return whether there is room for one more of its kind."""
        admitted = (self._reports if isinstance(event, ReportReceived) else self._notices).consume(now)
        self._withheld += not admitted
        return admitted

    def emit_withheld(self, now: float) -> None:
        """Say how many were not told, as soon as there is room for that."""
        if self._withheld and self._notices.consume(now):
            self._emit(EventsSuppressed(self._withheld))
            self._withheld = 0
