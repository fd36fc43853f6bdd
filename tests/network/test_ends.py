"""One side goes in the middle, or ends as it should."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.lab import INTERRUPTED, Lab, Server, check, hold, server, start_check, wrong

FEW, UDP = "tcp 80,443,7881 udp 50000-50299", ("--udp", "50000-50299")
HOLE, SHUT = "udp dport 50100-50199 counter drop", "udp 50100-50199"
SECOND_PASS = 101  # packets at the hole: then the first pass is over, and the last one is seconds away


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_the_server_goes_in_the_middle_of_a_check(net: Lab, archive: Path, number: signal.Signals) -> None:
    net.server.rules("input", HOLE)
    with server(net.server, archive, *UDP) as running:
        checking = start_check(net.client, archive, net.server.ipv4)
        net.server.wait_until_counted(SECOND_PASS)
        status = running.stop(number)
        seen = checking.finish(10)  # nothing is left to wait for
    assert wrong(seen.report, {SHUT: "unknown no-control"}, plan=FEW) == []
    assert (seen.status, seen.report["verdict"]) == (3, "inconclusive")
    if number is signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert (status, [one["why"] for one in running.of("stopped")]) == (INTERRUPTED, ["interrupted"])


def test_the_client_is_killed_in_the_middle_of_a_check(net: Lab, archive: Path) -> None:
    net.server.rules("input", HOLE)
    with server(net.server, archive, *UDP) as running:
        checking = start_check(net.client, archive, net.server.ipv4)
        net.server.wait_until_counted(SECOND_PASS)
        checking.process.kill()
        checking.process.communicate()
        assert running.wait_for("lost")["client"] == net.client.ipv4
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, {SHUT: "filtered"}, plan=FEW) == []


def after(running: Server) -> list[dict[str, Any]]:
    """What the server told after it was ready, but for what it noted of the machine, which is told when it is known."""
    return [one for one in running.events[1:] if one["event"] != "notes"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_the_client_is_interrupted(net: Lab, archive: Path, number: signal.Signals) -> None:
    net.server.rules("input", HOLE)
    with server(net.server, archive, *UDP) as running:
        checking = start_check(net.client, archive, net.server.ipv4)
        net.server.wait_until_counted(SECOND_PASS)
        checking.process.send_signal(number)
        seen = checking.finish(10)
        assert wrong(seen.report, {SHUT: "unknown aborted"}, plan=FEW) == []
        assert (seen.status, seen.report["verdict"]) == (INTERRUPTED, "inconclusive")
        assert running.wait_for("lost")["client"] == net.client.ipv4


def test_the_client_is_interrupted_before_it_found_a_server(net: Lab, archive: Path) -> None:
    net.server.rules("input", "tcp dport 443 counter drop", "drop")
    checking = start_check(net.client, archive, net.server.ipv4)
    net.server.wait_until_counted(1)
    checking.process.send_signal(signal.SIGINT)
    seen = checking.finish(10)
    assert (seen.status, seen.report["verdict"]) == (INTERRUPTED, "inconclusive")
    assert seen.report["error"]["code"] == "aborted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_the_server_is_interrupted_while_it_waits(net: Lab, archive: Path, number: signal.Signals) -> None:
    with server(net.server, archive) as running:
        assert running.stop(number) == INTERRUPTED
        assert after(running) == [{"event": "stopped", "why": "interrupted"}]


@pytest.mark.parametrize("families", [("ipv4", "ipv6"), ("ipv4", "ipv4")], ids=" and ".join)
def test_two_clients_at_once(net: Lab, archive: Path, families: tuple[str, str]) -> None:
    net.server.rules("input", HOLE)
    with server(net.server, archive, *UDP) as running:
        checkings = [start_check(net.client, archive, getattr(net.server, family)) for family in families]
        for checking in checkings:
            assert wrong(checking.finish().report, {SHUT: "filtered"}, plan=FEW) == []
        running.wait_for("report", number=2)
        assert [one["event"] for one in after(running)] == ["session", "session", "report", "report"]


@pytest.mark.parametrize(("fault", "status"), [("none", 0), ("hole", 1), ("busy", 3)])
def test_the_server_ends_after_one_check_with_its_status(net: Lab, archive: Path, fault: str, status: int) -> None:
    if fault == "hole":
        net.server.rules("input", "tcp dport 80 reject with tcp reset")
    with contextlib.ExitStack() as stack:
        if fault == "busy":
            stack.enter_context(hold(net.server, "udp 50000"))
        running = stack.enter_context(server(net.server, archive, *UDP, "--once"))
        assert check(net.client, archive, net.server.ipv4).status == status
        assert running.wait() == status
        assert [one["event"] for one in after(running)] == ["session", "report", "stopped"]


def test_the_servers_time_is_over(net: Lab, archive: Path) -> None:
    with server(net.server, archive, "--for", "1s") as running:
        assert running.wait() == 3
        assert after(running) == [{"event": "stopped", "why": "time is over"}]


def test_nothing_is_left_behind_and_the_certificates_key_lies_nowhere(net: Lab, archive: Path, tmp_path: Path) -> None:
    places = {name: str(tmp_path) for name in ("TMPDIR", "HOME")}
    with server(net.server, archive, *UDP, "--key", "--once", env=places) as running:
        assert running.listening["tls"] is True
        assert list(tmp_path.iterdir()) == []
        checking = start_check(net.client, archive, net.server.ipv4, "--key", running.listening["key"])
        assert wrong(checking.finish().report, plan=FEW) == []
        assert running.wait() == 0
    assert list(tmp_path.iterdir()) == []
    assert net.server.must("ss", "-Hlntu").splitlines() == []
