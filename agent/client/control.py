"""Open the control channel, and move its bytes between the socket and the ControlClient."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Sequence

from ..core.counters import KernelStatus
from ..core.errors import UserError
from ..core.observation import Reply
from ..net import tls
from ..net.connect import Attempt, Target, race
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


class NotPnmcheck(UserError):
    """Something other than the pnmcheck server answers at an address; `cdn` says that it shows itself to be a CDN."""

    cdn = False


class ControlChannel:
    """The socket of an open control channel. `client` holds all that was said on it."""

    def __init__(self, opened: socket.socket, client: ControlClient, welcome: messages.Welcome) -> None:
        self._socket, self.client, self.welcome = opened, client, welcome

    @property
    def lost(self) -> bool:
        """Return whether the server does not answer any more."""
        return self.client.lost

    @lost.setter
    def lost(self, lost: bool) -> None:
        self.client.lost = lost

    @property
    def to_confirm(self) -> tuple[str, ...]:
        """Where the server saw our UDP probes come from, to be confirmed by the next ping."""
        return self.client.to_confirm

    def ask(self, message: messages.Message, expected: type[Answer]) -> Answer:
        """Ask one question and return its answer; ControlLost where none of this type comes in time."""
        with contextlib.suppress(OSError):
            if not self.lost:
                ends = time.perf_counter() + OVERDUE
                while self.client.pings_unanswered and not self.lost:  # the server takes one question at a time
                    self._read(ends)
                self._send(self.client.ask(message, time.perf_counter()), OVERDUE)
                while not self.client.has_answer and not self.lost:
                    self._read(ends)
                if self.client.has_answer:
                    return self.client.take_answer(expected)
        self.lost = True
        raise ControlLost

    def fileno(self) -> int:
        """Return what select waits for: it becomes readable when the server goes, too."""
        return self._socket.fileno()

    def ping(self, nonces: Sequence[str] = ()) -> None:
        """Ask something small, and confirm `to_confirm` and `nonces`; `read_kernel` returns its answer later."""
        try:
            self._send(self.client.ping(tuple(nonces)), OVERDUE)
        except OSError:
            self.lost = True

    def read_kernel(self) -> KernelStatus | None:
        """Read what came, when it is readable: the answer to a ping, if that is there; else the server may be gone."""
        try:
            self._socket.setblocking(False)
            for _ in range(READS):
                data = self._socket.recv(CHUNK)
                if data:
                    self.client.receive(data, time.perf_counter())
                if not data or self.lost:
                    self.lost = True
                    break
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except OSError:
            self.lost = True
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
        try:
            if finished and not self.lost:
                self._send(self.client.bye(), FAREWELL_SECONDS)
        except OSError:
            pass
        finally:
            self._socket.close()

    def end_session(self) -> None:
        """End the session before it is over: once this returns the server has room for another one."""
        with contextlib.suppress(ControlLost):
            self.ask(messages.Bye(), messages.Bye)
        self._socket.close()

    def _send(self, data: bytes, seconds: float) -> None:
        self._socket.settimeout(seconds)
        self._socket.sendall(data)

    def _read(self, ends: float) -> None:
        _read(self._socket, self.client, ends)


def _read(opened: socket.socket, client: ControlClient, ends: float) -> bytes:
    """Read once, and return what has to be sent for it; OSError (a timeout is one), and what the client raises."""
    opened.settimeout(max(0.001, ends - time.perf_counter()))
    data = opened.recv(CHUNK)
    if not data:
        client.end_of_stream()
    return client.receive(data, time.perf_counter())


def greet(opened: socket.socket, port: int, greeting: Greeting) -> ControlChannel:
    """Begin a session on an open connection, and close it where that fails; OSError, ForeignAnswer, UserError."""
    try:
        certificate = opened.getpeercert(binary_form=True) if isinstance(opened, ssl.SSLSocket) else None
        peer = Peer(port, isinstance(opened, ssl.SSLSocket), certificate or b"", opened.getsockname()[0])
        client = ControlClient(peer, greeting, os.urandom(pairing.NONCE_BYTES))
        line = client.hello(time.perf_counter())
        while client.welcome is None:
            if line:
                ends = time.perf_counter() + HELLO_SECONDS
                opened.settimeout(HELLO_SECONDS)
                opened.sendall(line)
            line = _read(opened, client, ends)
        return ControlChannel(opened, client, client.welcome)
    except BaseException:
        opened.close()
        raise


@dataclass(frozen=True)
class _Failure:
    """Why there is no control channel on one port."""

    port: int
    words: str
    reply: Reply
    local: bool = False
    cdn: bool = False


def open_channel(target: Target, host: str, ports: Sequence[int], greeting: Greeting) -> ControlChannel:
    """Find the server's control channel; UserError where it is on none of these ports, or refuses this client."""
    failures = []
    for attempt in race(target, ports, CONNECT_GAP, CONNECT_SECONDS, hurry=True):
        if not attempt.socket:
            failures.append(_failure(attempt))
            continue
        try:
            return _greet(attempt.socket, target, host, attempt.port, greeting)
        except ForeignAnswer as foreign:
            words = f"something else answers ({foreign})"
            failures.append(_Failure(attempt.port, words, Reply.FOREIGN, cdn=foreign.cdn))
        except OSError:
            failures.append(_Failure(attempt.port, "connects, then silence", Reply.MUTE))
    raise _no_channel(target, failures)


def _greet(opened: socket.socket, target: Target, host: str, port: int, greeting: Greeting) -> ControlChannel:
    """Begin a session, with TLS where the other side speaks it, else without."""
    opened.settimeout(HELLO_SECONDS)
    try:
        opened = tls.client_context().wrap_socket(opened, server_hostname=tls.server_name(host))
    except socket.timeout:
        opened.close()
        raise
    except OSError:  # ssl.SSLError is one: no TLS there
        opened.close()
        opened = socket.socket(target.family, socket.SOCK_STREAM)
        opened.settimeout(HELLO_SECONDS)
        opened.connect(target.at(port))
    return greet(opened, port, greeting)


def _failure(attempt: Attempt) -> _Failure:
    if attempt.local:
        return _Failure(attempt.port, attempt.local, attempt.reply, local=True)
    words = {Reply.REFUSED: "refused", Reply.NOTHING: "no answer"}
    unreachable = f"unreachable, says {attempt.by or 'the network'}"
    return _Failure(attempt.port, words.get(attempt.reply, unreachable), attempt.reply)


def _no_channel(target: Target, failures: Sequence[_Failure]) -> UserError:
    """Return the error that says what came of each port, and what to do."""
    why = "; ".join(
        f"{failure.port}/tcp {failure.words}" for failure in sorted(failures, key=lambda failure: failure.port)
    )
    what = f"No pnmcheck server found at {target.text}"
    if failures and all(failure.local for failure in failures):
        return UserError("unreachable", f"Cannot reach {target.text} from this computer", why,
                         "check this computer's own network, or choose the family with -4 or -6")  # fmt: skip
    if any(failure.reply is Reply.FOREIGN for failure in failures):
        error = NotPnmcheck("not-pnmcheck", what, why,
                            "start the server there with `--stop-services`, or with `--live --control PORT` and give "
                            "that port here too; or check that this is the right address")  # fmt: skip
        error.cdn = any(failure.cdn for failure in failures)
        return error
    return UserError("no-server", what, why,
                     "run `sudo python3 pnmcheck.pyz server` there first; if it runs, its TCP ports are blocked: "
                     "open one, or start it with `--control PORT` on one that is open; if a check has just worked, "
                     "the path may limit connections: wait a minute, then check again")  # fmt: skip
