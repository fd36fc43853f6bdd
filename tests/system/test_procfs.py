"""What Linux tells about a process, by texts as it writes them and by this very process."""

from __future__ import annotations

import os
import sys

import pytest

from agent.system import procfs
from agent.system.procfs import ProcessStat, read_stat

# proc_pid_stat(5): the name may hold what it likes.
STAT = "812 (a) b (c)) S 1 812 812 0 -1 4194560 100 0 0 0 7 3 20 10 20 0 1 0 4711 1 2 3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STAT, ProcessStat("S", 4711, 40)),
        (STAT.replace(" S ", " Z "), ProcessStat("Z", 4711, 40)),
        ("", None),
        ("812 (name) S 1", None),
        (STAT.replace("4711", "soon"), None),
    ],
)
def test_the_fields_behind_the_name(text: str, expected: ProcessStat | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "read_text", lambda path, most: text if path == "/proc/812/stat" else "")
    assert read_stat("812") == expected


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_this_very_process() -> None:
    process = read_stat(str(os.getpid()))
    assert process
    assert (process.state, process.started > 0) == ("R", True)
    thread = read_stat(f"{os.getpid()}/task/{os.getpid()}")
    assert thread
    assert thread.started == process.started
