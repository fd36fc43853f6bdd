"""A whole server to test on: a real systemd, and the units that a test names, in one namespace of the lab.

It is PID 1 of its own: processes, mounts, cgroups and names are the machine's. Its files are those of this
computer with a layer over them, in memory: whatever is written is gone with the machine, and no file here changes.
Of systemd's own files it has none of this computer's: no unit, drop-in, preset, generator or setting. So nothing that
is installed or enabled here, ferm for one, which shuts all ports, runs there.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterator, Sequence

from tests.lab import Host, need, until

PROGRAMS = Path(__file__).parent / "programs"

# Units of this computer's systemd that every machine has, and which of them start when it boots.
_BASE = {
    "basic.target": "", "sysinit.target": "", "sockets.target": "", "timers.target": "", "paths.target": "",
    "slices.target": "", "local-fs.target": "", "shutdown.target": "", "umount.target": "", "network.target": "",
    "network-online.target": "", "systemd-journald.service": "sysinit.target", "dbus.service": "",
    "systemd-journald.socket": "sockets.target", "systemd-journald-dev-log.socket": "sockets.target",
    "dbus.socket": "sockets.target",  # systemd-run waits by way of it
}  # fmt: skip

# What is a mount of its own is not in the layer, so these are bound into it; what the tests run must be there.
_NEEDED = tuple(dict.fromkeys((Path(__file__).resolve().parents[2], *map(Path, (sys.prefix, sys.base_prefix)))))

# A login's: what runs there belongs to no service. The shell moves itself, and becomes the program.
_SESSION = "user.slice/user-0.slice/session-1.scope"
_JOIN = f'd=/sys/fs/cgroup/{_SESSION}; mkdir -p $d && echo $$ >$d/cgroup.procs && exec "$@"'

_numbers = itertools.count(1)


def _child(pid: int) -> int:
    """The one child of a process, which it started by itself; 0 where it has none."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii") or 0)
    return 0


def _name(pid: int) -> str:
    """The name of a process's program; empty where there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""


class Inside(subprocess.Popen[str]):
    """A program on a machine. Its status and its output are the program's, and signals go to the program itself."""

    @property
    def inner(self) -> int:
        """The program's own process id, as this computer counts; 0 where it is over."""
        # nsenter stays outside, for whoever enters has to be born there, and ends as its child does.
        return _child(self.pid)

    def send_signal(self, sig: int) -> None:
        if self.poll() is None and self.inner:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.inner, sig)
                if sig == signal.SIGKILL:
                    os.kill(self.pid, signal.SIGCONT)  # it stops along with a program that is stopped


class Machine(Host):
    """A host of the lab on which systemd runs. Programs that are started here run as in a login of root's."""

    def __init__(self, host: Host, process: subprocess.Popen[str]) -> None:
        super().__init__(host.name, host.ipv4, host.ipv6)
        self._process = process
        self.init = 0  # systemd's process id, as this computer counts
        self._wait_until_booted()

    def _wait_until_booted(self) -> None:
        until(self._booted, f"{self.name} to boot")

    def _booted(self) -> bool:
        if self._process.poll() is not None:
            assert self._process.stdout
            raise AssertionError(f"no machine: {self._process.stdout.read()}")
        self.init = _child(_child(self._process.pid))
        # Before systemd runs, nobody can enter: the root would be this computer's.
        return _name(self.init) == "systemd" and self.active("basic.target")

    def cut_power(self) -> None:
        """Have it dead at once, and boot it anew with the files that it has."""
        before = self.init
        os.kill(before, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{before}").exists(), f"{self.name} to be gone")
        self._wait_until_booted()

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        enter = ["nsenter", "-t", str(self.init), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w"]
        return [str(shutil.which(enter[0])), *enter[1:], "/bin/sh", "-c", _JOIN, "sh", *map(str, (*self.prefix, *argv))]

    def popen(self, argv: Sequence[str | Path], **kw: Any) -> Inside:
        started = Inside(self.command(argv), **{"stdin": subprocess.DEVNULL, "encoding": "utf-8", **kw})
        # A signal that is sent from now on reaches it.
        until(lambda: started.inner or started.poll() is not None, f"{argv[0]} to start")
        return started

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the machine's; its folders are made."""
        script = 'mkdir -p "$(dirname "$1")" && rm -f "$1" && cat >"$1" && chmod "$2" "$1"'
        self.must("sh", "-c", script, "sh", path, f"{mode:o}", input=text)

    def exists(self, path: str) -> bool:
        """Whether the machine has a file or a folder there, or a link."""
        return self.run(["test", "-e", path, "-o", "-L", path]).returncode == 0

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl, which has to succeed; its output."""
        return self.must("systemctl", "--no-ask-password", *arguments)

    def show(self, unit: str, what: str) -> str:
        """One property of a unit: `ActiveState`, `MainPID`."""
        return self.systemctl("show", "--value", "-p", what, unit).strip()

    def active(self, *units: str) -> bool:
        """Whether all these units are."""
        return self.run(["systemctl", "is-active", "-q", "--", *units]).returncode == 0

    def journal(self) -> str:
        """What the machine's services said, for a test that fails."""
        return str(self.run(["journalctl", "--no-pager", "-b", "-o", "short-precise"]).stdout)


@contextlib.contextmanager
def machine(
    host: Host, tree: Path | None = None, units: Sequence[str] = (), installed: Path | None = None
) -> Iterator[Machine]:
    """Boot a machine on a host of the lab, up to basic.target: no service of this computer's is started.

    `units` are those of this computer that it has too, beside its base. The files of `tree` are there before it boots:
    `etc/systemd/system/some.service`. The files of `installed` are taken for this computer's own.
    """
    need("ip", "nsenter", "setpriv", "systemctl", "unshare")
    name = f"pnmcheck-{os.getpid()}-machine-{next(_numbers)}"
    with tempfile.TemporaryDirectory(prefix=name) as folder:
        bound = [path for path in _NEEDED if os.stat(path).st_dev != os.stat("/").st_dev]
        environment = {
            "INSIDE": str(PROGRAMS / "inside.sh"),
            "INSTALLED": str(installed or ""),
            "UNITS": " ".join((*_BASE, *units)),
            "WANTED": " ".join(f"{target}.wants/{unit}" for unit, target in _BASE.items() if target),
            "TREE": str(tree or ""),
        }
        # It ends with the thread that made it, even where that is killed.
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", str(PROGRAMS / "outside.sh")]
        with host.popen(
            [*argv, folder, name, *bound],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                yield Machine(host, process)
            finally:
                process.kill()
                process.wait()
                remove_cgroups(name)


def remove_cgroups(name: str) -> None:
    """Its cgroups stay when all that was in them is gone, and are removed from the leaves up."""

    def removed() -> bool:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["unshare", "-m", "sh", PROGRAMS / "remove_cgroups.sh", folder, name], check=False)
        return done.returncode == 0

    until(removed, f"all processes of {name} to be gone")
