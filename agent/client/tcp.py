"""Probe TCP ports with the protocol that each will carry."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import Callable, Generic, Hashable, Optional, Sequence, TypeVar

from ..core.errors import DecodeError
from ..core.observation import Interceptor, Observation, Reply
from ..core.plan import Plan, Protocol, Transport, protocol_of
from ..net import tls
from ..net.connect import Target, race
from ..packet import interceptor
from ..protocol import first_bytes, framing, http_proof, stun

# Silence after so many connects is the port's, not chance's: each sends its SYN two or three times.
CONNECTS = 3
CONNECT_GAP = 1.0
CONNECT_SECONDS = 5.0
# For a handshake and an answer, several round trips of the worst path each.
ANSWER_SECONDS = 4.0
CHUNK = 4096
# Two answers that are not our server's come from something else, which would say the same again. One may be an accident
# of the moment: an old flow of a NAT, a rule or a program that is just being changed.
MAX_FOREIGN = 2
# For the rest of an answer that cannot be ours any more, only to show it: it comes in one piece, or shortly after.
REST_SECONDS = 0.5
# TCP ports tried at a time: each has a thread that mostly waits.
MAX_THREADS = 32
# For which all TCP ports together are waited for: 500 silent ones, more than anybody's plan has.
MAX_TCP_SECONDS = 90.0
# Between two looks at those threads.
JOIN_SECONDS = 0.005

Key = TypeVar("Key", bound=Hashable)
# Whether an answer, as far as it came, proves our server: None where more of it may.
_Proves = Callable[[bytes], Optional[bool]]


@dataclass(frozen=True)
class ProbeContext:
    """What the probes of a session need: its id and key, the server's name as dialled, whether it has TLS, its plan."""

    target: Target
    id: str
    key: bytes
    host: str
    tls: bool
    plan: Plan

    def protocol(self, port: int) -> Protocol:
        """Return the protocol that a TCP port's probe speaks."""
        row = self.plan.row(Transport.TCP, port)
        return protocol_of(Transport.TCP, port, row.purpose if row else None)


@dataclass(frozen=True)
class Answer:
    """What came of one connection; what a foreign answer shows, and who sent it; `last`: another would tell no more."""

    reply: Reply
    shown: str | None = None
    sender: Interceptor | None = None
    last: bool = False


class Connection:
    """A connection to a port; it records how many bytes came, how these and those sent began, if the peer ended it."""

    def __init__(self, opened: socket.socket, port: int, context: ProbeContext) -> None:
        self._opened, self.port, self.context = opened, port, context
        self.received, self.ended, self.first_received, self.first_sent = 0, False, b"", b""
        self.secure: tls.Layer | None = None  # its TLS, if it has any
        self._unread = b""
        opened.settimeout(ANSWER_SECONDS)

    def send(self, data: bytes) -> None:
        """Send bytes, within TLS if there is any; OSError, TlsError."""
        self._send(self.secure.send(data) if self.secure else data)

    def begin_tls(self) -> bool:
        """Shake hands; return whether that came to its end. It is `secure` where TLS is spoken. OSError, TlsError."""
        # Not a TLS socket: that would not show what came where the other side speaks something else.
        secure = tls.Layer(tls.client_context(), name=tls.server_name(self.context.host))
        self._send(secure.receive(b"")[1])
        self._unread = self._receive()
        if first_bytes.is_tls(self._unread):
            self.secure = secure
            self._unread = self._decrypted(self._unread)  # from those who speak first
            self._unread = self.read(lambda _: True if secure.certificate is not None else None, CHUNK)
        return secure.certificate is not None

    def read(self, proves: _Proves, most: int, seconds: float | None = None) -> bytes:
        """Return what comes, until it proves our server or nothing more comes in time; OSError, TlsError.

        No more than about `most` bytes. An answer that cannot be our server's any more is not waited for: whoever
        sends it may keep the connection open.
        """
        received, self._unread = self._unread, b""
        proven = proves(received)
        ends = time.monotonic() + (seconds or ANSWER_SECONDS)
        while len(received) < most and not proven:
            if proven is False:
                ends = min(ends, time.monotonic() + REST_SECONDS)
            self._opened.settimeout(max(0.001, ends - time.monotonic()))
            try:
                data = self._receive()
            except OSError:
                if received:
                    break
                raise
            if not data:
                break
            received += self._decrypted(data)
            proven = proves(received)
        return received

    def _send(self, data: bytes) -> None:
        self.first_sent += data[: CHUNK - len(self.first_sent)]
        self._opened.sendall(data)

    def _receive(self) -> bytes:
        data = self._opened.recv(CHUNK)
        self.received += len(data)
        self.first_received += data[: CHUNK - len(self.first_received)]
        self.ended |= not data
        return data

    def _decrypted(self, data: bytes) -> bytes:
        if not self.secure:
            return data
        plain, out = self.secure.receive(data)
        self._send(out)
        return plain


# How one connection is used; OSError where nothing comes, ConnectionError where it is reset.
Ask = Callable[[Connection], Answer]


def converse(connection: Connection, ask: Ask) -> Answer:
    """Use one connection, and return the proof or what came instead."""
    try:
        return ask(connection)
    except ConnectionError:
        return Answer(Reply.REFUSED)
    except OSError:
        return Answer(Reply.MUTE)


def ask_http(connection: Connection) -> Answer:
    """Ask for proof by HTTP; OSError, TlsError."""
    context = connection.context
    certificate = (connection.secure and connection.secure.certificate) or b""
    token = http_proof.make_token(context.id, connection.port, os.urandom(8).hex(), context.key)
    expected = http_proof.make_proof(token, certificate, context.key)
    connection.send(http_proof.encode_request(context.host, token))

    def proves(data: bytes) -> bool | None:
        return http_proof.is_proof(data, expected) or (None if http_proof.may_become_proof(data, expected) else False)

    answer = connection.read(proves, http_proof.MAX_ANSWER)
    ours = bool(certificate) and http_proof.is_proof_for_other_certificate(answer, expected)
    return Answer(Reply.PROOF) if proves(answer) else not_proof(answer, context, certificate, ours)


def ask_stun(connection: Connection, seconds: float | None = None) -> Answer:
    """Ask for proof by STUN in RFC 4571 frames, and wait so many seconds for the answer; OSError."""
    context = connection.context
    transaction = stun.make_transaction(0, os.urandom(stun.RANDOM_BYTES))
    request = stun.Request(context.id, transaction, connection.port)
    connection.send(framing.frame(stun.encode_request(request, context.key)))

    def proves(data: bytes) -> bool | None:
        try:
            frames = framing.Frames(stun.MAX_BYTES).feed(data)
            return stun.is_answer(frames[0], transaction, context.key) if frames else None
        except DecodeError:
            return False

    answer = connection.read(proves, stun.MAX_BYTES, seconds)
    return Answer(Reply.PROOF) if proves(answer) else not_proof(answer, context)


def ask_tls(connection: Connection, then: Ask = ask_http) -> Answer:
    """Ask for proof over TLS, within it by `then`; OSError."""
    context = connection.context
    try:
        if connection.begin_tls():
            return then(connection)
        return not_proof(b"" if connection.secure else connection.read(lambda _: False, http_proof.MAX_ANSWER), context)
    except tls.TlsError as error:
        certificate = connection.secure and connection.secure.certificate
        return not_proof(f"TLS fails: {error}".encode("ascii", "replace"), context, certificate or b"")


def ask_server(connection: Connection) -> Answer:
    """Ask for proof as the port's protocol has it; OSError."""
    protocol = connection.context.protocol(connection.port)
    if protocol is Protocol.FRAMED_STUN:
        return ask_stun(connection)
    return (ask_tls if protocol is Protocol.TLS and connection.context.tls else ask_http)(connection)


def not_proof(answer: bytes, context: ProbeContext, certificate: bytes = b"", ours: bool = False) -> Answer:
    """Return what came of a connection on which this answer came, or nothing; `ours` is as for `identify`."""
    if not answer:
        return Answer(Reply.MUTE)
    sender = interceptor.identify(answer, context.host, certificate, ours)
    return Answer(Reply.FOREIGN, sender.shown, sender.kind)


def probe(port: int, context: ProbeContext, stopped: Callable[[], bool], ask: Ask = ask_server) -> Observation:
    """Connect up to three times, until our server's proof or two foreign answers came; return what tells the most."""
    plain = context.protocol(port) is Protocol.TLS and not context.tls
    seen = Observation(Transport.TCP, port, sent=0, reply=Reply.NOTHING, answered=0, plain=plain)
    foreign = 0
    for attempt in race(context.target, [port] * CONNECTS, CONNECT_GAP, CONNECT_SECONDS, hurry=False):
        if attempt.local:
            seen = replace(seen, unsendable=attempt.local)
            continue
        answer = Answer(attempt.reply)
        if attempt.socket:
            with attempt.socket as opened:
                connection = Connection(opened, port, context)
                answer = converse(connection, ask)
            seen = replace(seen, received=max(seen.received or 0, connection.received))
        elif attempt.reset:
            seen = replace(seen, received=seen.received or 0)
        seen = replace(seen, sent=(seen.sent or 0) + 1)
        if list(Reply).index(answer.reply) >= list(Reply).index(seen.reply or Reply.NOTHING):
            seen = replace(seen, reply=answer.reply, by=attempt.by, icmp=attempt.icmp, shown=answer.shown,
                           interceptor=answer.sender)  # fmt: skip
        if answer.reply is Reply.PROOF:
            return replace(seen, answered=1)
        foreign += answer.reply is Reply.FOREIGN
        if answer.last or foreign == MAX_FOREIGN or stopped():
            break
    return seen


class PortProbes(Generic[Key]):
    """Ports that are tried in a thread each, up to MAX_THREADS for each `start`, by `probe`, until it is stopped."""

    def __init__(self, probe: Callable[[Key, Callable[[], bool]], Observation]) -> None:
        self._probe = probe
        self._queue: queue.Queue[Key] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._left = MAX_TCP_SECONDS
        self._seen: dict[Key, Observation] = {}
        self._under_way: set[Key] = set()
        self.later: dict[Key, Observation] = {}  # what came of another try of a port that had proven open

    @property
    def seen(self) -> dict[Key, Observation]:
        """Return what came of each port; silence does not count while the port is tried again, or waits for that."""
        return {port: seen for port, seen in dict(self._seen).items()
                if seen.reply is Reply.PROOF or port not in self._under_way}  # fmt: skip

    def start(self, ports: Sequence[Key]) -> None:
        """Try these ports; what comes of it stands in `seen`, added to what stood there; after proof in `later`."""
        self._under_way.update(ports)
        for port in ports:
            self._queue.put(port)
        # Daemons: who interrupts the check does not wait for a silent port.
        more = [threading.Thread(target=self._work, daemon=True) for _ in ports[:MAX_THREADS]]
        self._threads = [thread for thread in self._threads if thread.is_alive()] + more
        for thread in more:
            thread.start()

    def join(self, seconds: float | None = None) -> dict[Key, Observation]:
        """Wait until they are through, or the time for all of them is over, or so many seconds; return `seen`."""
        began = now = time.perf_counter()
        most = self._left if seconds is None else min(self._left, seconds)
        while any(thread.is_alive() for thread in self._threads) and now - began < most:
            time.sleep(JOIN_SECONDS)
            now = time.perf_counter()
        self._left -= now - began
        return self.seen

    def try_open(self) -> bool | None:
        """Return whether a port that proved open does so again; None where none did."""
        port = next((port for port, seen in self.seen.items() if seen.reply is Reply.PROOF), None)
        return None if port is None else self._probe(port, self._stopped.is_set).reply is Reply.PROOF

    def stop(self) -> None:
        """Begin nothing more, and take nothing in any more."""
        self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                port = self._queue.get_nowait()
            except queue.Empty:
                return
            seen = self._probe(port, self._stopped.is_set)
            before = self._seen.get(port)
            if before:
                seen = replace(seen, sent=(seen.sent or 0) + (before.sent or 0))
            if before and before.reply is Reply.PROOF:
                self.later[port] = seen
                seen = replace(before, sent=seen.sent, answered=(before.answered or 0) + (seen.answered or 0))
            if not self._stopped.is_set():
                self._seen[port] = seen
                self._under_way.discard(port)
