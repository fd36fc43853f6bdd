"""Windows' own CPython as the client: tests/windows/setup.sh brings it, and Wine runs it in a namespace."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Iterator, NamedTuple

import pytest

from tests import lab

OLDEST, NEWEST = "3.8", "3.13"
ENOUGH = 300  # packets of the thousands that come, to know that what a test is about has happened
NO_TRACES = (b"Traceback", b"UnicodeEncodeError", b"an error inside pnmcheck")


class Windows(NamedTuple):
    """A computer with Windows, at the client's place in the network."""

    net: lab.Lab
    python: Path
    archive: Path
    env: dict[str, str]

    def check(self, target: str, *arguments: str) -> lab.Check:
        return self.start_check(target, *arguments).finish()

    def start_check(self, target: str, *arguments: str) -> lab.Checking:
        return lab.start_check(self.net.client, self.archive, target, *arguments, python=self.python, env=self.env)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        """Its output as it leaves the program."""
        command = self.net.client.command([self.python, *arguments])
        env = {**os.environ, **self.env}
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=120, check=False)

    def text(self, status: int, *arguments: str) -> tuple[str, str]:
        """What the program writes to a pipe, stdout and stderr, in the code page of Western Windows."""
        done = self.run(self.archive, *arguments)
        assert not [one for one in NO_TRACES if one in done.stdout + done.stderr], done
        assert done.returncode == status, done
        return done.stdout.decode("cp1252"), done.stderr.decode("cp1252")


@pytest.fixture(scope="module")
def wine(network: lab.Lab, python_win: Path) -> Iterator[Path]:
    """`python-win`; what it started in the client's namespace is gone afterwards."""
    yield python_win
    network.client.must(python_win.with_name("python-win-stop"))
    left = subprocess.run(["ip", "netns", "pids", network.client.name], capture_output=True, check=True)
    assert left.stdout == b""


@pytest.fixture(params=[OLDEST, NEWEST])
def windows(request: pytest.FixtureRequest, net: lab.Lab, wine: Path, archive: Path) -> Windows:
    # With UTF-8 outside, Wine gives the program the arguments as they are; inside, pipes are cp1252 all the same.
    return Windows(net, wine, archive, {"PYWIN": request.param, "LC_ALL": "C.UTF-8"})


def test_this_is_windows(windows: Windows) -> None:
    code = "import os, sys, ssl; print(os.name, sys.platform, sys.stdout.encoding, '%d.%d' % sys.version_info[:2])"
    assert windows.run("-c", code).stdout.decode().split() == ["nt", "win32", "cp1252", windows.env["PYWIN"]]


def test_selftest(windows: Windows) -> None:
    stdout, stderr = windows.text(0, "selftest")
    assert (stdout.split()[0], stderr) == ("PASS", "")
    stdout, stderr = windows.text(0, "selftest", "--json")
    assert (json.loads(stdout)["verdict"], stderr) == ("pass", "")


def test_a_server_says_whose_rights_it_keeps(windows: Windows) -> None:
    stdout, _ = windows.text(3, "server", "--json", "--tcp", "8443", "--udp", "50000-50009", "--for", "1s")
    listening, stopped = map(json.loads, stdout.splitlines())
    assert (listening["event"], stopped) == ("listening", {"event": "stopped", "why": "time is over"})
    assert not [run for run in listening["untested"] if run["reason"] == "busy"]


def test_all_open_on_both_addresses_of_a_name(windows: Windows) -> None:
    server = windows.net.server
    windows.net.client.knows({"meet.example": [server.ipv4, server.ipv6]})
    with lab.server(server, windows.archive):
        done = windows.check("meet.example")
    assert [lab.wrong(done.report, address=one) for one in (server.ipv4, server.ipv6)] == [[], []]
    assert (done.status, done.stderr) == (0, "")


def test_what_is_blocked_does_not_disturb_the_rest(windows: Windows) -> None:
    net, silent, refused = windows.net, "53000-53499", "50000,55000-55999"
    with lab.server(net.server, windows.archive):
        net.server.sysctl("net.ipv4.icmp_ratelimit", 0)
        net.client.rules("input", "icmp type destination-unreachable counter")
        net.server.rules(
            "input",
            f"udp dport {silent} drop",
            f"udp dport {{ {refused} }} reject",
            "tcp dport 80 reject with tcp reset",
        )
        done = windows.check(net.server.ipv4)
    # Windows tells the program of an ICMP error, by failing the next receive, but of which port it was only where a
    # socket is connected; and never who sent it.
    expected = {f"udp {silent}": "filtered", f"udp {refused}": "rejected", "tcp 80": "rejected"}
    assert lab.wrong(done.report, expected) == []
    refusal = done.finding("udp", 55000)
    assert (refusal["by"], refusal["icmp"]) == (None, None)
    assert refusal["evidence"]["errors"] >= 2
    assert (done.status, done.stderr) == (1, "")
    assert net.client.counted() > ENOUGH


def test_a_key_from_the_command_line_and_from_the_environment(windows: Windows) -> None:
    net, key = windows.net, "b2cd-j6as-k7d1-mpmt-vcdn-q6yw-3h57"
    with lab.server(net.server, windows.archive, "--udp", "50000-50009", "--key", key):
        found = [
            windows.check(net.server.ipv4, "--key", key.upper().replace("-", " ")),
            windows._replace(env={**windows.env, "PNMCHECK_KEY": key}).check(net.server.ipv4),
            windows.check(net.server.ipv4),
        ]
    for done in found[:2]:
        assert lab.wrong(done.report, plan="tcp 80,443,7881 udp 50000-50009") == []
        assert (done.status, done.address["control"]) == (0, {"port": 443, "tls": True, "paired": True})
    assert (found[2].status, found[2].report["error"]["code"]) == (3, "key-needed")


def test_server_killed_in_the_middle(windows: Windows) -> None:
    net = windows.net
    net.server.rules("input", "udp dport 50000-60000 counter")
    with lab.server(net.server, windows.archive) as server:
        checking = windows.start_check(net.server.ipv4)
        net.server.wait_until_counted(ENOUGH)
        server.process.kill()
        done = checking.finish()
    found = set(lab.causes(done.report).values())
    assert found - {"open"} == {"unknown no-control"}
    assert (done.status, done.stderr) == (3, "")


def test_no_server(windows: Windows) -> None:
    done = windows.check(windows.net.server.ipv4)
    error = done.report["error"]
    assert (done.status, error["code"], done.report["addresses"][0]["findings"]) == (3, "no-server", [])
    assert "80/tcp refused" in error["message"]
    assert "server" in error["hint"]


@pytest.mark.parametrize("name", ["meet.example", "\u043ceet.example"])
def test_wrong_name(windows: Windows, name: str) -> None:
    done = windows.check(name)
    assert (done.status, done.report["host"], done.report["error"]["code"]) == (3, name, "name-not-found")


def test_text_in_the_code_page_of_a_pipe(windows: Windows) -> None:
    server, name = windows.net.server, "\u043ceet.example"  # its first letter is not in that code page
    assert name.encode("cp1252", "replace").decode("cp1252") in windows.text(3, "client", name)[1]
    windows.net.client.knows({"meet.example": [server.ipv4]})
    with lab.server(server, windows.archive, "--tcp", "80,443", "--udp", "50000-50099"):
        server.rules("input", "udp dport 50007 drop")
        stdout, stderr = windows.text(1, "client", "meet.example")
    assert stdout.startswith("FAIL  meet.example: 1 required port is blocked\r\n")
    assert "  x 50007/udp: filtered" in stdout
    assert "  + 80, 443/tcp; 50000-50006, 50008-50099/udp: open\r\n" in stdout
    assert stderr == ""
