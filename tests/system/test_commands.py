"""Tools that answer, fail, hang, flood, and are not there."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from agent.system import commands
from agent.system.commands import run_tool


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "TOOL_SECONDS", 0.3)
    monkeypatch.setattr(commands, "MAX_OUTPUT", 1000)


def test_what_a_tool_prints() -> None:
    assert run_tool("sh", "-c", "echo $LC_ALL; echo noise >&2").output == "C\n"


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run_tool("printf", r"\377").output == "\N{REPLACEMENT CHARACTER}"


def test_a_tool_that_is_not_there() -> None:
    result = run_tool("no-such-tool")
    assert (result.output, result.error, result.missing) == (None, "there is no no-such-tool here", True)


def test_a_tool_that_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    monkeypatch.setattr(commands, "PATH", str(tmp_path))
    assert (run_tool("broken").output, run_tool("broken").error[:21]) == (None, "broken cannot be run:")


def test_a_tool_that_fails_says_why_by_its_first_line() -> None:
    result = run_tool("sh", "-c", "echo no permission >&2; echo more >&2; exit 3")
    assert (result.output, result.error, result.missing) == (None, "sh failed: no permission", False)
    assert run_tool("sh", "-c", "exit 3").error == "sh failed: status 3"


@pytest.mark.parametrize("hangs", ["exec sleep 60", "sleep 60 & sleep 60", "sleep 60 & exit 0", "yes >&2"])
def test_a_tool_that_hangs_is_ended_with_all_that_it_started(hangs: str, quick: None) -> None:
    began = time.monotonic()
    assert run_tool("sh", "-c", hangs) == commands.CommandResult(None, "sh did not answer in 0 s")
    assert time.monotonic() - began < 10


def test_a_tool_that_works_is_waited_for_but_not_for_ever(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "TOOL_SECONDS", 1.0)  # a busy computer may let it wait for half of that
    works = "import time\nwhile time.process_time() < {}: pass\nprint('done')"
    assert run_tool(sys.executable, "-c", works.format(2)).output == "done\n"
    spins = f"{sys.executable} -c 'import time; [0 for _ in iter(lambda: time.process_time() < 0.1, False)]'"
    assert run_tool("sh", "-c", f"for n in 1 2 3 4 5 6 7 8 9 10 11 12; do {spins}; done; echo done").output == "done\n"
    monkeypatch.setattr(commands, "MAX_TOOL_SECONDS", 2.0)
    result = run_tool(sys.executable, "-c", works.format(60))
    assert result == commands.CommandResult(None, f"{sys.executable} did not answer in 2 s")


def test_a_tool_that_prints_without_end(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "TOOL_SECONDS", 30.0)
    assert run_tool("yes").error == "yes prints more than 0 MiB"
