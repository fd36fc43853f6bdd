"""A plugNmeet server of the installer's shape, on a machine of its own: what it runs, and whether it is in order."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence

from tests.lab import Host, Lab, lab, until
from tests.systemd.machine import PROGRAMS, Inside, Machine, machine

TREE = Path(__file__).parent / "tree"
STANDIN = Path(__file__).parents[1] / "standins" / "livekit.py"

HAPROXY, PLUGNMEET, DEPENDENT = "haproxy.service", "plugnmeet.service", "needs-haproxy.service"
UNITS = (HAPROXY, PLUGNMEET, DEPENDENT)
HAPROXY_CFG = "/etc/haproxy/haproxy.cfg"
FOLDER = "/var/lib/pnmcheck"
LIST = f"{FOLDER}/stopped.json"
GUARDIAN = "pnmcheck-guardian.service"
STOP = ("--stop-services", "--yes")

# Services are back so many seconds after the program's end, whatever ended it; where a computer is so busy that it
# takes longer, after this many times what a plain restart of them takes there.
BACK, RESTARTS = 5.0, 5

ALL = [80, 443, 7881, "turn"]


class Plugnmeet(NamedTuple):
    """A client, and the machine that it asks."""

    client: Host
    machine: Machine

    def serving(self) -> list[int | str]:
        """Which of the services' ports serve, seen from the client."""
        serves = json.loads(self.client.must(sys.executable, PROGRAMS / "serves.py", self.machine.ipv4))
        assert isinstance(serves, list)
        return serves

    def runs(self) -> bool:
        """Whether all services are active, and serve."""
        return self.machine.active(*UNITS) and self.serving() == ALL

    def wait_until_back(self) -> float:
        """Wait until all run and nothing of the program's is left; how long that took.

        A service that still runs may be about to be stopped: it is back when nobody is left who would stop it.
        """
        began = time.monotonic()
        try:
            until(lambda: not self.left() and self.runs(), "the services")
        except AssertionError as error:
            rest = f"{self.left()} is left, and {self.serving()} serve\n{self.machine.journal()[-6000:]}"
            raise AssertionError(f"{error}: {rest}") from None
        return time.monotonic() - began

    def wait_until_soon_back(self) -> float:
        """Wait for the same, which must not take long."""
        seconds = self.wait_until_back()
        self.check_soon(seconds)
        return seconds

    def check_soon(self, seconds: float) -> None:
        """Fail where so many seconds are too many for services to be back."""
        assert seconds <= BACK or seconds <= RESTARTS * self._restart(), f"only after {seconds:.1f} s"

    def _restart(self) -> float:
        """Restart all services by hand; how long that took."""
        began = time.monotonic()
        self.machine.systemctl("reset-failed")
        self.machine.systemctl("restart", *UNITS)
        self.wait_until_back()
        return time.monotonic() - began

    def left(self) -> list[str]:
        """What the program has left on the machine."""
        files = self.machine.run(["find", FOLDER]).stdout.split()
        units = self.machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "pnmcheck*"]).stdout
        processes = self.machine.run(["pgrep", "-af", "pnmcheck[.]pyz"]).stdout
        return [*files, *units.splitlines(), *processes.splitlines()]

    def mend(self) -> None:
        """Have it as it was booted, whatever a test that failed has left; what tests started counts for no limit."""
        for argv in (["systemctl", "kill", "-s", "KILL", "pnmcheck*"], ["pkill", "-KILL", "-f", "pnmcheck[.]pyz"],
                     ["rm", "-rf", FOLDER], ["nft", "flush", "ruleset"], ["systemctl", "reset-failed"]):  # fmt: skip
            self.machine.run(argv)
        self.machine.write(HAPROXY_CFG, (TREE / HAPROXY_CFG[1:]).read_text(encoding="ascii"))
        self.machine.systemctl("start", *UNITS)
        self.wait_until_back()

    def start(self, archive: Path, *args: str, prefix: Sequence[str] = (), **kw: Any) -> Inside:
        """Start `server` with these arguments, whose output nobody reads."""
        return self.machine.popen([*prefix, sys.executable, archive, "server", *args], **kw)


class Terminal:
    """A terminal of a program's own: what it shows, what is typed there, and its end, which hangs up."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how a terminal tells that nobody is at its other end any more
            while data := os.read(self._ours, 4096):
                self.text += data.decode()

    def start(self, machine: Machine, argv: Sequence[str | Path], **kw: Any) -> Inside:
        """Start a program that has this terminal, as one of its own session."""
        all_three = {"stdin": self.theirs, "stdout": self.theirs, "stderr": self.theirs}
        started = machine.popen(["setsid", "--ctty", *argv], **all_three, **kw)
        os.close(self.theirs)
        self._reader.start()
        return started

    def wait_for(self, text: str) -> None:
        """Wait until the program has written this."""
        until(lambda: text in self.text, f"{text!r} on the terminal")

    def type(self, text: str) -> None:
        """Type this; ctrl-C is `\\x03`."""
        os.write(self._ours, text.encode())

    def close(self) -> None:
        """Hang up, as a connection does that breaks, or end."""
        os.close(self._ours)


def run_out_of_memory(pid: int) -> None:
    """Have the kernel kill a process for want of memory: in a group where there is too little, and it goes first."""
    with tempfile.TemporaryDirectory() as folder:
        group = f"pnmcheck-{os.getpid()}-oom"
        argv = ["unshare", "--mount", "sh", str(PROGRAMS / "out_of_memory.sh"), folder, group, str(pid), sys.executable]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def plugnmeet(net: Lab, units: Sequence[str] = (), installed: Path | None = None) -> Iterator[Plugnmeet]:
    """Boot it on the lab's server, and have everything up; `units` of this computer are there besides."""
    with machine(net.server, TREE, (HAPROXY, *units), installed) as booted:
        booted.write("/opt/plugNmeet/livekit.py", STANDIN.read_text(encoding="ascii"))
        booted.must("sh", "-e", PROGRAMS / "certificate.sh")
        booted.systemctl("start", "server.target")
        made = Plugnmeet(net.client, booted)
        made.wait_until_back()
        yield made


@contextlib.contextmanager
def own(*units: str, installed: Path | None = None) -> Iterator[Plugnmeet]:
    """Boot one in a network of its own."""
    with lab() as net, plugnmeet(net, units, installed) as made:
        yield made
