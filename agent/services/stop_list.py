"""The list of what was stopped, on disk, where root alone may write it, and by a lock whose it is (flock(2))."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import Callable, Iterator

from ..core.errors import DecodeError, UserError
from ..system.files import read_text
from ..system.port_owners import list_directory
from ..system.procfs import read_stat
from .model import StopList, read_stop_list, to_json

FOLDER = "/var/lib/pnmcheck"
MAX_LIST = 1024 * 1024  # 64 services of 100 ports each; that of a real server has 2 KiB

RESTORE = "`sudo python3 pnmcheck.pyz server --restore` starts what it names"


def list_path() -> str:
    """Where the list is."""
    return os.path.join(FOLDER, "stopped.json")


def archive_path() -> str:
    """Where the guardian's own copy of this program is."""
    return os.path.join(FOLDER, "pnmcheck.pyz")


def _lock_path() -> str:
    return os.path.join(FOLDER, "lock")


def is_left() -> bool:
    """Whether there is a list."""
    return os.path.lexists(list_path())


def trouble() -> UserError | None:
    """What to say where a guardian runs, or services were never started again."""
    try:
        refuse_second()
    except UserError as error:
        return error
    if not is_left():
        return None
    return UserError("not-restored", "Services that were stopped for a check before were never started again",
                     f"they are in {list_path()}; the power failed, say", RESTORE)  # fmt: skip


def refuse_second() -> None:
    """UserError where a guardian runs."""
    if not os.path.lexists(_lock_path()):  # as always on Windows
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(_lock_path(), os.O_RDWR | os.O_NOFOLLOW)
        try:
            _lock(descriptor)
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    import fcntl  # Windows has none

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = read_text(_lock_path(), 20).strip() or "unknown"
        raise UserError("already-stopped", "Services are stopped for another check just now",
                        f"the process {pid} starts them again when it is over", "wait for that, or end that check",
                        ) from None  # fmt: skip


@contextlib.contextmanager
def guarding() -> Iterator[None]:
    """Be the one that stops and starts; UserError where another one is. The list alone may be left behind."""
    make_folder()
    descriptor = -1
    while descriptor < 0:
        descriptor = os.open(_lock_path(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            _lock(descriptor)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(_lock_path()), os.fstat(descriptor)):
                    break
        except UserError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever had it until now has removed the file
        descriptor = -1
    try:
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        tidy()
        os.close(descriptor)


def tidy() -> None:
    """Remove all but the list."""
    for path in (archive_path(), _lock_path()):
        with contextlib.suppress(OSError):
            os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(FOLDER)


def make_folder() -> None:
    """Have a folder of root's own; UserError where it is somebody else's."""
    with _in_words(), contextlib.suppress(FileExistsError):
        os.makedirs(os.path.dirname(FOLDER), exist_ok=True)
        os.mkdir(FOLDER, 0o700)
    _refuse_strange(FOLDER, os.lstat(FOLDER), stat.S_ISDIR)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError("no-list", f"Nothing can be written to {FOLDER}", f"the system says: {error.strerror}",
                        "that is needed to start again what is stopped: make it possible, or stop services by hand",
                        ) from None  # fmt: skip


def _refuse_strange(path: str, status: os.stat_result, is_kind: Callable[[int], bool]) -> None:
    if not is_kind(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
        raise _refused(path, "it is not root's own, or of another kind")


def _refused(path: str, why: str) -> UserError:
    return UserError("bad-list", f"{path} is not what this program writes there", why,
                     f"start by hand what is stopped, and remove {path}")  # fmt: skip


def keep_archive(path: str) -> None:
    """Copy this program to where the guardian runs from, which must not change under it."""
    make_folder()
    with _in_words(), open(path, "rb") as source:
        _write(archive_path(), source.read())


def write_list(stopped: StopList) -> None:
    """Put the list on disk, whole, also where the power fails meanwhile; UserError where that cannot be."""
    with _in_words():
        _write(list_path(), json.dumps(to_json(stopped)).encode("ascii"))


def _write(path: str, data: bytes) -> None:
    new = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
    _sync()


def remove_list() -> None:
    """All runs again."""
    os.unlink(list_path())
    _sync()


def _sync() -> None:
    descriptor = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def read_list() -> StopList:
    """The list on disk; UserError where it is none, or not root's own."""
    path = list_path()
    try:
        _refuse_strange(FOLDER, os.lstat(FOLDER), stat.S_ISDIR)
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            _refuse_strange(path, os.fstat(file.fileno()), stat.S_ISREG)
            data = file.read(MAX_LIST + 1)
        if len(data) > MAX_LIST:
            raise DecodeError(f"it is longer than {MAX_LIST // 1024:,} KiB")
        return read_stop_list(data)
    except OSError as error:  # a symbolic link is one
        raise _refused(path, f"the system says: {error.strerror}") from None
    except DecodeError as error:
        raise _refused(path, str(error)) from None


def began(pid: int) -> str:
    """Return when a process started, in clock ticks since boot: with its pid it is unique. Empty where it is gone."""
    process = read_stat(str(pid))
    return str(process.started) if process else ""


def runs_still(stopped: StopList) -> bool:
    """Return whether the program that had the services stopped still has a thread, and with it perhaps the ports."""
    threads = [read_stat(f"{stopped.pid}/task/{thread}") for thread in list_directory(f"/proc/{stopped.pid}/task")]
    return began(stopped.pid) == stopped.began and any(thread and thread.state not in "ZX" for thread in threads)
