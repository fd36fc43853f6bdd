"""Run the system's own tools, each for a limited time. They only read, but for openssl, which makes a certificate."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Mapping

from .procfs import read_stat

# A tool that hangs, on a lock say, must not delay the report for long: it is ended once it used no CPU for this long.
TOOL_SECONDS = 5.0
# One that works on a large rule set, on a busy machine, gets up to this.
MAX_TOOL_SECONDS = 30.0
_POLL_SECONDS = 0.25  # how often its CPU time is read, so that one that hangs is ended soon after its time
# A rule set of 50,000 lines has about 5 MiB, as JSON four times that; a larger one counts as not read.
MAX_OUTPUT = 32 * 1024 * 1024
MAX_ERROR = 400  # its first line is shown

PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


_starting = threading.Lock()
_running: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class CommandResult:
    """What a tool printed; where that is None, `error` says why, and `missing` whether there is no such tool."""

    output: str | None
    error: str = ""
    missing: bool = False


def run_tool(tool: str, *arguments: str, variables: Mapping[str, str] | None = None) -> CommandResult:
    """Run a tool that lists something, in English, with this process's environment or that of `variables`.

    What it prints is text of unknown origin.
    """
    path = shutil.which(tool, path=PATH)
    if path is None:
        return CommandResult(None, f"there is no {tool} here", missing=True)
    environment = {**(os.environ if variables is None else variables), "PATH": PATH, "LC_ALL": "C", "LANGUAGE": ""}
    try:
        with _starting:
            process = subprocess.Popen(
                [path, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=environment, start_new_session=True,
            )  # fmt: skip
            _running.add(process)
    except (OSError, ValueError) as error:  # a ValueError is an argument that cannot be one
        return CommandResult(None, f"{tool} cannot be run: {getattr(error, 'strerror', error)}")
    with process:
        text, errors, waited = _read_output(process)
    _running.discard(process)
    if waited is not None:
        return CommandResult(None, f"{tool} did not answer in {waited:.0f} s")
    if len(text) > MAX_OUTPUT:
        return CommandResult(None, f"{tool} prints more than {MAX_OUTPUT // 1024 // 1024} MiB")
    if process.returncode:
        first = errors.decode("utf-8", "replace").strip().partition("\n")[0]
        first = "".join(char if char.isprintable() else "?" for char in first)
        return CommandResult(None, f"{tool} failed: {first or f'status {process.returncode}'}")
    return CommandResult(text.decode("utf-8", "replace"))


def kill_running_tools() -> None:
    """Kill the tools that run, and let none start any more: for a process that ends at once."""
    _starting.acquire()
    for process in tuple(_running):
        _kill(process)


def _read_output(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes, float | None]:
    """Return what a tool prints until it ends, its errors, and after how many seconds it was killed, if it was."""
    ended = threading.Event()
    waited: list[float] = []

    def watch() -> None:
        seconds = _time_out(process, ended)
        if seconds is not None:
            waited.append(seconds)
            _kill(process)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        assert process.stdout
        assert process.stderr
        text = process.stdout.read(MAX_OUTPUT + 1)
        if len(text) > MAX_OUTPUT:
            _kill(process)
        errors = process.stderr.read(MAX_ERROR)
        process.stderr.close()  # this ends a tool that has more to say
        process.wait()
    finally:
        ended.set()
        watcher.join()
    return text, errors, waited[0] if waited else None


def _time_out(process: subprocess.Popen[bytes], ended: threading.Event) -> float | None:
    """Watch a tool; return None once it has ended, else for how many seconds it hung or worked, which is too long."""
    began = worked = time.monotonic()
    used = _cpu_ticks(process.pid)
    while not ended.wait(min(_POLL_SECONDS, TOOL_SECONDS)):
        now, before, used = time.monotonic(), used, _cpu_ticks(process.pid)
        if used != before:
            worked = now
        for since, most in ((worked, TOOL_SECONDS), (began, MAX_TOOL_SECONDS)):
            if now - since >= most:
                return most
    return None


def _cpu_ticks(pid: int) -> int:
    process = read_stat(str(pid))
    return process.cpu_ticks if process else 0


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a tool and what it started, which else would hold its pipes open."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()
