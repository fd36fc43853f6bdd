"""Started as root, the server hears the network as nobody, and a small process keeps root for what needs it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Mapping

import pytest

from tests import firewalls
from tests.lab import PROGRAMS, Lab, Server, check, hold, need, server, until, wrong
from tests.network import test_limits


@pytest.fixture(scope="session")
def archive(pyz: Path) -> Path:
    """Who may read the one file matters here."""
    return pyz


FEW, UDP = "tcp 80,443,7881 udp 443,50000-50099", ("--udp", "443,50000-50099")
NOBODY, KEY = "65534", "correct horse battery staple"
HOLE, SHUT = "udp dport 50010-50019 drop", {"udp 50010-50019": "filtered server-host"}

WATCHED = PROGRAMS / "watch_imports.py"


def status(pid: int) -> Mapping[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def helper_of(running: Server) -> int:
    """The one other process of a server's."""
    (pid,) = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text("ascii").split()
    return int(pid)


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return status(pid)["State"][0] not in "ZX"
    return False


def rule_of(running: Server, number: int = 1) -> tuple[str, list[str]]:
    """What the server's own terminal says of the first hole, and what to type against it."""
    report = running.wait_for("report", number=number)["report"]
    (first,) = (one for one in report["addresses"][0]["advice"] if one["finding"] is not None)
    return first["text"], first["commands"]


def test_what_hears_the_network_is_nobody(net: Lab, archive: Path) -> None:
    need("setpriv")
    net.server.rules("input", HOLE)
    with server(net.server, archive, *UDP, prefix=("setpriv", "--groups=4,27")) as running:
        assert running.listening["root"] is False
        assert running.listening["capture"] is True
        assert wrong(check(net.client, archive, net.server.ipv4).report, SHUT, plan=FEW) == []
        have = status(running.process.pid)
        assert (have["Uid"], have["Gid"], have["Groups"]) == ([NOBODY] * 4, [NOBODY] * 4, [])
        assert {*have["CapEff"], *have["CapPrm"], *have["CapInh"], *have["CapAmb"]} == {"0" * 16}
        assert have["NoNewPrivs"] == ["1"]
        proc = Path(f"/proc/{running.process.pid}")
        (core,) = re.findall("Max core file size +(.*?) +bytes", (proc / "limits").read_text(encoding="ascii"))
        assert core.split() == ["0", "0"]
        assert (proc / "fd").stat().st_uid == 0  # others of nobody's may not look in
        text, commands = rule_of(running)
        assert HOLE in text
        assert commands[0].startswith("nft insert rule inet lab ")
        helper = helper_of(running)
        assert status(helper)["Uid"] == ["0"] * 4
        assert {os.readlink(f"/proc/{helper}/fd/{number}") for number in range(3)} == {os.devnull}
        listed = subprocess.run(["ip", "netns", "pids", net.server.name], capture_output=True, check=True)
        assert {pid for pid in map(int, listed.stdout.split()) if alive(pid)} == {running.process.pid, helper}
        assert running.stop() == 130
        assert not alive(helper)


def test_nothing_stays_of_a_server_that_is_killed(net: Lab, archive: Path) -> None:
    """Not even while a tool of the system's hangs."""
    net.server.rules("input", HOLE)
    with firewalls.own_files(net.server) as directory:
        firewalls.tool(directory, "nft", "#!/bin/sh\nsleep 600 & echo $! >/run/started\nwait\n")
        started = directory / "run/started"
        with server(net.server, archive, *UDP) as running:
            helper = helper_of(running)
            check(net.client, archive, net.server.ipv4)
            until(lambda: started.exists() and started.read_text(), "the tool")
            tool = int(started.read_text())
            assert alive(tool)
            running.stop(signal.SIGKILL)
            until(lambda: not alive(helper) and not alive(tool), "the end of its helper and the tool")


def test_a_server_whose_helper_is_killed_still_checks(net: Lab, archive: Path) -> None:
    net.server.rules("input", HOLE)
    with hold(net.server, "tcp 80") as holder, server(net.server, archive, *UDP) as running:
        os.kill(helper_of(running), signal.SIGKILL)
        holder.kill()
        holder.wait()
        for number in (1, 2):
            seen = check(net.client, archive, net.server.ipv4)
            assert wrong(seen.report, {**SHUT, "tcp 80": "untested busy"}, plan=FEW) == []
            report = running.wait_for("report", number=number)["report"]
            texts = [one["text"] for one in report["addresses"][0]["advice"]]
            assert "could not be read" in " ".join([*texts, *report["addresses"][0]["notes"]])


def test_low_ports_that_are_freed_while_it_runs(net: Lab, archive: Path) -> None:
    net.server.rules("input", "udp dport 50000 drop")
    low = "tcp 80,443 udp 443"
    with hold(net.server, low) as holder, server(net.server, archive, *UDP) as running:
        assert {one["owner"] for one in running.listening["untested"]} == {
            f"{Path(f'/proc/{holder.pid}/comm').read_text(encoding='ascii').strip()} (pid {holder.pid})"
        }
        shut = {"udp 50000": "filtered"}
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, {**shut, low: "untested busy"}, plan=FEW) == []
        holder.kill()
        holder.wait()
        assert wrong(check(net.client, archive, net.server.ipv4).report, shut, plan=FEW) == []
        assert running.wait_for("listening", number=2)["untested"] == []
        assert status(running.process.pid)["Uid"] == [NOBODY] * 4


@pytest.fixture
def roots_own(archive: Path, tmp_path: Path) -> Path:
    """The archive where root alone may read it."""
    tmp_path.chmod(0o700)
    return Path(shutil.copy(archive, tmp_path))


def test_nothing_is_imported_nor_looked_for_once_root_is_given_up(net: Lab, roots_own: Path) -> None:
    """Nobody may not read the archive, nor this Python's library where that is in root's home."""
    net.server.rules("input", HOLE, "ct state established accept")
    with hold(net.server, "tcp 80") as holder, program_server(net, roots_own) as running:
        running.wait_for("notes")
        check(net.client, roots_own, net.server.ipv4)
        holder.kill()
        holder.wait()
        check(net.client, roots_own, net.server.ipv6)
        refused = check(net.client, roots_own, net.server.ipv4, "--key", KEY)
        assert refused.report["error"]["code"] == running.wait_for("refused")["error"]["code"] == "no-key"
        text, _ = rule_of(running, 2)
        assert HOLE in text
        assert running.stop() == 130
    lines = running.stderr.splitlines()
    opened = {line.split()[1] for line in lines if line.startswith("open ")}
    assert [line for line in lines if line.startswith("import ")] == []
    assert [path for path in opened if not path.startswith(("/proc/", "/sys/class/dmi/id/"))] == []
    assert opened
    assert all(os.stat(path).st_mode & 0o004 for path in opened if Path(path).exists())


def test_an_archive_that_only_root_may_read_serves_people_at_a_terminal(net: Lab, roots_own: Path) -> None:
    command: list[str | Path] = [sys.executable, "-B", roots_own, "server", *UDP, "--key", KEY]
    with net.server.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        until(lambda: net.server.must("ss", "-Htln", "sport = :443"), "the server")
        refused = check(net.client, roots_own, net.server.ipv4)
        assert refused.report["error"]["code"] == "key-needed"
        seen = check(net.client, roots_own, net.server.ipv4, "--key", KEY)
        assert wrong(seen.report, plan=FEW) == []
        running.send_signal(signal.SIGINT)
        told, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "PASS" in told
    assert "refused" in said
    assert [word for word in ("Traceback", "an error inside") if word in told + said] == []


@contextlib.contextmanager
def program_server(net: Lab, archive: Path) -> Iterator[Server]:
    """The server in a Python that tells what it imports as nobody."""
    watched = archive.with_name("watched.py")
    shutil.copy(WATCHED, watched)
    with server(net.server, archive, *UDP, prefix=(sys.executable, "-B"), python=watched) as running:
        yield running


# Who may not become another, as in a container without the right to, or whose users are root alone.
BOUND = {
    "no-right-to": ("setpriv", "--bounding-set=-setuid", "--inh-caps=-setuid"),
    "no-right-to-leave-groups": ("setpriv", "--bounding-set=-setgid", "--inh-caps=-setgid"),
    "no-nobody": ("unshare", "--user", "--map-root-user", "--net"),
}


@pytest.mark.parametrize("prefix", BOUND.values(), ids=BOUND)
def test_root_that_cannot_be_given_up_is_told(net: Lab, archive: Path, prefix: tuple[str, ...]) -> None:
    need(prefix[0])
    with server(net.server, archive, *UDP, prefix=prefix) as running:
        assert running.listening["root"] is True
    command: tuple[str | Path, ...] = (*prefix, sys.executable, archive, "server", "--udp", "50000", "--for", "1s")
    said = " ".join(net.server.run(command).stderr.split())
    assert "reads from the network keeps the rights of root: the system does not allow this to become nobody" in said


def test_without_root_there_is_none_to_give_up(net: Lab, archive: Path) -> None:
    need("setpriv")
    with contextlib.ExitStack() as stack:
        copy = Path(shutil.copy(archive, stack.enter_context(firewalls.own_files(net.server))))
        python = test_limits.everybodys_python()
        running = stack.enter_context(server(net.server, copy, *UDP, python=python, prefix=test_limits.NOBODY))
        assert running.listening["root"] is False
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text("ascii")
        assert children == ""
