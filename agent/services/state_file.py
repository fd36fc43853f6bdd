"""Keep the list of stopped services on disk, where only root may write, and lock it for one guardian (flock(2))."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import Callable, Iterator

from ..core.errors import DecodeError, UserError
from ..system.files import read_text
from .model import StopList, read_stop_list, to_json

FOLDER = "/var/lib/pnmcheck"
LIST, LOCK, ARCHIVE = "stopped.json", "lock", "pnmcheck.pyz"  # the last is the guardian's copy of this program
MAX_LIST = 1024 * 1024  # 64 services of 100 ports each; that of a real server has 2 KiB

RESTORE = "`sudo python3 pnmcheck.pyz server --restore` starts them again"


def path_of(name: str) -> str:
    """Return where a file of the folder is."""
    return os.path.join(FOLDER, name)


def exists() -> bool:
    """Return whether there is a list: services are stopped, or were never started again."""
    return os.path.lexists(path_of(LIST))


def find_error() -> UserError | None:
    """Return what to tell the user where a guardian is at work, or services were never started again."""
    try:
        check_unlocked()
    except UserError as error:
        return error
    if not exists():
        return None
    what = "Services that an earlier check stopped were never started again"
    return UserError("not-restored", what, f"perhaps the power failed; {path_of(LIST)} names them", RESTORE)


def check_unlocked() -> None:
    """Raise UserError where a guardian is at work."""
    if not os.path.lexists(path_of(LOCK)):  # as always on Windows
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path_of(LOCK), os.O_RDWR | os.O_NOFOLLOW)
        try:
            _lock(descriptor)
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    import fcntl  # Windows has none

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = read_text(path_of(LOCK), 20).strip() or "unknown"
        what, why = "Another check has stopped services", f"the process {pid} starts them again when it ends"
        raise UserError("already-stopped", what, why, "wait for that check, or end it") from None


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Be the only process that stops and starts services; UserError where another one is.

    At the end everything but the list is removed.
    """
    make_folder()
    descriptor = -1
    while descriptor < 0:
        descriptor = os.open(path_of(LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            _lock(descriptor)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path_of(LOCK)), os.fstat(descriptor)):
                    break
        except UserError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the process that had the lock until now has removed the file
        descriptor = -1
    try:
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        remove_all_but_list()
        os.close(descriptor)


def remove_all_but_list() -> None:
    """Remove the lock and the copy of this program; the folder too, where no list is in it."""
    for path in (path_of(ARCHIVE), path_of(LOCK)):
        with contextlib.suppress(OSError):
            os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(FOLDER)


def make_folder() -> None:
    """Make the folder, which must be root's own; UserError where it is not."""
    with _write_errors(), contextlib.suppress(FileExistsError):
        os.makedirs(os.path.dirname(FOLDER), exist_ok=True)
        os.mkdir(FOLDER, 0o700)
    _check_owner(FOLDER, os.lstat(FOLDER), stat.S_ISDIR)


@contextlib.contextmanager
def _write_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "make it writable: it keeps the list by which services are started again; or stop services by hand"
        raise UserError("no-list", f"{FOLDER} cannot be written", f"the system says: {error.strerror}", hint) from None


def _check_owner(path: str, status: os.stat_result, is_kind: Callable[[int], bool]) -> None:
    if not is_kind(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
        raise _list_error(path, "it is of another kind, or others than root may write it")


def _list_error(path: str, why: str) -> UserError:
    hint = f"start stopped services by hand, and remove {path}"
    return UserError("bad-list", f"{path} is not what this program writes there", why, hint)


def keep_archive(path: str) -> None:
    """Copy this program to where the guardian runs from: that copy does not change while it runs."""
    make_folder()
    with _write_errors(), open(path, "rb") as source:
        _write(path_of(ARCHIVE), source.read())


def write_list(stop_list: StopList) -> None:
    """Write the list, which is whole on disk even if the power fails; UserError where it cannot be written."""
    with _write_errors():
        _write(path_of(LIST), json.dumps(to_json(stop_list)).encode("ascii"))


def _write(path: str, data: bytes) -> None:
    new = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
    _sync_folder()


def remove_list() -> None:
    """Remove the list, since all services run again."""
    os.unlink(path_of(LIST))
    _sync_folder()


def _sync_folder() -> None:
    descriptor = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def read_list() -> StopList:
    """Return the list on disk; UserError where it is malformed, or others than root may write it."""
    path = path_of(LIST)
    try:
        _check_owner(FOLDER, os.lstat(FOLDER), stat.S_ISDIR)
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            _check_owner(path, os.fstat(file.fileno()), stat.S_ISREG)
            data = file.read(MAX_LIST + 1)
        if len(data) > MAX_LIST:
            raise DecodeError(f"it is longer than {MAX_LIST // 1024:,} KiB")
        return read_stop_list(data)
    except OSError as error:  # a symbolic link is one
        raise _list_error(path, f"the system says: {error.strerror}") from None
    except DecodeError as error:
        raise _list_error(path, str(error)) from None
