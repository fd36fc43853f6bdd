"""Asks the system's own tools what they know. They are only ever asked to list, never to change anything."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass

# A tool that hangs, on a lock say, must not keep the report back for long.
TOOL_SECONDS = 5.0
# A rule set of 50,000 lines has about 5 MiB, as JSON four times that; whoever has more is told that it was not read.
MAX_OUTPUT = 32 * 1024 * 1024
MAX_ERROR = 400  # its first line is shown

_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Told:
    """What a tool printed; where that is None, `trouble` says why, and `missing` that there is no such tool."""

    text: str | None
    trouble: str = ""
    missing: bool = False


def ask(tool: str, *arguments: str) -> Told:
    """Run a tool that lists something, in English. What it prints is text of unknown origin."""
    path = shutil.which(tool, path=_PATH)
    if path is None:
        return Told(None, f"there is no {tool} here", missing=True)
    environment = {**os.environ, "PATH": _PATH, "LC_ALL": "C", "LANGUAGE": ""}
    try:
        process = subprocess.Popen(
            [path, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:  # a ValueError is an argument that cannot be one
        return Told(None, f"{tool} cannot be run: {getattr(error, 'strerror', error)}")
    with process:
        slow = threading.Event()

        def stop() -> None:
            slow.set()
            _kill(process)

        timer = threading.Timer(TOOL_SECONDS, stop)
        timer.start()
        try:
            assert process.stdout
            assert process.stderr
            text = process.stdout.read(MAX_OUTPUT + 1)
            if len(text) > MAX_OUTPUT:
                _kill(process)
            errors = process.stderr.read(MAX_ERROR)
            process.stderr.close()  # what has more to say ends by that
            process.wait()
        finally:
            timer.cancel()
    if slow.is_set():
        return Told(None, f"{tool} did not answer in {TOOL_SECONDS:.0f} s")
    if len(text) > MAX_OUTPUT:
        return Told(None, f"{tool} prints more than {MAX_OUTPUT // 1024 // 1024} MiB")
    if process.returncode:
        first = errors.decode("utf-8", "replace").strip().partition("\n")[0]
        first = "".join(char if char.isprintable() else "?" for char in first)
        return Told(None, f"{tool} failed: {first or f'status {process.returncode}'}")
    return Told(text.decode("utf-8", "replace"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The tool and whatever it started, which else would hold its pipes open."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()
