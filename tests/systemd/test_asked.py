"""Nothing is stopped before somebody agreed to it."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab import INTERRUPTED, until
from tests.systemd.machine import Inside
from tests.systemd.parts import DEPENDENT, HAPROXY, PLUGNMEET, UNITS, Plugnmeet, Terminal

QUESTION = "[y/N]"


@contextlib.contextmanager
def asked(meet: Plugnmeet, archive: Path) -> Iterator[tuple[Terminal, Inside]]:
    """A server at a terminal that has asked its question, and stopped nothing."""
    terminal = Terminal()
    with terminal.start(meet.machine, [sys.executable, archive, "server", "--stop-services"]) as running:
        try:
            terminal.wait_for(QUESTION)
            assert meet.runs()
            yield terminal, running
        finally:
            running.kill()
            running.wait()
            terminal.close()


def test_what_is_stopped_is_shown_before_it_is_asked(meet: Plugnmeet, archive: Path) -> None:
    with asked(meet, archive) as (terminal, _):
        shown = " ".join(terminal.text.split())
    places = [shown.find(f"stopped: {name}") for name in (PLUGNMEET, DEPENDENT, HAPROXY)]
    assert -1 not in places
    assert places == sorted(places)
    for text in ("80", "443", "7881", "50000-60000", "Calls are cut", "10 minutes", "pnmcheck.pyz client"):
        assert text in shown
    assert shown.count(QUESTION) == 1


def test_yes(meet: Plugnmeet, archive: Path) -> None:
    with asked(meet, archive) as (terminal, running):
        terminal.type("y\n")
        until(lambda: not any(meet.machine.active(one) for one in UNITS), "all to be stopped")
        terminal.wait_for("7881")
        terminal.type("\x03")
        assert running.wait() == INTERRUPTED
        assert meet.runs()
        assert meet.left() == []
        terminal.wait_for(f"{HAPROXY} runs again")


@pytest.mark.parametrize("typed", ["n\n", "\n", "no\n", "x\n", "\x04"], ids=repr)
def test_anything_else_is_no(meet: Plugnmeet, archive: Path, typed: str) -> None:
    before = meet.machine.show(HAPROXY, "MainPID")
    with asked(meet, archive) as (terminal, running):
        terminal.type(typed)
        assert running.wait() == 3
    assert meet.machine.show(HAPROXY, "MainPID") == before


def test_ctrl_c_is_no(meet: Plugnmeet, archive: Path) -> None:
    before = meet.machine.show(HAPROXY, "MainPID")
    with asked(meet, archive) as (terminal, running):
        terminal.type("\x03")
        assert running.wait() == INTERRUPTED
        assert "Traceback" not in terminal.text
    assert meet.machine.show(HAPROXY, "MainPID") == before


def test_ctrl_c_twice(meet: Plugnmeet, archive: Path) -> None:
    """The second one ends the waiting; the services are started all the same."""
    with asked(meet, archive) as (terminal, running):
        terminal.type("y\n")
        until(lambda: not any(meet.machine.active(one) for one in UNITS), "all to be stopped")
        terminal.wait_for("7881")
        terminal.type("\x03")
        terminal.wait_for("is being started")
        terminal.type("\x03")
        assert running.wait() in (3, INTERRUPTED)
        assert "Traceback" not in terminal.text


def test_without_a_terminal_it_takes_yes(meet: Plugnmeet, archive: Path) -> None:
    done = meet.machine.run([sys.executable, archive, "server", "--stop-services"])
    assert (done.returncode, "--yes" in done.stderr) == (2, True), done.stderr
    assert meet.runs()


def test_who_is_not_root_is_refused(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.must("cp", archive, "/var/tmp/pnmcheck.pyz")
    meet.machine.must("chmod", "a+r", "/var/tmp/pnmcheck.pyz")
    words = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "/var/tmp/pnmcheck.pyz", "server"]
    for options in (["--stop-services", "--yes"], ["--restore"], ["--guardian"]):
        done = meet.machine.run([*words, *options], input="{}")
        assert done.returncode in (2, 3), done.stderr
        assert "root" in done.stderr
        assert "Traceback" not in done.stderr
    assert meet.runs()


def test_the_guardian_does_nothing_for_strangers(meet: Plugnmeet, archive: Path) -> None:
    """Who is root can start it by hand: what it is told to stop must be what the program itself would write."""
    for told in ("", "{}", "[]", "x" * 10_000, json.dumps({"services": [{"kind": "unit", "name": "--now"}]})):
        done = meet.machine.run([sys.executable, archive, "server", "--guardian"], input=told + "\n", timeout=120)
        assert done.returncode in (2, 3), (told, done.stderr)
        assert "Traceback" not in done.stderr
    assert meet.runs()
    assert meet.left() == []
