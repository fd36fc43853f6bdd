"""Probe TCP ports with the protocol that each will carry."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import Callable, Optional

from ..core.errors import DecodeError
from ..core.observation import Observation, Reply
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


@dataclass(frozen=True)
class ProbeContext:
    """What the probes of a session need: its id and key, the server's name as dialled, whether it has TLS, its plan."""

    id: str
    key: bytes
    host: str
    tls: bool
    plan: Plan | None = None

    def protocol(self, port: int) -> Protocol:
        """Return the protocol that a TCP port's probe speaks."""
        row = self.plan.row(Transport.TCP, port) if self.plan else None
        return protocol_of(Transport.TCP, port, row.purpose if row else None)


@dataclass(frozen=True)
class Answer:
    """What came of one connection, and who sent a foreign answer; `last` says that another would tell no more."""

    reply: Reply
    sender: interceptor.Identity | None = None
    last: bool = False


class RecordingSocket:
    """A connection that records how many bytes came, how these and those sent began, and whether the peer ended it.

    As a context it is closed in the end.
    """

    def __init__(self, opened: socket.socket) -> None:
        self._opened, self.received, self.ended = opened, 0, False
        self.first_received = self.first_sent = b""
        self.settimeout = opened.settimeout

    def __enter__(self) -> RecordingSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def sendall(self, data: bytes) -> None:
        self.first_sent += data[: CHUNK - len(self.first_sent)]
        self._opened.sendall(data)

    def recv(self, most: int) -> bytes:
        data = self._opened.recv(most)
        self.received += len(data)
        self.first_received += data[: CHUNK - len(self.first_received)]
        self.ended |= not data
        return data


_Then = Callable[[RecordingSocket, int, ProbeContext, Optional[tls.ClientLayer], bytes], Answer]
# Whether an answer, as far as it came, proves our server: None where more of it may.
_Proves = Callable[[bytes], Optional[bool]]
# How one connection is used; OSError where nothing comes, ConnectionError where it is reset.
Ask = Callable[[RecordingSocket, int, ProbeContext], Answer]


def probe(
    target: Target, port: int, context: ProbeContext, stopped: Callable[[], bool], ask: Ask | None = None
) -> Observation:
    """Connect up to three times, until one brings our server's proof, or something else has answered twice.

    Return the most telling of their outcomes. Each connection is used by `ask`, else as the port's protocol has it.
    """
    plain = context.protocol(port) is Protocol.TLS and not context.tls
    seen = Observation(Transport.TCP, port, sent=0, reply=Reply.NOTHING, answered=0, plain=plain)
    foreign = 0
    for attempt in race(target, [port] * CONNECTS, CONNECT_GAP, CONNECT_SECONDS, hurry=False):
        if attempt.local:
            seen = replace(seen, unsendable=attempt.local)
            continue
        answer = Answer(attempt.reply)
        if attempt.socket:
            with RecordingSocket(attempt.socket) as counted:
                answer = converse(counted, port, context, ask or ask_server)
            seen = replace(seen, received=max(seen.received or 0, counted.received))
        elif attempt.reset:
            seen = replace(seen, received=seen.received or 0)
        seen = replace(seen, sent=(seen.sent or 0) + 1)
        if list(Reply).index(answer.reply) >= list(Reply).index(seen.reply or Reply.NOTHING):
            sender = answer.sender
            shown, kind = (sender.shown, sender.kind) if sender else (None, None)
            seen = replace(seen, reply=answer.reply, by=attempt.by, icmp=attempt.icmp, shown=shown, interceptor=kind)
        if answer.reply is Reply.PROOF:
            return replace(seen, answered=1)
        foreign += answer.reply is Reply.FOREIGN
        if answer.last or foreign == MAX_FOREIGN or stopped():
            break
    return seen


def converse(opened: RecordingSocket, port: int, context: ProbeContext, ask: Ask) -> Answer:
    """Use one connection, and return the proof or what came instead."""
    opened.settimeout(ANSWER_SECONDS)
    try:
        return ask(opened, port, context)
    except ConnectionError:
        return Answer(Reply.REFUSED)
    except OSError:
        return Answer(Reply.MUTE)


def ask_server(opened: RecordingSocket, port: int, context: ProbeContext) -> Answer:
    """Ask for proof as the port's protocol has it; OSError."""
    protocol = context.protocol(port)
    if protocol is Protocol.FRAMED_STUN:
        return ask_stun(opened, port, context)
    if protocol is Protocol.TLS and context.tls:
        return ask_tls(opened, port, context)
    return ask_http(opened, port, context)


def _foreign(answer: bytes, context: ProbeContext, certificate: bytes | None = None, ours: bool = False) -> Answer:
    return Answer(Reply.FOREIGN, interceptor.identify(answer, context.host, certificate or b"", ours))


def ask_tls(opened: RecordingSocket, port: int, context: ProbeContext, then: _Then | None = None) -> Answer:
    """Ask for proof over TLS; within it by `then`, or by HTTP; OSError."""
    # Not a TLS socket: that would not show what came where the other side speaks something else.
    secure = tls.ClientLayer(context.host)
    opened.sendall(secure.receive(b"")[1])
    first = opened.recv(CHUNK)
    if not first:
        return Answer(Reply.MUTE)
    if not first_bytes.is_tls(first):
        return _foreign(read(opened, lambda _: False, http_proof.MAX_ANSWER, None, first), context)
    try:
        early = _plain(opened, secure, first)  # from those who speak first
        early = read(opened, lambda _: True if secure.certificate is not None else None, CHUNK, secure, early)
        if secure.certificate is None:
            return Answer(Reply.MUTE)
        return (then or ask_http)(opened, port, context, secure, early)
    except tls.TlsError as error:
        return _foreign(f"TLS fails: {error}".encode("ascii", "replace"), context, secure.certificate)


def ask_http(
    opened: RecordingSocket, port: int, context: ProbeContext, secure: tls.ClientLayer | None = None, early: bytes = b""
) -> Answer:
    """Ask for proof by HTTP, within TLS if `secure`, from which `early` has come; OSError, TlsError."""
    certificate = (secure.certificate or b"") if secure else b""
    token = http_proof.make_token(context.id, port, os.urandom(8).hex(), context.key)
    request = http_proof.encode_request(context.host, token)
    opened.sendall(secure.send(request) if secure else request)
    expected = http_proof.make_proof(token, certificate, context.key)

    def proves(data: bytes) -> bool | None:
        return http_proof.is_proof(data, expected) or (None if http_proof.may_become_proof(data, expected) else False)

    answer = read(opened, proves, http_proof.MAX_ANSWER, secure, early)
    if proves(answer):
        return Answer(Reply.PROOF)
    if not answer:
        return Answer(Reply.MUTE)
    return _foreign(
        answer, context, certificate, bool(certificate) and http_proof.is_proof_for_other_certificate(answer, expected)
    )


def ask_stun(opened: RecordingSocket, port: int, context: ProbeContext, seconds: float | None = None) -> Answer:
    """Ask for proof by STUN in RFC 4571 frames, and wait so many seconds for the answer; OSError."""
    transaction = stun.make_transaction(0, os.urandom(stun.RANDOM_BYTES))
    probe = stun.encode_request(stun.Request(context.id, transaction, port), context.key)
    opened.sendall(framing.frame(probe))

    def proves(data: bytes) -> bool | None:
        try:
            frames = framing.Frames(stun.MAX_BYTES).feed(data)
            return stun.is_answer(frames[0], transaction, context.key) if frames else None
        except DecodeError:
            return False

    answer = read(opened, proves, stun.MAX_BYTES, None, seconds=seconds)
    if proves(answer):
        return Answer(Reply.PROOF)
    return _foreign(answer, context) if answer else Answer(Reply.MUTE)


def _plain(opened: RecordingSocket, secure: tls.ClientLayer | None, data: bytes) -> bytes:
    """Return what came, without its TLS; TlsError."""
    if not secure:
        return data
    plain, out = secure.receive(data)
    opened.sendall(out)
    return plain


def read(
    opened: RecordingSocket, proves: _Proves, most: int, secure: tls.ClientLayer | None, received: bytes = b"",
    seconds: float | None = None,
) -> bytes:  # fmt: skip
    """Return `received` and what follows, until it proves our server or nothing more comes in time; TlsError.

    No more than about `most` bytes. An answer that cannot be our server's any more is not waited for: whoever sends it
    may keep the connection open.
    """
    proven = proves(received)
    ends = time.monotonic() + (seconds or ANSWER_SECONDS)
    while len(received) < most and not proven:
        if proven is False:
            ends = min(ends, time.monotonic() + REST_SECONDS)
        opened.settimeout(max(0.001, ends - time.monotonic()))
        try:
            data = opened.recv(CHUNK)
        except OSError:
            if received:
                break
            raise
        if not data:
            break
        received += _plain(opened, secure, data)
        proven = proves(received)
    return received


class TcpProbes:
    """The TCP ports, a thread each, up to MAX_THREADS for each `start`."""

    def __init__(self, target: Target, context: ProbeContext) -> None:
        self._target, self._context = target, context
        self._queue: queue.Queue[int] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._left = MAX_TCP_SECONDS
        self._seen: dict[int, Observation] = {}
        self._under_way: set[int] = set()
        self.later: dict[int, Observation] = {}  # what came of another try of a port that had proven open

    @property
    def seen(self) -> dict[int, Observation]:
        """Return what came of each port; silence does not count while the port is tried again, or waits for that."""
        return {port: seen for port, seen in dict(self._seen).items()
                if seen.reply is Reply.PROOF or port not in self._under_way}  # fmt: skip

    def start(self, ports: list[int]) -> None:
        """Try these ports; what comes of it stands in `seen`, added to what stood there; after proof in `later`."""
        self._under_way.update(ports)
        for port in ports:
            self._queue.put(port)
        # Daemons: who interrupts the check does not wait for a silent port.
        more = [threading.Thread(target=self._work, daemon=True) for _ in ports[:MAX_THREADS]]
        self._threads = [thread for thread in self._threads if thread.is_alive()] + more
        for thread in more:
            thread.start()

    def join(self, seconds: float = MAX_TCP_SECONDS) -> None:
        """Wait until they are through, or the time for all of them is over, or so many seconds."""
        began = now = time.perf_counter()
        while any(thread.is_alive() for thread in self._threads) and now - began < min(self._left, seconds):
            time.sleep(JOIN_SECONDS)
            now = time.perf_counter()
        self._left -= now - began

    def try_open(self) -> bool | None:
        """Return whether a port that proved open does so again; None where none did."""
        port = next((port for port, seen in self.seen.items() if seen.reply is Reply.PROOF), None)
        if port is None:
            return None
        return probe(self._target, port, self._context, self._stopped.is_set).reply is Reply.PROOF

    def stop(self) -> None:
        """Begin nothing more, and take nothing in any more."""
        self._stopped.set()

    def _try(self, port: int) -> Observation:
        return probe(self._target, port, self._context, self._stopped.is_set)

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                port = self._queue.get_nowait()
            except queue.Empty:
                return
            seen = self._try(port)
            before = self._seen.get(port)
            if before:
                seen = replace(seen, sent=(seen.sent or 0) + (before.sent or 0))
            if before and before.reply is Reply.PROOF:
                self.later[port] = seen
                seen = replace(before, sent=seen.sent, answered=(before.answered or 0) + (seen.answered or 0))
            if not self._stopped.is_set():
                self._seen[port] = seen
                self._under_way.discard(port)
