"""Give up root for good, and verify that it is gone (credentials(7), capabilities(7), prctl(2))."""

from __future__ import annotations

import os
import sys
from typing import Callable

from .files import read_text

# The number is what Linux itself calls nobody (Documentation/admin-guide/sysctl/fs.rst).
_NAME, _NUMBER = "nobody", 65534
_STATUS = "/proc/self/status"
MAX_STATUS = 64 * 1024  # a page or two; a process may have thousands of groups

# linux/prctl.h
_SET_DUMPABLE, _SET_NO_NEW_PRIVS = 4, 38

if sys.platform == "win32":

    def has_root() -> bool:
        """Return whether this runs as administrator."""
        import ctypes

        return bool(ctypes.windll.shell32.IsUserAnAdmin())

    def drop_privileges() -> str:
        """Return why this is not possible here."""
        return why_root_is_kept()
else:
    import pwd
    import resource

    def has_root() -> bool:
        """Return whether this runs as root."""
        return os.geteuid() == 0

    def drop_privileges() -> str:
        """Become the user nobody; return whose rights are kept and why, or an empty text where none are.

        Call it as root while there is one thread: the kernel keeps some of the rights for each thread.
        """
        uid, gid = _nobody()
        prctl = _prctl()
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        except OSError as error:
            return f"root: the system does not allow this to become {_NAME} ({error.strerror})"
        # This comes after the change of uid, which resets it; it also keeps nobody's other processes away.
        no_new = prctl(_SET_NO_NEW_PRIVS, 1)
        prctl(_SET_DUMPABLE, 0)
        rest = remaining_privileges(read_text(_STATUS, MAX_STATUS), uid, gid, no_new)
        return f"root: {rest}" if rest else ""

    def _nobody() -> tuple[int, int]:
        try:
            entry = pwd.getpwnam(_NAME)
        except KeyError:
            return _NUMBER, _NUMBER
        return entry.pw_uid, entry.pw_gid

    def _prctl() -> Callable[[int, int], bool]:
        """Return prctl(2), which returns whether it succeeded; without ctypes or a C library it never does."""
        try:
            import ctypes

            function = ctypes.CDLL(None).prctl
        except (ImportError, OSError, AttributeError):
            return lambda option, value: False
        rest = [ctypes.c_ulong(0)] * 3
        return lambda option, value: function(option, ctypes.c_ulong(value), *rest) == 0


def why_root_is_kept() -> str:
    """Return whose rights are kept and why, where this system cannot give up root; else an empty text."""
    return "" if sys.platform == "linux" else "root or an administrator: only on Linux can they be given up"


def remaining_privileges(status: str, uid: int, gid: int, no_new: bool) -> str:
    """Return the rights in /proc/PID/status that a process must not have as nobody (proc_pid_status(5)); empty: none.

    `no_new`: it must not get rights by starting a program either.
    """
    lines = (line.partition(":") for line in status.splitlines())
    have = {name: rest.split() for name, _, rest in lines}
    want = {"Uid": [str(uid)] * 4, "Gid": [str(gid)] * 4, "Groups": [], "CapPrm": ["0" * 16], "CapEff": ["0" * 16]}
    if no_new:
        want["NoNewPrivs"] = ["1"]
    if uid == 0:
        return f"uid 0, which {_NAME} has here"
    return ", ".join(f"{name} {' '.join(have.get(name, ['unknown']))}" for name in want if have.get(name) != want[name])
