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
from tests.systemd.machine import Inside, Machine, machine

TREE = Path(__file__).parent / "tree"
STANDIN = Path(__file__).parents[1] / "standins" / "livekit.py"

HAPROXY, PLUGNMEET, DEPENDENT = "haproxy.service", "plugnmeet.service", "needs-haproxy.service"
UNITS = (HAPROXY, PLUGNMEET, DEPENDENT)
HAPROXY_CFG = "/etc/haproxy/haproxy.cfg"
FOLDER = "/var/lib/pnmcheck"
LIST = f"{FOLDER}/stopped.json"
GUARDIAN = "pnmcheck-guardian.service"
STOP = ("--stop-services", "--yes")

# What a user's server has to be able to do within this long after the program's end, whatever ended it.
BACK = 5.0

_CERTIFICATE = """
mkdir -p /etc/haproxy/ssl
cd /etc/haproxy/ssl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=meet.example.com \
    -addext subjectAltName=DNS:meet.example.com,DNS:turn.example.com -keyout key -out made
cat made key >meet.pem
rm made key
"""

# Says which of these ports serve: a TCP one takes a connection, 443/udp answers a STUN Binding Request.
_SERVES = """
import json, socket, struct, sys
host, serves = sys.argv[1], []
for port in (80, 443, 7881):
    try:
        socket.create_connection((host, port), 2).close()
        serves.append(port)
    except OSError:
        pass
turn = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
turn.settimeout(1)
turn.connect((host, 443))
asked = struct.pack("!HHI", 1, 0, 0x2112A442) + b"transaction!"
try:
    turn.send(asked)
    if turn.recv(100)[:2] == b"\\1\\1":
        serves.append("turn")
except OSError:
    pass
print(json.dumps(serves))
"""
ALL = [80, 443, 7881, "turn"]


class Plugnmeet(NamedTuple):
    """A client, and the machine that it asks."""

    client: Host
    machine: Machine

    def serving(self) -> list[int | str]:
        """Which of the services' ports serve, seen from the client."""
        serves = json.loads(self.client.must(sys.executable, "-c", _SERVES, self.machine.ipv4))
        assert isinstance(serves, list)
        return serves

    def runs(self) -> bool:
        """Whether all services are active, and serve."""
        return self.machine.active(*UNITS) and self.serving() == ALL

    def wait_until_back(self, seconds: float = BACK) -> float:
        """Wait until all run and nothing of the program's is left; how long that took. It fails where it takes longer.

        A service that still runs may be about to be stopped: it is back when nobody is left who would stop it.
        """
        began = time.monotonic()
        try:
            until(lambda: not self.left() and self.runs(), "the services", within=seconds)
        except AssertionError as error:
            told = f"{self.left()} is left, and {self.serving()} serve\n{self.machine.journal()[-6000:]}"
            raise AssertionError(f"{error}: {told}") from None
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
        self.wait_until_back(20)

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

    def wait_for(self, text: str, seconds: float = 20) -> None:
        """Wait until the program has written this."""
        until(lambda: text in self.text, f"{text!r} on the terminal", within=seconds)

    def type(self, text: str) -> None:
        """Type this; ctrl-C is `\\x03`."""
        os.write(self._ours, text.encode())

    def close(self) -> None:
        """Hang up, as a connection does that breaks, or end."""
        os.close(self._ours)


_OOM = """
set -e
mount --make-rprivate /
if mount -t cgroup -o memory memory "$1" 2>/dev/null; then
    limit=memory.limit_in_bytes kills=memory.oom_control
else
    mount -t cgroup2 cgroup2 "$1"
    echo +memory >"$1/cgroup.subtree_control"
    limit=memory.max kills=memory.events
fi
mkdir "$1/$2"
trap 'for i in 1 2 3 4 5 6 7 8 9; do rmdir "$1/$2" 2>/dev/null && break || sleep 0.1; done' EXIT
echo 32M >"$1/$2/$limit"
echo "$3" >"$1/$2/cgroup.procs"
echo 1000 >"/proc/$3/oom_score_adj"
sh -c 'echo $$ >"$1" && exec "$2" -c "bytearray(64 << 20)"' sh "$1/$2/cgroup.procs" "$4" || true
grep '^oom_kill [1-9]' "$1/$2/$kills"
"""


def run_out_of_memory(pid: int) -> None:
    """Have the kernel kill a process for want of memory: in a group where there is too little, and it goes first."""
    with tempfile.TemporaryDirectory() as folder:
        argv = ["unshare", "--mount", "sh", "-c", _OOM, "sh", folder, f"pnmcheck-{os.getpid()}-oom", str(pid)]
        done = subprocess.run([*argv, sys.executable], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def plugnmeet(net: Lab, units: Sequence[str] = (), installed: Path | None = None) -> Iterator[Plugnmeet]:
    """Boot it on the lab's server, and have everything up; `units` of this computer are there besides."""
    with machine(net.server, TREE, (HAPROXY, *units), installed) as booted:
        booted.write("/opt/plugNmeet/livekit.py", STANDIN.read_text(encoding="ascii"))
        booted.must("sh", "-ec", _CERTIFICATE)
        booted.systemctl("start", "server.target")
        made = Plugnmeet(net.client, booted)
        made.wait_until_back(20)
        yield made


@contextlib.contextmanager
def own(*units: str, installed: Path | None = None) -> Iterator[Plugnmeet]:
    """Boot one in a network of its own."""
    with lab() as net, plugnmeet(net, units, installed) as made:
        yield made
