"""`server --stop-services` on a machine with a real systemd and haproxy: all ports are checked, and all runs again."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.lab import INTERRUPTED, check, server, start_check, until, wrong
from tests.systemd.parts import DEPENDENT, HAPROXY, LIST, PLUGNMEET, STOP, UNITS, Plugnmeet


def test_all_ports_are_checked_and_all_runs_again(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP) as running:
        assert not meet.machine.active(HAPROXY)
        assert not meet.machine.active(PLUGNMEET)
        assert running.listening["untested"] == []
        seen = check(meet.client, archive, meet.machine.ipv4)
        status = running.wait()
    assert wrong(seen.report) == []
    assert (seen.status, seen.report["verdict"], status) == (0, "pass", 0)
    # It ends when all is back, not before.
    assert meet.runs()
    assert meet.left() == []
    (services,) = running.of("services")
    assert [one["name"] for one in services["stopping"]] == [PLUGNMEET, DEPENDENT, HAPROXY]
    assert services["left"] == []
    (restored,) = running.of("restored")
    assert (sorted(restored["services"]), restored["failed"]) == (sorted(UNITS), [])


def test_the_exit_status_is_the_checks(meet: Plugnmeet, archive: Path) -> None:
    shut = "udp 50100-50199"
    meet.machine.rules("input", "udp dport 50100-50199 drop")
    with server(meet.machine, archive, *STOP) as running:
        seen = check(meet.client, archive, meet.machine.ipv4)
        status = running.wait()
    assert wrong(seen.report, {shut: "filtered"}) == []
    assert (seen.status, status) == (1, 1)


def test_four_times_in_a_minute(meet: Plugnmeet, archive: Path) -> None:
    # The installer's unit starts three times a minute at most, and starts by hand count too.
    for _ in range(4):
        with server(meet.machine, archive, *STOP) as running:
            running.stop()
        assert (running.of("restored")[0]["failed"], meet.runs()) == ([], True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_a_signal_while_it_waits(meet: Plugnmeet, archive: Path, number: signal.Signals) -> None:
    with server(meet.machine, archive, *STOP) as running:
        assert not meet.machine.active(HAPROXY)
        assert running.stop(number) == INTERRUPTED
    assert meet.runs()


def test_a_signal_in_the_middle_of_a_check(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.rules("input", "udp dport 50100-50199 counter drop")
    with server(meet.machine, archive, *STOP) as running:
        checking = start_check(meet.client, archive, meet.machine.ipv4)
        meet.machine.wait_until_counted(101)
        assert running.stop() == INTERRUPTED
    assert meet.runs()
    assert checking.finish().report["verdict"] == "inconclusive"


def test_no_client_comes(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP, "--for", "1s") as running:
        assert running.wait() == 3
    assert meet.runs()
    assert [one["seconds"] for one in running.of("services")] == [1.0]


def test_it_takes_ten_minutes_where_nobody_says_how_long(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP) as running:
        running.stop()
    assert [one["seconds"] for one in running.of("services")] == [600.0]


def test_nothing_has_to_be_stopped(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP, "--tcp", "8443", "--udp", "none") as running:
        assert running.of("services")[0]["stopping"] == []
        assert meet.runs()
        seen = check(meet.client, archive, meet.machine.ipv4, "--control", "8443")
        assert running.wait() == 0
    assert seen.status == 0


def test_only_what_holds_a_planned_port_is_stopped(meet: Plugnmeet, archive: Path) -> None:
    before = meet.machine.show(HAPROXY, "MainPID")
    with server(meet.machine, archive, *STOP, "--tcp", "7881", "--udp", "none") as running:
        assert [one["name"] for one in running.of("services")[0]["stopping"]] == [PLUGNMEET]
        assert meet.machine.active(HAPROXY, DEPENDENT)
        running.stop()
    assert meet.machine.show(HAPROXY, "MainPID") == before


def test_the_list_is_on_disk_before_anything_stops(meet: Plugnmeet, archive: Path) -> None:
    # What is seen is in this order: haproxy still runs, and it is on the list.
    running = meet.start(archive, *STOP)
    try:
        until(lambda: meet.machine.exists(LIST), "the list")
        meet.machine.must("test", "-f", LIST)
        assert meet.machine.must("stat", "-c", "%a %U %F", LIST).strip() == "600 root regular file"
        assert meet.machine.must("stat", "-c", "%a %U", str(Path(LIST).parent)).strip() == "700 root"
    finally:
        running.send_signal(signal.SIGINT)
        running.wait()
