"""The machine itself, and what stands in for LiveKit on it: what the other tests rest on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab import check, lab, server, until
from tests.systemd.machine import PROGRAMS, Machine, machine, remove_cgroups
from tests.systemd.parts import STOP, Plugnmeet, own


@pytest.fixture(scope="module")
def bare() -> Iterator[Machine]:
    """A machine on which nothing but systemd runs."""
    with lab() as net, machine(net.server) as made:
        yield made


def test_systemd_is_its_first_process(bare: Machine) -> None:
    assert bare.must("cat", "/proc/1/comm") == "systemd\n"
    assert "/user.slice/user-0.slice/session-1.scope" in bare.must("cat", "/proc/self/cgroup")
    assert bare.must("systemctl", "is-system-running").strip() == "running"
    assert "198.51.100.1" in bare.must("ip", "-4", "address")


# As ferm, which is enabled where it is installed, and shuts all ports; and what else may change a machine's units.
_FERM = {
    "etc/ferm.nft": "table inet ferm {\n chain input {\n type filter hook input priority 0; policy drop\n }\n}\n",
    "usr/lib/systemd/system/ferm.service": "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n"
    "RemainAfterExit=yes\nExecStart=/usr/sbin/nft -f /etc/ferm.nft\n[Install]\nWantedBy=sysinit.target\n",
    "etc/systemd/system/basic.target.d/ferm.conf": "[Unit]\nRequires=ferm.service\n",
    "etc/systemd/system/haproxy.service.d/broken.conf": "[Service]\nExecStart=\nExecStart=/bin/false\n",
    "etc/systemd/system-preset/00-all.preset": "enable *\n",
    "etc/machine-id": "",  # booted for the first time, it enables what presets name
    "etc/systemd/system-generators/ferm": '#!/bin/sh\necho "[Service]\nExecStart=/bin/sleep 9" >"$1/made.service"\n'
    'mkdir "$1/basic.target.wants"; ln -s ../made.service "$1/basic.target.wants"\n',
    "etc/systemd/system.conf.d/ferm.conf": "[Manager]\nDefaultTimeoutStartSec=1us\n",
}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Files that a computer has besides, where ferm is installed."""
    for name, text in _FERM.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "etc/systemd/system/sysinit.target.wants").mkdir()
    (tmp_path / "etc/systemd/system/sysinit.target.wants/ferm.service").symlink_to("/lib/systemd/system/ferm.service")
    return tmp_path


def test_no_unit_of_this_computer_runs_there_but_those_that_are_named(installed: Path, archive: Path) -> None:
    with own(installed=installed) as meet:
        listed = meet.machine.systemctl("list-unit-files", "--plain", "--no-legend")
        loaded = meet.machine.systemctl("list-units", "--all", "--plain", "--no-legend")
        assert "ferm" not in listed + loaded
        assert "made.service" not in listed + loaded
        assert meet.machine.must("nft", "list", "ruleset") == ""
        with server(meet.machine, archive, *STOP) as running:
            assert check(meet.client, archive, meet.machine.ipv4).status == 0
            assert running.wait() == 0


def test_a_unit_that_is_named_is_there(installed: Path) -> None:
    with lab() as net, machine(net.server, units=["ferm.service"], installed=installed) as made:
        assert not made.active("ferm.service")
        made.systemctl("start", "ferm.service")
        assert "policy drop" in made.must("nft", "list", "ruleset")


def test_no_file_of_this_computer_changes(bare: Machine) -> None:
    bare.write("/etc/pnmcheck-test/file", "text")
    bare.must("rm", "/etc/hostname")
    assert bare.must("cat", "/etc/pnmcheck-test/file") == "text"
    assert not Path("/etc/pnmcheck-test").exists()
    assert Path("/etc/hostname").exists()


def test_a_signal_reaches_the_program_and_its_status_comes_back(bare: Machine) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with bare.popen(["sleep", "1000"]) as process:
            process.send_signal(number)
            assert process.wait(120) == -number
    with bare.popen(["sleep", "1000"]) as process:
        os.kill(process.inner, signal.SIGSTOP)
        process.kill()
        assert process.wait(120) == -signal.SIGKILL
    assert bare.run(["sh", "-c", "exit 7"]).returncode == 7


def test_its_files_are_there_after_its_power_was_cut(bare: Machine) -> None:
    bare.write("/etc/kept", "text")
    with bare.popen(["sleep", "1000"]) as process:
        before = bare.must("cat", "/proc/sys/kernel/random/boot_id"), bare.init
        bare.cut_power()
        process.wait(120)
    assert before[1] != bare.init
    assert bare.must("cat", "/etc/kept") == "text"
    assert bare.active("basic.target")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_it_ends_with_what_made_it(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, PROGRAMS / "boot.py"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        name, init = process.stdout.readline().split()
        process.send_signal(number)
        process.wait(120)
    until(lambda: not Path("/proc", init).exists(), "systemd to be gone")
    here = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    assert here.stdout == ""
    assert name not in Path("/proc/mounts").read_text(encoding="utf-8") or number == signal.SIGKILL
    if number == signal.SIGKILL:  # nobody is left who would remove the rest
        remove_cgroups(f"pnmcheck-{process.pid}-machine-1")
        for one in (name, name.replace("server", "client")):
            subprocess.run(["ip", "netns", "delete", one], check=True)
            shutil.rmtree(Path("/etc/netns", one))


def stun(username: bytes = b"") -> bytes:
    """A STUN Binding Request in a frame (RFC 8489, RFC 4571)."""
    attribute = struct.pack("!HH", 6, len(username)) + username + bytes(-len(username) % 4) if username else b""
    message = struct.pack("!HHI12s", 1, len(attribute), 0x2112A442, b"transaction!") + attribute
    return struct.pack("!H", len(message)) + message


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (stun(b"them:us"), "silent"),
        (stun(), "closed"),
        (b"\0\5hello", "closed"),
        (b"GET / HTTP/1.1\r\n\r\n", "silent"),  # a frame of 18,245 bytes, which is waited for
        (b"", "silent"),
    ],
    ids=["STUN of an unknown call", "STUN without a name", "no STUN", "HTTP", "nothing"],
)
def test_its_ice_over_tcp(meet: Plugnmeet, frame: bytes, answer: str) -> None:
    for address in (meet.machine.ipv4, meet.machine.ipv6):
        seconds = "1" if answer == "silent" else "60"
        said = meet.client.must(sys.executable, PROGRAMS / "talk.py", address, "7881", frame.hex(), seconds)
        assert said.strip() == answer


def test_its_signalling_is_behind_haproxy(meet: Plugnmeet) -> None:
    base = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--http1.1"]
    upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
               "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]  # fmt: skip
    host = meet.machine.ipv4
    assert meet.client.must(*base, f"https://{host}/livekit/") == "200"
    assert meet.client.must(*base, f"https://{host}/livekit/rtc") == "404"
    assert meet.client.must(*base, *upgrade, f"https://{host}/livekit/rtc") == "401"
    assert meet.client.must(*base, f"http://{host}/") == "301"
    assert meet.client.must(*base, f"http://{host}/.well-known/acme-challenge/x") == "503"


def counts(meet: Plugnmeet) -> dict[str, int]:
    """What befell its calls."""
    told = json.loads(meet.machine.must("curl", "-s", "http://127.0.0.1:7880/counts"))
    assert isinstance(told, dict)
    return told


def test_its_calls_come_and_go(meet: Plugnmeet) -> None:
    before = counts(meet)
    until(lambda: counts(meet)["calls"] >= before["calls"] + 100, "a hundred calls")
    assert counts(meet)["failed"] == 0
    held = meet.machine.must("ss", "-Hlun", "sport >= 50000 and sport <= 60000").splitlines()
    assert 50 <= len(held) <= 110  # of two addresses each, while one comes and goes
    assert {line.split()[3].rpartition(":")[0] for line in held} == {"198.51.100.1", "[2001:db8:1::1]"}


def test_calls_that_find_no_port_are_counted(bare: Machine) -> None:
    standin = Path(__file__).parents[1] / "standins" / "livekit.py"
    bare.write("/opt/livekit.py", standin.read_text(encoding="ascii"))
    words = ["/usr/bin/python3", "/opt/livekit.py", "--media", "50000-50002", "--calls", "4", "--rate", "1000"]
    with bare.popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"

            def failed() -> bool:
                told = json.loads(bare.must("curl", "-s", "http://127.0.0.1:7880/counts"))
                return bool(told["failed"] and told["taken"])

            until(failed, "a call without a port")
            process.terminate()
            assert process.wait(120) == 0
        finally:
            process.kill()
