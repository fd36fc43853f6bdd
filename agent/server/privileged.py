"""Does what needs root while the server runs: in this process, or in a small helper process that keeps root.

The helper reads nothing from the network. It does what is on a short list, for ports of the plan alone: it takes its
requests for hostile, while its answers come from root and are trusted, as pickles have to be.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import queue
import signal
import socket
import struct
import threading
from functools import partial
from typing import Any, Callable, Collection, NamedTuple, Sequence

from ..core.address import Address, Family
from ..core.plan import Plan, Transport
from ..firewall.managers import ManagerReadings, read_managers
from ..firewall.model import Ruleset
from ..firewall.read import read_ruleset, read_xdp
from ..preflight.collect import read_machine
from ..preflight.model import Machine
from ..system import commands
from ..system.port_owners import port_owners
from .listen import open_port

# What the loop waits for: sockets are listed in a second where there are ten thousand, on a busy machine in some.
QUICK_SECONDS = 10.0
# Ten tools at work for as long as they may be (tools.MAX_TOOL_SECONDS): a helper that hangs is given up.
READ_SECONDS = 300.0
# It ends within a millisecond, unless it hangs in the kernel, by a file system that is gone say.
END_SECONDS = 1.0
MAX_REQUEST = 512 * 1024  # every port there is, by its number
# Rules take three times the room that their listing has, of which tools.MAX_OUTPUT is read.
MAX_ANSWER = 256 * 1024 * 1024

_HEAD, _DESCRIPTOR = struct.Struct("=I"), struct.Struct("=i")
_SIGNALS = (signal.SIGINT, signal.SIGTERM) + ((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ())


class HelperGone(Exception):
    """Raised where the process that kept root has ended."""

    def __init__(self) -> None:
        super().__init__("the part of this program that keeps root has ended")


class Reading(NamedTuple):
    """What this machine's tools say: its rules, what of them could not be read, and what manages them."""

    rules: Ruleset
    unread: tuple[str, ...]
    managers: ManagerReadings
    xdp: tuple[str, ...]


class PrivilegedOperations:
    """What needs root, done in this process. `certificates` are the files, or directories, that it may read."""

    def __init__(self, plan: Plan, control: int | None, bind: Address | None, certificates: Sequence[str] = ()) -> None:
        self._bind, self._certificates = bind, certificates
        self.planned = {transport: {*plan.ports(transport)} for transport in Transport}
        self.planned[Transport.TCP] |= {control} if control else set()

    def read(self) -> Reading:
        """Read this machine's firewall, which takes seconds; threads may call it, as many as start_helper was told."""
        return Reading(*read_ruleset(), read_managers(), read_xdp())

    def machine(self) -> Machine:
        """Read what this machine says of itself; threads may call it too."""
        return read_machine(self._certificates)

    def owners(self, transport: Transport, ports: Collection[int]) -> dict[int, str]:
        """Return who holds these ports, as far as that is known."""
        return port_owners(transport, ports)

    def open(self, transport: Transport, port: int, families: tuple[Family, ...]) -> socket.socket:
        """A socket that listens on a port; OSError where it cannot be had."""
        return open_port(transport, port, families, self._bind)

    def close(self) -> None:
        """Take in that nothing more will be asked."""


class PrivilegedHelper(PrivilegedOperations):
    """The same, done by the process at the other end of these lines: the first is the loop's, the others threads'."""

    def __init__(self, pid: int, lines: list[socket.socket]) -> None:
        self.pid, self._lines = pid, lines
        self._free: queue.Queue[socket.socket] = queue.Queue()
        for line in lines[1:]:
            self._free.put(line)

    def read(self) -> Reading:
        """Read this machine's firewall; HelperGone."""
        reading: Reading = self._ask_in_turn("read")
        return reading

    def machine(self) -> Machine:
        """Read what this machine says of itself; HelperGone."""
        machine: Machine = self._ask_in_turn("machine")
        return machine

    def _ask_in_turn(self, request: str) -> Any:
        line = self._free.get()
        try:
            return _ask(line, request, READ_SECONDS)
        finally:
            self._free.put(line)

    def owners(self, transport: Transport, ports: Collection[int]) -> dict[int, str]:
        """Return who holds these ports; none where the helper is gone."""
        if not ports:
            return {}
        words = " ".join(map(str, ports))
        try:
            owners: dict[int, str] = _ask(self._lines[0], f"owners {transport.value} {words}", QUICK_SECONDS)
            return owners
        except HelperGone:
            return {}

    def open(self, transport: Transport, port: int, families: tuple[Family, ...]) -> socket.socket:
        """Open a port; where the helper is gone, it is as busy as it was."""
        words = " ".join(family.value for family in families)
        try:
            opened: socket.socket = _ask(self._lines[0], f"open {transport.value} {port} {words}", QUICK_SECONDS)
            return opened
        except HelperGone:
            raise OSError(errno.EADDRINUSE, "in use when it was last tried") from None

    def close(self) -> None:
        """End the helper, which does so at once; it is not waited for if it does not."""
        how = os.WNOHANG
        with contextlib.suppress(OSError):
            self._lines[0].shutdown(socket.SHUT_WR)
            self._lines[0].settimeout(END_SECONDS)
            how = 0 if self._lines[0].recv(1) == b"" else how
        for line in self._lines:
            line.close()
        with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored the kernel waits for it
            os.waitpid(self.pid, how)


class _Answer:
    """A file for pickle, which takes 64 KiB of it at a time: in between, other threads have their turn."""

    def __init__(self, line: socket.socket, length: int) -> None:
        self._line, self._left = line, length

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < min(size, self._left):
            piece = self._line.recv(min(size, self._left) - len(data))
            if not piece:
                raise EOFError
            data += piece
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        raise EOFError  # pickle asks whether it is there; its newer protocols have no lines


def _ask(line: socket.socket, request: str, seconds: float) -> Any:
    """Return the answer to a request, or raise it where it is an exception; HelperGone where none comes in time."""
    try:
        line.settimeout(seconds)
        line.sendall(request.encode("ascii") + b"\n")
        room = socket.CMSG_SPACE(_DESCRIPTOR.size)
        head, ancillary, _, _ = line.recvmsg(_HEAD.size, room, socket.MSG_CMSG_CLOEXEC)
        (length,) = _HEAD.unpack(head)
        if length > MAX_ANSWER:
            raise EOFError
        answer = pickle.load(_Answer(line, length))
    except (OSError, EOFError, struct.error, pickle.UnpicklingError):
        line.close()  # what comes late would be taken for the answer to the next
        raise HelperGone from None
    if isinstance(answer, Exception):
        raise answer
    for _, _, data in ancillary:
        answer = socket.socket(fileno=_DESCRIPTOR.unpack(data)[0])
        answer.setblocking(False)
    return answer


def start_helper(operations: PrivilegedOperations, readers: int) -> PrivilegedHelper:
    """Start a process that keeps root and does these operations, while this one may give root up; OSError.

    At most `readers` threads may read at a time. Call it while there is one thread, and nothing that the helper must
    not have: of sockets it has only its lines. It ends when this process has ended.
    """
    pairs = [socket.socketpair() for _ in range(1 + readers)]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    pid = os.fork()
    if pid == 0:
        try:
            for number in _SIGNALS:  # ctrl-C is for all processes of a terminal; this one ends with the other
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for ours, _ in pairs:
                ours.close()
            _help(operations, [theirs for _, theirs in pairs])
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for _, theirs in pairs:
        theirs.close()
    return PrivilegedHelper(pid, [ours for ours, _ in pairs])


def _help(operations: PrivilegedOperations, lines: list[socket.socket]) -> None:
    """Serve until the other end of the first line is gone."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):  # what waits for the end of the server's output must not wait for this process
        os.dup2(nothing, descriptor)
    for line in lines[1:]:
        threading.Thread(target=_serve, args=(operations, line), daemon=True).start()
    _serve(operations, lines[0])


def _serve(operations: PrivilegedOperations, line: socket.socket) -> None:
    """Answer one line's requests. Its end is that of the process, and so is a request that is not on the list."""
    try:
        with line.makefile("rb") as requests:
            for request in iter(partial(requests.readline, MAX_REQUEST), b""):
                _answer(line, _done(job_of(operations, request.decode("ascii"))))
    finally:
        commands.kill_running_tools()
        os._exit(0)


def job_of(operations: PrivilegedOperations, request: str) -> Callable[[], object]:
    """Return what a request asks for; ValueError or KeyError where it is not on the list."""
    if request == "read\n":
        return operations.read
    if request == "machine\n":
        return operations.machine
    verb, transport, *words = request[:-1].split(" ")
    planned = {str(port): port for port in operations.planned[Transport(transport)]}
    if not request.endswith("\n"):
        raise ValueError(request)
    if verb == "owners":
        return partial(operations.owners, Transport(transport), [planned[word] for word in words])
    if verb == "open":
        port, *families = words
        return partial(operations.open, Transport(transport), planned[port], tuple(map(Family, families)))
    raise ValueError(request)


def _done(job: Callable[[], object]) -> object:
    try:
        return job()
    except OSError as error:
        return OSError(error.errno, error.strerror)
    except Exception as error:  # noqa: BLE001 - the other side has words for it
        return RuntimeError(f"{type(error).__name__}: {error}")


def _answer(line: socket.socket, answer: object) -> None:
    ancillary = []
    if isinstance(answer, socket.socket):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(answer.fileno()))]
    data = pickle.dumps(None if ancillary else answer, 4)  # Python 3.8 knows no newer protocol that matters
    line.sendmsg([_HEAD.pack(len(data))], ancillary)
    line.sendall(data)
    if isinstance(answer, socket.socket):
        answer.close()
