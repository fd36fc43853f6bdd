"""Units, tools and files that do not do what they should, and what must never be stopped."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab import Server, check, hold, lab, server, until
from tests.systemd.held import PLAN, PORT, busy, holder, listens
from tests.systemd.machine import PROGRAMS
from tests.systemd.parts import FOLDER, GUARDIAN, HAPROXY, LIST, PLUGNMEET, STOP, UNITS, Plugnmeet


@pytest.fixture
def held(meet: Plugnmeet) -> Iterator[Plugnmeet]:
    """A server whose port 8443 a unit of the test's may hold."""
    yield meet
    for path in meet.machine.run(["sh", "-c", "ls /etc/systemd/system | grep ^held"]).stdout.split():
        meet.machine.run(["systemctl", "kill", "--signal=KILL", path])
        meet.machine.run(["systemctl", "stop", path])
        meet.machine.must("rm", f"/etc/systemd/system/{path}")
    meet.machine.systemctl("daemon-reload")


def left(running: Server) -> dict[str, str]:
    """What was left alone, and why."""
    (services,) = running.of("services")
    assert services["stopping"] == []
    return {one["owner"]: one["why"] for one in services["left"]}


def test_a_unit_that_refuses_to_be_stopped_by_hand(held: Plugnmeet, archive: Path) -> None:
    holder(held, "held", unit="RefuseManualStop=yes")
    with server(held.machine, archive, *PLAN) as running:
        assert [*left(running)] == ["held.service"]
        assert [port for port, _ in busy(running.listening)] == [PORT]
        running.stop()
    assert held.machine.active("held.service")


def test_a_unit_on_which_one_rests_that_cannot_be_stopped(held: Plugnmeet, archive: Path) -> None:
    holder(held, "held")
    held.machine.write(
        "/etc/systemd/system/held-above.service",
        "[Unit]\nBindsTo=held.service\nAfter=held.service\nRefuseManualStart=yes\n"
        "[Service]\nExecStart=/bin/sleep infinity\n",
    )
    held.machine.write("/etc/systemd/system/held.target", "[Unit]\nWants=held-above.service\n")
    held.machine.systemctl("daemon-reload")
    held.machine.systemctl("start", "held.target")
    until(lambda: held.machine.active("held-above.service"), "what rests on it")
    with server(held.machine, archive, *PLAN) as running:
        ((owner, why),) = left(running).items()
        assert (owner, "held-above.service" in why) == ("held.service", True)
        running.stop()
    assert held.machine.active("held.service", "held-above.service")


def test_a_program_that_somebody_started_is_left(held: Plugnmeet, archive: Path) -> None:
    with hold(held.machine, f"tcp {PORT}") as process, server(held.machine, archive, *PLAN) as running:
        ((owner, why),) = left(running).items()
        assert "python" in owner
        assert why
        assert [port for port, _ in busy(running.listening)] == [PORT]
        running.stop()
        assert process.poll() is None


def test_sshd_is_never_stopped(held: Plugnmeet, archive: Path) -> None:
    holder(held, "held")
    held.machine.must("mv", "/etc/systemd/system/held.service", "/etc/systemd/system/sshd.service")
    try:
        held.machine.must("systemctl", "stop", "held")
        held.machine.systemctl("daemon-reload")
        held.machine.systemctl("start", "sshd")
        until(lambda: listens(held), "sshd to listen")
        with server(held.machine, archive, *PLAN) as running:
            assert [*left(running)] == ["sshd.service"]
            running.stop()
        assert held.machine.active("sshd.service")
    finally:
        held.machine.run(["systemctl", "stop", "sshd"])
        held.machine.must("rm", "/etc/systemd/system/sshd.service")


def test_a_socket_that_starts_its_unit(held: Plugnmeet, archive: Path) -> None:
    """Were the socket left, it would have the port, and start the unit again for whoever comes."""
    held.machine.write(
        "/etc/systemd/system/held.socket", f"[Socket]\nListenStream={PORT}\n[Install]\nWantedBy=sockets.target\n"
    )
    held.machine.write("/opt/held.py", (PROGRAMS / "greet.py").read_text(encoding="ascii"))
    receive: list[str | Path] = [sys.executable, PROGRAMS / "receive.py"]
    held.machine.write("/etc/systemd/system/held.service", "[Service]\nExecStart=/usr/bin/python3 /opt/held.py\n")
    held.machine.systemctl("daemon-reload")
    held.machine.systemctl("start", "held.socket")
    for runs in (False, True):
        if runs:
            held.machine.must(*receive, "127.0.0.1", str(PORT))
            assert held.machine.active("held.service")
        with server(held.machine, archive, *PLAN) as running:
            assert not held.machine.active("held.socket")
            assert not held.machine.active("held.service")
            assert running.listening["untested"] == []
            assert check(held.client, archive, held.machine.ipv4, "--control", "8444").status == 0
            assert running.wait() == 0
        assert held.machine.active("held.socket")
        assert held.machine.active("held.service") == runs
        assert "hello" in held.client.must(*receive, held.machine.ipv4, str(PORT))


def test_a_unit_that_does_not_start_again(held: Plugnmeet, archive: Path) -> None:
    held.machine.write("/opt/held.needs", "")
    holder(held, "held", service="ExecStartPre=/bin/cat /opt/held.needs")
    with server(held.machine, archive, *STOP, "--tcp", f"80,{PORT}", "--udp", "none") as running:
        held.machine.must("rm", "/opt/held.needs")
        assert running.stop() == 3
    told = " ".join(running.stderr.split())
    assert "held.service did not start again" in told
    assert "`journalctl -u held.service`" in told
    assert "--restore" in told
    # The others are back, and it alone is left to be restored.
    assert held.runs()
    assert [one["failed"] for one in running.of("restored")] == [["held.service"]]
    assert listed(held) == ["held.service"]

    done = held.machine.run([sys.executable, archive, "server", "--restore"])
    assert (done.returncode, "journalctl -u held.service" in " ".join(done.stderr.split())) == (3, True)
    assert listed(held) == ["held.service"]
    held.machine.write("/opt/held.needs", "")
    done = held.machine.run([sys.executable, archive, "server", "--restore"])
    assert done.returncode == 0, done.stderr
    assert listens(held)


def listed(meet: Plugnmeet) -> list[str]:
    """What is on the list on disk."""
    return [one["name"] for one in json.loads(meet.machine.must("cat", LIST))["services"]]


def test_it_ends_in_the_middle_of_a_stop(held: Plugnmeet, archive: Path) -> None:
    holder(held, "held", service="ExecStop=/bin/sleep 3")
    running = held.start(archive, "--json", *PLAN)
    until(lambda: held.machine.show("held.service", "ActiveState") == "deactivating", "the stop to begin")
    running.send_signal(signal.SIGINT)
    running.wait()
    until(lambda: held.machine.active("held.service") and listens(held), "the unit")


def test_two_at_once(meet: Plugnmeet, archive: Path) -> None:
    with server(meet.machine, archive, *STOP) as running:
        pid = meet.machine.show("pnmcheck-guardian.service", "MainPID")
        second = meet.machine.run([sys.executable, archive, "server", *STOP])
        assert second.returncode == 3
        assert pid in second.stderr
        restore = meet.machine.run([sys.executable, archive, "server", "--restore"])
        assert (restore.returncode, pid in restore.stderr) == (3, True)
        assert not meet.machine.active(HAPROXY)
        assert check(meet.client, archive, meet.machine.ipv4).status == 0
        assert running.wait() == 0


_WITHOUT_SYSTEMD = ["unshare", "-m", "sh", "-e", str(PROGRAMS / "without_systemd.sh")]

_STRANGE = {
    "half written": 'rm -f "$1"; printf \'{"services": [{"kind": "unit", "na\' >"$1"',
    "empty": ': >"$1"',
    "a link": 'cp "$1" /srv/list; ln -sf /srv/list "$1"',
    "10 MB": 'head -c 10000000 /dev/zero | tr "\\0" " " >"$1"',
    "another's": 'chown nobody "$1"',
    "writable": 'chmod 666 "$1"',
    "a folder": 'rm "$1"; mkdir "$1"',
    "a FIFO": 'rm "$1"; mkfifo "$1"',
    "not UTF-8": 'printf "\\377" >"$1"',
    "other names": 'sed -i "s/haproxy.service/--force/" "$1"',
    "deep": 'printf "%100000s" | tr " " "[" >"$1"',
}


@pytest.mark.parametrize("how", [*_STRANGE])
def test_a_list_that_is_not_ours(meet: Plugnmeet, archive: Path, how: str) -> None:
    stopped = {"services": [{"kind": "unit", "name": HAPROXY, "members": [], "ports": [], "awaited": []}],
               "pid": 999, "began": "1", "seconds": 1.0}  # fmt: skip
    meet.machine.must("mkdir", "-m", "700", "-p", FOLDER)
    meet.machine.write(LIST, json.dumps(stopped), 0o600)
    meet.machine.must("sh", "-ec", _STRANGE[how], "sh", LIST)
    meet.machine.systemctl("stop", HAPROXY)
    for options in (["--restore"], [*STOP]):
        done = meet.machine.run([sys.executable, archive, "server", *options], timeout=120)
        assert done.returncode == 3, done.stderr
        assert "Traceback" not in done.stderr
        assert "an error inside pnmcheck" not in done.stderr
        assert LIST in done.stderr
        assert not meet.machine.active(HAPROXY), "what it names was started"
        assert meet.machine.active(PLUGNMEET)
        assert meet.machine.exists(LIST)
    meet.machine.must("rm", "-rf", FOLDER, "/srv/list")
    meet.machine.systemctl("start", *UNITS)


def test_a_good_list_is_restored(meet: Plugnmeet, archive: Path) -> None:
    """So that the strange ones are refused for what is strange about them."""
    stopped = {"services": [{"kind": "unit", "name": HAPROXY, "members": [], "ports": [], "awaited": []}],
               "pid": 999, "began": "1", "seconds": 1.0}  # fmt: skip
    meet.machine.must("mkdir", "-m", "700", "-p", FOLDER)
    meet.machine.write(LIST, json.dumps(stopped), 0o600)
    meet.machine.systemctl("stop", HAPROXY)
    done = meet.machine.run([sys.executable, archive, "server", "--restore"])
    assert done.returncode == 0, done.stderr
    assert meet.machine.active(HAPROXY)
    meet.machine.systemctl("start", *UNITS)


def test_a_folder_that_is_a_link(meet: Plugnmeet, archive: Path) -> None:
    meet.machine.must("ln", "-s", "/tmp", FOLDER)
    try:
        done = meet.machine.run([sys.executable, archive, "server", *STOP], timeout=120)
        assert done.returncode == 3
        assert "Traceback" not in done.stderr
        assert meet.runs()
    finally:
        meet.machine.must("rm", FOLDER)


def test_a_disk_that_takes_nothing(meet: Plugnmeet, archive: Path) -> None:
    """What cannot be noted is not stopped."""
    meet.machine.must("mkdir", "-m", "700", FOLDER)
    meet.machine.must("mount", "-t", "tmpfs", "-o", "ro,mode=700", "full", FOLDER)
    try:
        done = meet.machine.run([sys.executable, archive, "server", *STOP], timeout=120)
        assert done.returncode == 3
        assert "Traceback" not in done.stderr
        assert meet.runs()
    finally:
        meet.machine.must("umount", FOLDER)
        meet.machine.must("rmdir", FOLDER)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_where_no_systemd_runs_the_guardian_is_on_its_own(
    meet: Plugnmeet, archive: Path, number: signal.Signals
) -> None:
    with server(meet.machine, archive, *STOP, prefix=_WITHOUT_SYSTEMD) as running:
        assert not meet.machine.active(HAPROXY)
        assert not meet.machine.active(GUARDIAN)
        assert running.listening["untested"] == []
        running.process.send_signal(number)
        print(f"back in {meet.wait_until_soon_back():.2f} s")
        running.wait()


def test_a_computer_without_services(archive: Path) -> None:
    with lab() as net, hold(net.server, f"tcp {PORT}"), server(net.server, archive, *PLAN) as running:
        assert len(left(running)) == 1
        assert [port for port, _ in busy(running.listening)] == [PORT]
        running.stop()
