"""A signal in the middle of a long line: the line is whole all the same, unless nobody reads it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Iterator

import pytest

import build
from tests.lab import until

LONG = 500_000  # characters: more than a pipe holds
WRITES = f"""
import sys
from agent.cli import terminal
terminal.catch_signals()
print("ready", file=sys.stderr, flush=True)
try:
    terminal.write_json({{"long": "x" * {LONG}}})
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def writer() -> Iterator[subprocess.Popen[bytes]]:
    """A program that is in the middle of a line, for nobody reads it yet."""
    command = [sys.executable, "-c", WRITES]
    with subprocess.Popen(command, cwd=build.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert process.stderr.readline() == b"ready\n"
        until(lambda: writes(process.pid), "a full pipe")
        yield process
        process.kill()


def writes(pid: int) -> bool:
    """Whether it waits for room in the pipe."""
    with open(f"/proc/{pid}/wchan", encoding="ascii") as waits:
        return "pipe" in waits.read()


def test_a_line_is_whole_when_a_signal_comes(writer: subprocess.Popen[bytes]) -> None:
    os.kill(writer.pid, signal.SIGINT)
    out, _ = writer.communicate(timeout=120)
    assert json.loads(out) == {"long": "x" * LONG}
    assert writer.returncode == 130


def test_a_second_signal_ends_what_nobody_reads(writer: subprocess.Popen[bytes]) -> None:
    os.kill(writer.pid, signal.SIGINT)
    until(lambda: not waits(writer.pid) and writes(writer.pid), "the first signal's handler")
    os.kill(writer.pid, signal.SIGINT)
    assert writer.wait(20) == 130


def waits(pid: int) -> bool:
    """Whether a signal waits to be taken."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        pending = [line.split()[1] for line in status if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(int(signals, 16) for signals in pending)
