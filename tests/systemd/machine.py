"""A whole server to test on: a real systemd, and what it starts, in one namespace of the lab.

It is PID 1 of its own: processes, mounts, cgroups and names are the machine's. Its files are those of this
computer with a layer over them, in memory: whatever is written is gone with the machine, and no file here changes.
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

# Where it has two cores to itself it is up in half a second.
BOOT = 30.0

# What is a mount of its own is not in the layer, so these are bound into it; what the tests run must be there.
_NEEDED = tuple(dict.fromkeys((Path(__file__).resolve().parents[2], *map(Path, (sys.prefix, sys.base_prefix)))))

# These would change what the machine shares with this computer, or wait for what it has not got.
_MASKED = "systemd-sysctl systemd-modules-load systemd-journal-flush systemd-udevd systemd-udev-trigger"

# $1 is an empty folder, $2 a cgroup's name, $3 a folder whose tree is laid over the machine's files, or nothing. What
# follows is bound. It stays outside the machine, and boots it anew where its power was cut.
_OUTSIDE = """
set -e
mount --make-rprivate /
mkdir "$1/cgroup" "$1/disk" "$1/root"
mount -t cgroup2 cgroup2 "$1/cgroup"
mkdir "$1/cgroup/$2"
mount -t tmpfs -o mode=755 disk "$1/disk"
mkdir "$1/disk/upper" "$1/disk/work"
mount -t overlay -o "lowerdir=/,upperdir=$1/disk/upper,workdir=$1/disk/work" overlay "$1/root"
folder=$1 name=$2
cd "$1/root"
cp /etc/hosts /etc/resolv.conf etc/
[ -z "$3" ] || cp -r "$3/." .
for unit in $MASKED; do ln -sfn /dev/null "etc/systemd/system/$unit.service"; done
mkdir -p etc/tmpfiles.d
ln -sfn /dev/null etc/tmpfiles.d/tmp.conf # it would empty /tmp
rm -rf var/lib/pnmcheck var/log/journal
shift 3
for path; do mkdir -p ".$path"; mount --bind "$path" ".$path"; mount -o remount,bind,ro ".$path"; done
while :; do
    setpriv --pdeathsig KILL unshare --pid --mount --uts --ipc --fork --kill-child \\
        sh -ec 'echo 0 >"$1/cgroup/$2/cgroup.procs"; cd "$1/root"; exec unshare --cgroup sh -ec "$INSIDE" sh "$1"' \\
        sh "$folder" "$name" || rm "$folder/disk/boots" # its status tells nothing: unshare has trouble with a kill
done
"""
# As systemd-nspawn has it, whose shape of a container systemd knows.
_INSIDE = """
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,rw proc/sys/net
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=755 dev dev
for one in null zero full random urandom tty; do touch dev/$one; mount --bind /dev/$one dev/$one; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
mount -t tmpfs shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
touch "$1/disk/boots"
exec env -i container=pnmcheck "PATH=$PATH" \\
    chroot . /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no
"""

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
        until(self._booted, f"{self.name} to boot", within=BOOT)

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
        until(lambda: not Path(f"/proc/{before}").exists(), f"{self.name} to be gone", within=BOOT)
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
def machine(host: Host, tree: Path | None = None) -> Iterator[Machine]:
    """Boot a machine on a host of the lab, up to basic.target: no service of this computer's is started.

    The files of `tree` are there before it boots: `etc/systemd/system/some.service`.
    """
    need("ip", "nsenter", "setpriv", "systemctl", "unshare")
    name = f"pnmcheck-{os.getpid()}-machine-{next(_numbers)}"
    with tempfile.TemporaryDirectory(prefix=name) as folder:
        bound = [path for path in _NEEDED if os.stat(path).st_dev != os.stat("/").st_dev]
        # It ends with the thread that made it, even where that is killed.
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", _OUTSIDE, "machine"]
        with host.popen(
            [*argv, folder, name, tree or "", *bound],
            env={**os.environ, "INSIDE": _INSIDE, "MASKED": _MASKED},
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
    script = (
        'mount --make-rprivate / && mount -t cgroup2 cgroup2 "$1" && cd "$1" || exit 1; '
        '[ ! -e "$2" ] || find "$2" -depth -type d -exec rmdir {} + 2>/dev/null'
    )

    def removed() -> bool:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", folder, name], check=False)
        return done.returncode == 0

    until(removed, f"all processes of {name} to be gone", within=BOOT)
