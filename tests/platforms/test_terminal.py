"""What somebody sees who sits at a terminal: the live line, the colours, and what is left on the screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import struct
import sys
import termios
import threading
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import pytest

from tests import lab

ESCAPE = "\x1b"
BEGINNING = re.compile("UDP ports of ")
PROGRESS = re.compile(rf"{BEGINNING.pattern}[\d.]+, try \d+: [\d,]+ of [\d,]+ answered, about \d+ s left")


class Output:
    """An end for a program to write to: a terminal of so many columns, or a pipe; and what has come out of it."""

    def __init__(self, columns: int | None) -> None:
        self._ours, self.theirs = pty.openpty() if columns else os.pipe()
        if columns:
            fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        self._data = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how a terminal tells its end
            while data := os.read(self._ours, 4096):
                self._data += data

    def text(self) -> str:
        """All of it, once nobody writes any more."""
        os.close(self.theirs)
        self._reader.join()
        os.close(self._ours)
        return self._data.decode()


class Scenario(NamedTuple):
    """Where the client writes to, None for a pipe, and what must be seen there."""

    stdout: int | None
    stderr: int | None
    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    coloured: bool = False
    live: bool = False


class Seen(NamedTuple):
    status: int
    stdout: str
    stderr: str


SCENARIOS = {
    "terminal": Scenario(80, 80, coloured=True, live=True),
    "NO_COLOR": Scenario(80, 80, environment=(("NO_COLOR", "1"),), live=True),
    "TERM=dumb": Scenario(80, 80, environment=(("TERM", "dumb"),)),
    "stdout piped": Scenario(None, 80, live=True),
    "stderr piped": Scenario(80, None, coloured=True),
    "both piped": Scenario(None, None),
    "JSON": Scenario(80, 80, ("--json",), live=True),
    "narrow": Scenario(45, 45, coloured=True, live=True),
    "narrow, stdout piped": Scenario(None, 45, live=True),
    "narrower than any": Scenario(30, 30, coloured=True, live=True),
    "wide": Scenario(200, 200, coloured=True, live=True),
}


def environment(*changes: tuple[str, str]) -> dict[str, str]:
    """Nothing in it that has a say about terminals, but these."""
    mute = ("NO_COLOR", "TERM", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in mute}
    return {**kept, "TERM": "xterm", "LC_ALL": "C.UTF-8", **dict(changes)}


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, archive: Path, network: lab.Lab) -> Iterator[Callable[[Scenario], Seen]]:
    def run(scenario: Scenario) -> Seen:
        stdout, stderr = Output(scenario.stdout), Output(scenario.stderr)
        with network.client.popen(
            [sys.executable, archive, "client", network.server.ipv4, *scenario.options],
            stdout=stdout.theirs,
            stderr=stderr.theirs,
            env=environment(*scenario.environment),
        ) as process:
            try:
                status = process.wait(120)
            finally:
                process.kill()
        return Seen(status, stdout.text(), stderr.text())

    with lab.server(network.server, archive, "--tcp", "443", "--udp", "50000-50099"):
        network.server.rules("input", "udp dport 50010-50019 drop")  # so that it takes a few seconds
        with lab.side_by_side(request, run) as results:
            yield results


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_where_colours_and_live_lines_are(seen: Callable[[Scenario], Seen], scenario: Scenario) -> None:
    found = seen(scenario)
    assert found.status == 1
    assert (ESCAPE in found.stdout) is scenario.coloured
    if not scenario.live:
        assert found.stderr == ""
        return
    assert scenario.stderr
    # All in one line, which each piece writes over.
    assert not {"\n", ESCAPE} & set(found.stderr)
    pieces, line = found.stderr.split("\r"), ""
    for piece in pieces:
        line = piece + line[len(piece) :]
        assert len(line) < scenario.stderr
    assert line.strip() == ""
    assert found.stderr.endswith("\r")
    wanted = PROGRESS if scenario.stderr >= 80 else BEGINNING
    assert any(wanted.match(piece) for piece in pieces), pieces


def test_a_newcomer_at_a_terminal(archive: Path, tmp_path: Path) -> None:
    """Types the command into a shell on a terminal of 80 columns, watches, and reads what is there in the end."""
    lab.need("tmux")
    folder = tmp_path / "copied"
    folder.mkdir()
    shutil.copy(archive, folder)
    typed = f"python3 {archive.name} client meet.example"
    with lab.lab() as net, lab.server(net.server, archive):
        net.client.knows({"meet.example": [net.server.ipv4]})
        net.server.rules("input", "udp dport 53000-53999 drop")

        def tmux(*arguments: str) -> list[str]:
            told = net.client.must(
                *("tmux", "-S", tmp_path / "tmux", "-f", "/dev/null"), *arguments, cwd=folder, env=environment()
            )
            return told.rstrip().split("\n")

        def screen() -> list[str]:
            return tmux("capture-pane", "-p")

        def progress() -> list[str]:
            return [line for line in screen() if PROGRESS.fullmatch(line)]

        def at_prompt() -> bool:
            return screen()[-1].rstrip() == prompt

        tmux("new-session", "-d", "-x", "80", "-y", "40", "sh")
        try:
            (prompt,) = lab.until(lambda: "".join(screen()).split(), "a prompt")
            tmux("send-keys", typed, "Enter")
            live = lab.until(progress, "progress")
            lab.until(at_prompt, "the end")
            ended, coloured = screen(), tmux("capture-pane", "-p", "-e")
        finally:
            tmux("kill-server")
    assert len(live) == 1
    assert "of 10,002 answered" in live[0]
    assert ended[0] == f"{prompt} {typed}"
    assert ended[1].rstrip() == "FAIL  meet.example: 1,000 required ports are blocked"
    assert "  ✗ 53000-53999/udp: filtered (1,000 ports, WebRTC media)" in ended
    assert not [one for one in ended if "answered" in one]
    assert re.match(rf"{ESCAPE}\[31m.*FAIL", coloured[1])
    assert [one.name for one in folder.iterdir()] == [archive.name]
