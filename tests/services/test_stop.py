"""Commands that stop a service: whatever they do, they end in time."""

from __future__ import annotations

import threading

import pytest

from agent.services.stop import run_command


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 0", ""),
        ("echo Job failed. >&2; echo See journalctl >&2; exit 1", "Job failed."),
        ("exit 5", "sh failed with status 5"),
        ("sleep 0.5 & exit 5", "sh failed with status 5"),
        ("exec sleep 60", "sh did not finish in 0 s"),
    ],
)
def test_a_command_that_ends_or_not(script: str, why: str) -> None:
    assert run_command(["sh", "-c", script], 0.4 if "exec" in script else 120) == (why, "exec" in script)


def test_a_command_that_is_not_there() -> None:
    assert run_command(["no-such-tool"], 1).error.startswith("no-such-tool cannot be run")


def test_a_command_is_killed_where_the_check_ends() -> None:
    orders: list[str] = []
    threading.Timer(0.2, orders.append, ["end"]).start()
    assert run_command(["sleep", "60"], 60, orders).error == "the check ended first"
