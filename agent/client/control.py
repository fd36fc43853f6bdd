"""Open the control channel, and move its bytes between the socket and the ControlClient."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from typing import Sequence

from ..core.counters import KernelStatus
from ..core.errors import UserError
from ..core.observation import Reply
from ..net import tls
from ..net.connect import Target, race
from ..protocol import messages, pairing
from ..sweep.pings import OVERDUE
from .control_client import Answer, ControlClient, ControlLost, ForeignAnswer, Greeting, Peer

# Between the starts of two connects: three lost packets of a clean path, a late answer of a bad one.
CONNECT_GAP = 1.0
# In all: by then the kernel has sent three SYNs for each port.
CONNECT_SECONDS = 6.0
# For TLS and a hello each: several round trips of a bad path; then the next port gets its chance.
HELLO_SECONDS = 4.0
# For the goodbye, which nobody waits for.
FAREWELL_SECONDS = 1.0
CHUNK = 65536
# At a time: what a server says unasked is not read for long.
READS = 4
_NO_CONNECTION = {Reply.REFUSED: "refused", Reply.NOTHING: "no answer"}


class NotPnmcheck(UserError):
    """Something other than the pnmcheck server answers at an address; `cdn` says that it shows itself to be a CDN."""

    cdn = False


class ControlChannel:
    """The socket of an open control channel. `client` holds all that was said on it."""

    def __init__(self, opened: socket.socket, client: ControlClient, welcome: messages.Welcome) -> None:
        self._socket, self.client, self.welcome = opened, client, welcome

    def ask(self, message: messages.Message, expected: type[Answer]) -> Answer:
        """Ask one question and return its answer; ControlLost where none of this type comes in time."""
        client = self.client
        with contextlib.suppress(OSError):
            if not client.lost:
                ends = time.perf_counter() + OVERDUE
                while None in client.unanswered and not client.lost:  # the server takes one question at a time
                    _read(self._socket, client, ends)
                self._send(client.ask(message, time.perf_counter()), OVERDUE)
                while (answer := client.take_answer(expected)) is None and not client.lost:
                    _read(self._socket, client, ends)
                if answer is not None:
                    return answer
        client.lost = True
        raise ControlLost

    def fileno(self) -> int:
        """Return what select waits for: it becomes readable when the server goes, too."""
        return self._socket.fileno()

    def ping(self, nonces: Sequence[str] = ()) -> None:
        """Ask something small, and confirm sources and `nonces`; `read_kernel` returns its answer later."""
        try:
            self._send(self.client.ping(tuple(nonces)), OVERDUE)
        except OSError:
            self.client.lost = True

    def read_kernel(self) -> KernelStatus | None:
        """Read what came, when it is readable: the answer to a ping, if that is there; else the server may be gone."""
        try:
            self._socket.setblocking(False)
            for _ in range(READS):
                self.client.receive(self._socket.recv(CHUNK), time.perf_counter())
                if self.client.lost:
                    break
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except OSError:
            self.client.lost = True
        finally:
            self._socket.setblocking(True)
        return self.client.take_kernel()

    def check_own_address(self) -> None:
        """Give the channel up as lost, and `moved`, where this computer does not have its address any more."""
        try:
            host, _, *more = self._socket.getsockname()
            with socket.socket(self._socket.family, socket.SOCK_DGRAM) as probe:
                probe.bind((host, 0, *more))
        except OSError:
            self.client.lost = self.client.moved = True

    def close(self, finished: bool) -> None:
        """Close it; after a finished check, with a goodbye."""
        with self._socket, contextlib.suppress(OSError):
            if finished and not self.client.lost:
                self._send(self.client.ask(messages.Bye(), time.perf_counter()), FAREWELL_SECONDS)

    def end_session(self) -> None:
        """End the session before it is over: once this returns the server has room for another one."""
        with self._socket, contextlib.suppress(ControlLost):
            self.ask(messages.Bye(), messages.Bye)

    def _send(self, data: bytes, seconds: float) -> None:
        self._socket.settimeout(seconds)
        self._socket.sendall(data)


def _read(opened: socket.socket, client: ControlClient, ends: float) -> bytes:
    """Read once, and return what has to be sent for it; OSError (a timeout is one), and what the client raises."""
    opened.settimeout(max(0.001, ends - time.perf_counter()))
    return client.receive(opened.recv(CHUNK), time.perf_counter())


def greet(opened: socket.socket, port: int, greeting: Greeting) -> ControlChannel:
    """Begin a session on an open connection; OSError, ForeignAnswer, UserError."""
    certificate = opened.getpeercert(binary_form=True) if isinstance(opened, ssl.SSLSocket) else None
    peer = Peer(port, certificate or b"", opened.getsockname()[0])
    client = ControlClient(peer, greeting, os.urandom(pairing.NONCE_BYTES))
    line = client.ask(client.hello, time.perf_counter())
    while client.welcome is None:
        if line:
            ends = time.perf_counter() + HELLO_SECONDS
            opened.settimeout(HELLO_SECONDS)
            opened.sendall(line)
        line = _read(opened, client, ends)
    return ControlChannel(opened, client, client.welcome)


def open_channel(target: Target, host: str, ports: Sequence[int], greeting: Greeting) -> ControlChannel:
    """Find the server's control channel; UserError where it is on none of these ports, or refuses this client."""
    failures: dict[int, str] = {}
    foreign: list[ForeignAnswer] = []
    local = True  # no attempt left this computer
    for attempt in race(target, ports, CONNECT_GAP, CONNECT_SECONDS, hurry=True):
        local = local and attempt.local is not None
        if not attempt.socket:
            unreachable = f"unreachable, says {attempt.by or 'the network'}"
            failures[attempt.port] = attempt.local or _NO_CONNECTION.get(attempt.reply, unreachable)
            continue
        try:
            return _greet(attempt.socket, target, host, attempt.port, greeting)
        except ForeignAnswer as answer:
            foreign.append(answer)
            failures[attempt.port] = f"something else answers ({answer})"
        except OSError:
            failures[attempt.port] = "connects, then silence"
    what = f"No pnmcheck server found at {target.text}"
    why = "; ".join(f"{port}/tcp {words}" for port, words in sorted(failures.items()))
    if failures and local:
        raise UserError("unreachable", f"Cannot reach {target.text} from this computer", why,
                        "check this computer's own network, or choose the family with -4 or -6")  # fmt: skip
    if foreign:
        error = NotPnmcheck("not-pnmcheck", what, why,
                            "start the server there with `--stop-services`, or with `--live --control PORT` and give "
                            "that port here too; or check that this is the right address")  # fmt: skip
        error.cdn = any(answer.cdn for answer in foreign)
        raise error
    raise UserError("no-server", what, why,
                    "run `sudo python3 pnmcheck.pyz server` there first; if it runs, its TCP ports are blocked: "
                    "open one, or start it with `--control PORT` on one that is open; if a check has just worked, "
                    "the path may limit connections: wait a minute, then check again")  # fmt: skip


def _greet(opened: socket.socket, target: Target, host: str, port: int, greeting: Greeting) -> ControlChannel:
    """Begin a session, with TLS where the other side speaks it, else without; leave nothing open where that fails."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(opened).settimeout(HELLO_SECONDS)
        try:
            secure = tls.client_context().wrap_socket(opened, server_hostname=tls.server_name(host))
            opened = stack.enter_context(secure)
        except socket.timeout:
            raise
        except OSError:  # ssl.SSLError is one: no TLS there
            opened.close()
            opened = stack.enter_context(socket.socket(target.family, socket.SOCK_STREAM))
            opened.settimeout(HELLO_SECONDS)
            opened.connect(target.at(port))
        channel = greet(opened, port, greeting)
        stack.pop_all()
        return channel
