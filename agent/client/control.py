"""The client's end of the control channel."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import Sequence, TypeVar

from ..core.address import Family
from ..core.counters import KernelStatus
from ..core.errors import DecodeError, UserError
from ..core.observation import Interceptor, Reply
from ..core.plan import Transport
from ..net import tls
from ..net.connect import Attempt, Target, race
from ..packet import interceptor
from ..protocol import framing, messages, pairing
from ..sweep.pings import OVERDUE

# Between the starts of two connects: three lost packets of a clean path, a late answer of a bad one.
CONNECT_GAP = 1.0
# In all: by then the kernel has sent three SYNs for each port.
CONNECT_SECONDS = 6.0
# For TLS and a hello each: several round trips of a bad path; then the next port gets its chance.
HELLO_SECONDS = 4.0
# For the goodbye, which nobody waits for.
FAREWELL_SECONDS = 1.0
CHUNK = 65536
# At a time: what a server says unasked is not listened to for long.
READS = 4
# Answers kept that came unasked: one may come before its question is sent, where the server means to fool us.
MAX_UNASKED = 8


Answer = TypeVar("Answer", bound=messages.Message)


class ControlLost(Exception):
    """The server does not answer on the control channel any more."""


class NotOurs(UserError):
    """Somebody else answers at an address; `cdn` says that he shows himself to be a CDN."""

    cdn = False


class _Foreign(Exception):
    """Somebody else answers there; the argument says what he showed, `cdn` that a CDN does so."""

    cdn = False


@dataclass(frozen=True)
class Greeting:
    """How a client begins: its program's version, the family of the address that it checks, its pairing key if any."""

    program: str
    family: Family
    key: str | None = None


class Channel:
    """An open control channel, and the session that the server's welcome began; with a pairing key, or without."""

    def __init__(self, opened: socket.socket, port: int, greeting: Greeting) -> None:
        self._socket, self.port = opened, port
        self.tls = isinstance(opened, ssl.SSLSocket)
        self.local = opened.getsockname()[0]
        self._lines = framing.Lines()
        self._received = b""  # the beginning, to show whose it is
        self.rtts: list[float] = []
        self.lost = self.moved = False
        self.refused: messages.Refusal | None = None  # why the server did not go on
        self._pongs_due = 0
        self._pong: KernelStatus | None = None
        self.named: tuple[str, ...] = ()  # where the server saw our UDP probes come from, to be confirmed
        self.confirmed: set[str] = set()
        self._answers: deque[bytes] = deque()
        self._seals: pairing.RecordAuthenticator | None = None
        key, secret = greeting.key, None
        nonce = os.urandom(pairing.NONCE_BYTES).hex() if key else None
        hello = messages.Hello(messages.PROTOCOL, greeting.program, greeting.family, nonce)
        answer = self._exchange(hello, HELLO_SECONDS)
        if key and isinstance(answer, messages.Challenge):
            keys = messages.session_keys(key, hello, answer)
            answer, secret = self._prove(keys), keys.secret
        if isinstance(answer, messages.Refusal):
            raise UserError(answer.code, "The server turned this check away", answer.message, answer.hint)
        if key and not self.paired:
            raise UserError("wrong-key", "Whoever answers does not know the pairing key", self._names(),
                            "look whether address and key are those that the server shows")  # fmt: skip
        secret = secret or (answer.secret if isinstance(answer, messages.Welcome) else None)
        if not isinstance(answer, messages.Welcome) or secret is None:
            raise _Foreign("an answer that is no welcome")
        self.welcome, self.secret = answer, secret

    @property
    def paired(self) -> bool:
        """Whether the other side has proven that it knows the pairing key."""
        return self._seals is not None and self._seals.peer_verified

    def _prove(self, keys: pairing.Keys) -> messages.Message:
        """Seal the channel; the server's welcome, or its refusal. UserError where somebody opens the connection."""
        seen = pairing.fingerprint(self._certificate())
        self._seals = pairing.RecordAuthenticator(keys.client, keys.server)
        answer = self._exchange(messages.Proof(seen), HELLO_SECONDS)
        refused = isinstance(answer, messages.Refusal) and answer.code == messages.INTERCEPTED
        another = isinstance(answer, messages.Welcome) and answer.certificate != seen
        if self.paired and (refused or another):
            why = f"he shows a certificate of his own: {self._names()}" if seen else "he took its TLS off"
            what = "Somebody between this computer and the server opens the connection"
            raise UserError(
                messages.INTERCEPTED, what, why, "trust nothing that passes there; check by another network"
            )
        return answer

    def ask(self, message: messages.Message, wanted: type[Answer]) -> Answer:
        """One question and its answer, of the type that it has; ControlLost where it does not come."""
        answer = None
        if not self.lost:
            with contextlib.suppress(OSError, _Foreign):
                answer = self._exchange(message, OVERDUE)
        if isinstance(answer, messages.Refusal):
            self.refused = answer
        if not isinstance(answer, wanted):
            self.lost = True
            raise ControlLost
        return answer

    def rows(self, about: messages.PortTable, transport: Transport) -> dict[int, int | str]:
        """Everything that the server knows about one matter, port by port; ControlLost."""
        found: dict[int, int | str] = {}
        start: int | None = 1
        while start is not None:
            page = self.ask(messages.AskRows(about, transport, start), messages.Rows)
            for ports, value in page.rows:
                found.update(dict.fromkeys(ports, value))
            if page.next is not None and page.next <= start:
                self.lost = True
                raise ControlLost
            start = page.next
        return found

    def kernel(self) -> KernelStatus:
        """What the server's own kernel has room for, and dropped since the session began; ControlLost."""
        return self.ask(messages.AskKernel(), messages.KernelReply).kernel

    def fileno(self) -> int:
        """For select: it becomes readable when the server goes."""
        return self._socket.fileno()

    def ping(self, nonces: Sequence[str] = ()) -> None:
        """Ask something small, and confirm what was named and `nonces`; `look` tells when its answer is there."""
        try:
            self._socket.settimeout(OVERDUE)
            self._say(messages.AskKernel(self.named, tuple(nonces)))
            self._pongs_due += 1
            self.confirmed.update(self.named)
            self.named = ()
        except OSError:
            self.lost = True

    def look(self) -> KernelStatus | None:
        """Call when it is readable: a ping's answer, if that came; else the server has gone, or TLS has news."""
        try:
            self._socket.setblocking(False)
            for _ in range(READS):
                data = self._socket.recv(CHUNK)
                if not data:
                    self.lost = True
                    break
                self._take(data)
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except (OSError, DecodeError):
            self.lost = True
        finally:
            self._socket.setblocking(True)
        pong, self._pong = self._pong, None
        return pong

    def look_for_address(self) -> None:
        """It is lost, and `moved` tells why, where this computer does not have its address any more."""
        try:
            host, _, *more = self._socket.getsockname()
            with socket.socket(self._socket.family, socket.SOCK_DGRAM) as probe:
                probe.bind((host, 0, *more))
        except OSError:
            self.lost = self.moved = True

    def close(self, finished: bool) -> None:
        """Give it up; after a finished check, with a goodbye."""
        try:
            self._socket.settimeout(FAREWELL_SECONDS)
            if finished and not self.lost:
                self._say(messages.Bye())
        except OSError:
            pass
        finally:
            self._socket.close()

    def leave(self) -> None:
        """End the session before it is over, for another one: once this returns the server has room."""
        with contextlib.suppress(ControlLost):
            self.ask(messages.Bye(), messages.Bye)
        self._socket.close()

    def _exchange(self, message: messages.Message, seconds: float) -> messages.Message:
        """Send a line and read one; OSError (a timeout is one) or _Foreign."""
        ends = time.perf_counter() + seconds
        while self._pongs_due:  # the server takes one question at a time
            self._read(ends)
        begun = time.perf_counter()
        self._socket.settimeout(seconds)
        self._say(message)
        while not self._answers:
            self._read(ends)
        self.rtts.append(time.perf_counter() - begun)
        try:
            return messages.decode(self._answers.popleft())
        except DecodeError:
            raise self._stranger() from None

    def _say(self, message: messages.Message) -> None:
        line = messages.encode(message)
        self._socket.sendall(self._seals.sign(line) if self._seals else line)

    def _read(self, ends: float) -> None:
        """Read once; OSError or _Foreign."""
        self._socket.settimeout(max(0.001, ends - time.perf_counter()))
        data = self._socket.recv(CHUNK)
        if not data:
            raise self._stranger() if self._received else _Foreign("closed the connection")
        self._received += data if len(self._received) < CHUNK else b""
        try:
            self._take(data)
        except DecodeError:
            raise self._stranger() from None

    def _stranger(self) -> _Foreign:
        """Whose words these are, which no server of ours says."""
        who = interceptor.identify(self._received, "", self._certificate())
        foreign = _Foreign(who.shown)
        foreign.cdn = who.kind is Interceptor.CDN
        return foreign

    def _names(self) -> str:
        """Whom the other side's certificate names, if it shows one."""
        certificate = self._certificate()
        return interceptor.identify(b"", "", certificate).shown if certificate else ""

    def _certificate(self) -> bytes:
        """The other side's, in DER; nothing where there is none."""
        if isinstance(self._socket, ssl.SSLSocket):
            with contextlib.suppress(ValueError):  # once it broke off without TLS's goodbye, OpenSSL tells no more
                return self._socket.getpeercert(binary_form=True) or b""
        return b""

    def _take(self, data: bytes) -> None:
        """Tell the pongs from other answers: they come in the order of the questions; DecodeError."""
        for line in map(self._open, self._lines.feed(data)):
            if self._pongs_due:
                self._pongs_due -= 1
                pong = messages.decode(line)
                if not isinstance(pong, messages.KernelReply):
                    self.refused = pong if isinstance(pong, messages.Refusal) else None
                    raise DecodeError("an answer to another question")
                self._pong = pong.kernel
                # Only new ones, and not for ever: a server that makes some up would have us ping without a pause.
                if len(self.confirmed) < messages.MAX_SOURCES:
                    self.named = tuple(one for one in pong.other_sources if one not in self.confirmed)
            elif len(self._answers) < MAX_UNASKED:
                self._answers.append(line)
            else:
                raise DecodeError("answers that nobody asked for")

    def _open(self, line: bytes) -> bytes:
        """A line without its seal; DecodeError. Before the first only who cannot open ours may say so in the clear."""
        if self._seals is None:
            return line
        try:
            return self._seals.verify(line)
        except DecodeError:
            if self.paired or not isinstance(messages.decode(line), messages.Refusal):
                raise
            return line


@dataclass(frozen=True)
class _Failure:
    port: int
    what: str
    reply: Reply
    local: bool = False
    cdn: bool = False


def open_channel(target: Target, host: str, ports: Sequence[int], greeting: Greeting) -> Channel:
    """Find the server's control channel; UserError where it is on none of these ports, or turns this client away."""
    failures = []
    for attempt in race(target, ports, CONNECT_GAP, CONNECT_SECONDS, hurry=True):
        if not attempt.socket:
            failures.append(_failure(attempt))
            continue
        try:
            return _talk(attempt.socket, target, host, attempt.port, greeting)
        except _Foreign as foreign:
            what = f"somebody else answers ({foreign})"
            failures.append(_Failure(attempt.port, what, Reply.FOREIGN, cdn=foreign.cdn))
        except OSError:
            failures.append(_Failure(attempt.port, "connects, then silence", Reply.MUTE))
    raise _no_channel(target, failures)


def _talk(opened: socket.socket, target: Target, host: str, port: int, greeting: Greeting) -> Channel:
    """TLS where the other side speaks it, else plain."""
    opened.settimeout(HELLO_SECONDS)
    try:
        secure = tls.client_context().wrap_socket(opened, server_hostname=tls.server_name(host))
    except socket.timeout:
        opened.close()
        raise
    except OSError:  # ssl.SSLError is one: no TLS there
        opened.close()
        opened = socket.socket(target.family, socket.SOCK_STREAM)
        opened.settimeout(HELLO_SECONDS)
        opened.connect(target.at(port))
        return _channel(opened, port, greeting)
    return _channel(secure, port, greeting)


def _channel(opened: socket.socket, port: int, greeting: Greeting) -> Channel:
    try:
        return Channel(opened, port, greeting)
    except BaseException:
        opened.close()
        raise


def _failure(attempt: Attempt) -> _Failure:
    if attempt.local:
        return _Failure(attempt.port, attempt.local, attempt.reply, local=True)
    words = {Reply.REFUSED: "refused", Reply.NOTHING: "no answer"}
    what = words.get(attempt.reply, f"unreachable, says {attempt.by or 'the network'}")
    return _Failure(attempt.port, what, attempt.reply)


def _no_channel(target: Target, failures: Sequence[_Failure]) -> UserError:
    why = "; ".join(f"{one.port}/tcp {one.what}" for one in sorted(failures, key=lambda one: one.port))
    what = f"No pnmcheck server found at {target.text}"
    if failures and all(one.local for one in failures):
        return UserError("unreachable", f"Cannot reach {target.text} from this computer", why,
                         "check this computer's own network, or choose the family with -4 or -6")  # fmt: skip
    if any(one.reply is Reply.FOREIGN for one in failures):
        error = NotOurs("not-pnmcheck", what, why,
                        "start the server there with `--stop-services`, or with `--live --control PORT` and give that "
                        "port here too; or check that this is the right address")  # fmt: skip
        error.cdn = any(one.cdn for one in failures)
        return error
    return UserError("no-server", what, why,
                     "run `sudo python3 pnmcheck.pyz server` there first; if it runs, its TCP ports are blocked: "
                     "open one, or start it with `--control PORT` on one that is open; if a check has just worked, "
                     "somebody may limit connections: wait a minute, then check again")  # fmt: skip
