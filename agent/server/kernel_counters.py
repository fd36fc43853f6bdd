"""Reads what this host's kernel has room for and what it dropped."""

from __future__ import annotations

from dataclasses import replace

from ..core.counters import KernelStatus
from ..system.counters import open_conntrack_statistics, read_kernel
from .capture import Capture


class KernelCounters:
    """The kernel's counters, and those of the capture, if there is one; made while this process is root."""

    def __init__(self, capture: Capture | None) -> None:
        self._capture, self._statistics = capture, open_conntrack_statistics()

    def read(self, slow_turns: int) -> KernelStatus:
        """Return what they say now; `slow_turns` of the server's loop are told beside them."""
        kernel, drops = read_kernel(self._statistics), self._capture.drops if self._capture else None
        return replace(kernel, counters=replace(kernel.counters, capture_drops=drops, slow_turns=slow_turns))

    def close(self) -> None:
        """Close the files."""
        for file in self._statistics:
            file.close()
