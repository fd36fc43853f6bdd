"""`server --live` beside a meeting: a real ICE connection, whose port is one of those that the check is about."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

from tests.lab import PROGRAMS, Host, Lab, check, hold, lab, server, wrong

CONTROL = ("--control", "9443")

MEETING = PROGRAMS / "meeting.py"


class End:
    """One end of a meeting."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def read(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def write(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()


@contextlib.contextmanager
def end(host: Host, role: str) -> Iterator[End]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with host.popen([sys.executable, MEETING, role], **pipes) as process:
        try:
            yield End(process)
        finally:
            process.kill()


def test_a_meeting_goes_on(net: Lab, archive: Path) -> None:
    # So that it has one of the ports that LiveKit would lend.
    net.server.must("sysctl", "-qw", "net.ipv4.ip_local_port_range=50000 60000")
    with end(net.server, "echoes") as echoing, end(net.client, "sends") as sending:
        told = [one.read() for one in (echoing, sending)]
        for one, other in ((echoing, told[1]), (sending, told[0])):
            one.write(json.dumps(other))
        assert [one.read() for one in (echoing, sending)] == ["connected"] * 2
        with server(net.server, archive, "--live", *CONTROL):
            seen = check(net.client, archive, net.server.ipv4, *CONTROL)
        sending.write("")
        sent, came = sending.read()
        echoing.write("")
    assert (came, sent > 100) == (sent, True)
    # Its other port is at the address that was not checked.
    (port,) = (line.split()[5] for line in told[0][2] if line.split()[4] == net.server.ipv4)
    busy = {f"udp {port}": "untested busy"}
    assert wrong(seen.report, busy) == []
    assert seen.finding("udp", int(port))["evidence"]["at_interface"] > 0


def test_ports_in_use_are_told_by_what_arrives(archive: Path) -> None:
    with lab(routed=True) as net, hold(net.server, "udp 50007 udp 50009"):
        net.rules({"router forward": ("udp dport 50009 drop",)})
        with server(net.server, archive, "--live", *CONTROL):
            seen = check(net.client, archive, net.server.ipv4, *CONTROL)
    assert wrong(seen.report, {"udp 50007,50009": "untested busy"}) == []
    arrived = {port: seen.finding("udp", port)["evidence"]["at_interface"] for port in (50007, 50009)}
    assert (arrived[50007] > 0, arrived[50009]) == (True, 0)
    (advice,) = (one["text"] for one in seen.address["advice"])
    assert "Packets to 1 of these 2 ranges reached the server's network interface." in advice
