"""Read what Linux tells about a process in /proc/PID/stat (proc_pid_stat(5))."""

from __future__ import annotations

from dataclasses import dataclass

from .files import read_text

MAX_STAT = 1000  # characters: 52 numbers and a name


@dataclass(frozen=True)
class ProcessStat:
    """Its state (a letter), its start in clock ticks since boot, and the CPU ticks of it and its ended children."""

    state: str
    started: int
    cpu_ticks: int


def read_stat(process: str) -> ProcessStat | None:
    """Return the status of a process (`812`) or thread (`812/task/813`); None where it is gone, or not on Linux."""
    # The name before the last parenthesis may hold spaces and parentheses itself.
    fields = read_text(f"/proc/{process}/stat", MAX_STAT).rpartition(")")[2].split()
    try:
        return ProcessStat(fields[0], int(fields[19]), sum(map(int, fields[11:15])))
    except (IndexError, ValueError):
        return None
