"""A whole server to test on: a real systemd, and what it starts, in one namespace of the lab.

It is PID 1 of its own: processes, mounts, cgroups and names are the machine's. Its files are those of this
computer with a layer over them, in memory: whatever is written is gone with the machine, and no file here changes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterator, Sequence

from tests.lab import Host, need, until

# Where it has two cores to itself it is up in half a second.
BOOT = 30.0

# What is a mount of its own is not in the layer, so these are bound into it; what the tests run must be there.
_NEEDED = tuple(dict.fromkeys((Path(__file__).resolve().parents[1], *map(Path, (sys.prefix, sys.base_prefix)))))

# In the order of systemd-nspawn, whose shape of a container systemd knows. These units would change what the machine
# shares with this computer, or wait for what it has not got.
_MASKED = "systemd-sysctl systemd-modules-load systemd-journal-flush systemd-udevd systemd-udev-trigger tmp"

# $1 is an empty folder, $2 a cgroup's name, $3 a folder whose tree is laid over the machine's files, or nothing. What
# follows is bound.
_CGROUP = """
set -e
mount --make-rprivate /
mkdir "$1/cgroup"
mount -t cgroup2 cgroup2 "$1/cgroup"
mkdir "$1/cgroup/$2"
echo $$ >"$1/cgroup/$2/cgroup.procs"
exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child sh -c "$ENTER" machine "$@"
"""
_ENTER = """
set -e
umount "$1/cgroup"
mount -t tmpfs -o mode=755 machine "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
cp /etc/hosts /etc/resolv.conf etc/
[ -z "$3" ] || cp -r "$3/." .
for unit in $MASKED; do ln -sfn /dev/null "etc/systemd/system/$unit.service"; done
mkdir -p etc/tmpfiles.d
ln -sfn /dev/null etc/tmpfiles.d/tmp.conf # it would empty /tmp
rm -rf var/lib/pnmcheck var/log/journal
shift 3
for path; do mkdir -p ".$path"; mount --bind "$path" ".$path"; mount -o remount,bind,ro ".$path"; done
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
for one in 0 1 2; do ln -s /proc/self/fd/$one dev/$(set -- stdin stdout stderr; shift $one; echo $1); done
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


class Machine(Host):
    """A host of the lab on which systemd runs. Programs that are started here run as in a login of root's."""

    def __init__(self, host: Host, pid: int) -> None:
        super().__init__(host.name, host.ipv4, host.ipv6)
        self.init = pid  # systemd's process id, as this computer counts

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        enter = ["nsenter", "-t", str(self.init), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w"]
        return [str(shutil.which(enter[0])), *enter[1:], "/bin/sh", "-c", _JOIN, "sh", *map(str, (*self.prefix, *argv))]

    def popen(self, argv: Sequence[str | Path], **kw: Any) -> Inside:
        started = Inside(self.command(argv), **{"stdin": subprocess.DEVNULL, "encoding": "utf-8", **kw})
        # A signal that is sent from now on reaches it.
        until(lambda: started.inner or started.poll() is not None, 10, f"{argv[0]} to start")
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
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", _CGROUP, "machine"]
        with host.popen(
            [*argv, folder, name, tree or "", *bound],
            env={**os.environ, "ENTER": _ENTER, "MASKED": _MASKED},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                yield _booted(host, process)
            finally:
                process.kill()
                process.wait()
                _remove_cgroup(name)


def _booted(host: Host, process: subprocess.Popen[str]) -> Machine:
    def up() -> Machine | None:
        if process.poll() is not None:
            assert process.stdout
            raise AssertionError(f"no machine: {process.stdout.read()}")
        pid = _child(process.pid)
        # Before systemd runs, nobody can enter: the root would be this computer's.
        if not pid or Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() != "systemd":
            return None
        made = Machine(host, pid)
        return made if made.active("basic.target") else None

    return until(up, BOOT, f"{host.name} to boot")  # type: ignore[return-value]


def _remove_cgroup(name: str) -> None:
    """Its cgroups stay when all that was in them is gone, until they are removed from the leaves up."""
    with tempfile.TemporaryDirectory() as folder:
        script = (
            'mount --make-rprivate / && mount -t cgroup2 cgroup2 "$1" && cd "$1" || exit; '
            '[ ! -e "$2" ] || { for i in 1 2 3 4 5 6 7 8 9; do '
            'find "$2" -depth -type d -exec rmdir {} + 2>/dev/null && break; sleep 0.05; done; }; [ ! -e "$2" ]'
        )
        subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", folder, name], check=True)
