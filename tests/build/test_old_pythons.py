from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pythons import SUPPORTED, TOO_OLD, need

START_LIMIT = 0.2  # seconds


@pytest.mark.parametrize("version", TOO_OLD)
def test_one_sentence_for_a_python_too_old(archive: Path, version: str) -> None:
    done = subprocess.run([need(version), archive, "client", "::1"], capture_output=True, timeout=120, check=False)
    told = done.stderr.decode("ascii")
    assert (done.returncode, done.stdout) == (2, b"")
    assert "3.8" in told
    assert version in told
    assert told.count("\n") == 1
    assert told.endswith(".\n")
    assert ". " not in told  # one sentence


@pytest.mark.parametrize("version", SUPPORTED)
def test_help_on_every_supported_python(archive: Path, version: str) -> None:
    done = subprocess.run([need(version), archive, "--help"], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"server" in done.stdout
    assert b"client" in done.stdout


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_comes_at_once(archive: Path) -> None:
    # Nothing is waited for, so the processor's time is what it takes where nothing else runs.
    times = []
    for _ in range(7):
        before = _children()
        subprocess.run([sys.executable, archive, "--help"], stdout=subprocess.DEVNULL, timeout=120, check=True)
        times.append(_children() - before)
    assert statistics.median(times) <= START_LIMIT, times
