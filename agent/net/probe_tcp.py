"""Tries one TCP port with the protocol that it will carry."""

from __future__ import annotations

import os
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass, replace
from typing import Callable

from ..model.observation import Observation, Reply
from ..model.plan import Protocol, Transport, protocol_of
from ..wire import DecodeError, framing, http_proof, stun
from ..wire.shown import shown
from . import tls
from .connect import Target, race

# Silence after so many connects is the port's, not chance's: each sends its SYN two or three times.
CONNECTS = 3
CONNECT_GAP = 1.0
CONNECT_SECONDS = 5.0
# For a handshake and an answer, several round trips of the worst path each.
ANSWER_SECONDS = 4.0
CHUNK = 4096
# TCP ports tried at a time: each has a thread that mostly waits.
MAX_THREADS = 32
# For all TCP ports together: 500 silent ones, more than anybody's plan has.
MAX_TCP_SECONDS = 90.0
# Between two looks at those threads.
JOIN_SECONDS = 0.005


@dataclass(frozen=True)
class Session:
    """What a probe needs to know: whose it is, the server's name as dialled, and whether the server has TLS."""

    id: str
    key: bytes
    host: str
    tls: bool


@dataclass(frozen=True)
class _Answer:
    reply: Reply
    shown: str | None = None


def probe(target: Target, port: int, session: Session, stopped: Callable[[], bool]) -> Observation:
    """Up to three connects, until one brings our server's proof; the most telling of their outcomes."""
    plain = protocol_of(Transport.TCP, port) is Protocol.TLS and not session.tls
    seen = Observation(Transport.TCP, port, sent=0, reply=Reply.NOTHING, answered=0, plain=plain)
    for attempt in race(target, [port] * CONNECTS, CONNECT_GAP, CONNECT_SECONDS, hurry=False):
        if attempt.local:
            seen = replace(seen, unsendable=attempt.local)
            continue
        answer = _Answer(attempt.reply)
        if attempt.socket:
            with attempt.socket:
                answer = _converse(attempt.socket, port, session)
        seen = replace(seen, sent=(seen.sent or 0) + 1)
        if list(Reply).index(answer.reply) >= list(Reply).index(seen.reply or Reply.NOTHING):
            seen = replace(seen, reply=answer.reply, shown=answer.shown, by=attempt.by)
        if answer.reply is Reply.PROOF:
            return replace(seen, answered=1)
        if stopped():
            break
    return seen


def _converse(opened: socket.socket, port: int, session: Session) -> _Answer:
    """One connection, from its first byte to the proof or what came instead."""
    protocol = protocol_of(Transport.TCP, port)
    opened.settimeout(ANSWER_SECONDS)
    try:
        if protocol is Protocol.FRAMED_STUN:
            return _ask_stun(opened, port, session)
        if protocol is Protocol.TLS and session.tls:
            return _ask_tls(opened, port, session)
        return _ask_http(opened, port, session, b"")
    except ConnectionError:
        return _Answer(Reply.REFUSED)
    except OSError:
        return _Answer(Reply.MUTE)


def _ask_tls(opened: socket.socket, port: int, session: Session) -> _Answer:
    try:
        with tls.client_context().wrap_socket(opened, server_hostname=tls.server_name(session.host)) as secure:
            return _ask_http(secure, port, session, secure.getpeercert(binary_form=True) or b"")
    except ssl.SSLEOFError:
        return _Answer(Reply.MUTE)
    except ssl.SSLError as error:
        return _Answer(Reply.FOREIGN, f"no TLS: {(error.reason or 'a broken handshake').replace('_', ' ').lower()}")


def _ask_http(opened: socket.socket, port: int, session: Session, certificate: bytes) -> _Answer:
    token = http_proof.make_token(session.id, port, os.urandom(8).hex(), session.key)
    opened.sendall(http_proof.encode_request(session.host, token))
    expected = http_proof.proof(token, certificate, session.key)
    answer = _read(opened, lambda data: http_proof.answer_proves(data, expected), http_proof.MAX_ANSWER)
    if http_proof.answer_proves(answer, expected):
        return _Answer(Reply.PROOF)
    if certificate and str(token).encode() in answer:
        return _Answer(Reply.FOREIGN, "a middlebox that ends TLS and shows a certificate of its own")
    return _Answer(Reply.FOREIGN, shown(answer)) if answer else _Answer(Reply.MUTE)


def _ask_stun(opened: socket.socket, port: int, session: Session) -> _Answer:
    transaction = os.urandom(stun.TRANSACTION_BYTES)
    probe = stun.encode_request(stun.Request(session.id, transaction, port), session.key)
    opened.sendall(framing.frame(probe))

    def proves(data: bytes) -> bool:
        try:
            frames = framing.Frames(stun.MAX_BYTES).feed(data)
            return bool(frames) and stun.proves(frames[0], transaction, session.key)
        except DecodeError:
            return False

    answer = _read(opened, proves, stun.MAX_BYTES)
    if proves(answer):
        return _Answer(Reply.PROOF)
    return _Answer(Reply.FOREIGN, shown(answer)) if answer else _Answer(Reply.MUTE)


def _read(opened: socket.socket, enough: Callable[[bytes], bool], most: int) -> bytes:
    """What comes until it is enough, or too much, or nothing more comes in time."""
    received = b""
    ends = time.monotonic() + ANSWER_SECONDS
    while len(received) < most and not enough(received):
        opened.settimeout(max(0.001, ends - time.monotonic()))
        try:
            data = opened.recv(CHUNK)
        except OSError:
            if received:
                break
            raise
        if not data:
            break
        received += data
    return received


class TcpProbes:
    """The TCP ports, a thread each, up to MAX_THREADS at a time."""

    def __init__(self, target: Target, session: Session) -> None:
        self._target, self._session = target, session
        self._queue: queue.Queue[int] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._ends = 0.0
        self.seen: dict[int, Observation] = {}

    def start(self, ports: list[int]) -> None:
        """Try these ports; what comes of it stands in `seen`, added to what stood there."""
        self._ends = time.perf_counter() + MAX_TCP_SECONDS
        for port in ports:
            self._queue.put(port)
        # Daemons: who interrupts the check does not wait for a silent port.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in ports[:MAX_THREADS]]
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float = MAX_TCP_SECONDS) -> None:
        """Wait until they are through, or the time for all of them is over, or so many seconds."""
        ends = min(self._ends, time.perf_counter() + seconds)
        while any(thread.is_alive() for thread in self._threads) and time.perf_counter() < ends:
            time.sleep(JOIN_SECONDS)

    def lets_in(self) -> bool | None:
        """Whether a port that let us in does so again; None where none has."""
        port = next((port for port, seen in self.seen.items() if seen.reply is Reply.PROOF), None)
        if port is None:
            return None
        return probe(self._target, port, self._session, self._stopped.is_set).reply is Reply.PROOF

    def stop(self) -> None:
        """Begin nothing more, and take nothing in any more."""
        self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                port = self._queue.get_nowait()
            except queue.Empty:
                return
            seen = probe(self._target, port, self._session, self._stopped.is_set)
            if port in self.seen:
                seen = replace(seen, sent=(seen.sent or 0) + (self.seen[port].sent or 0))
            if not self._stopped.is_set():
                self.seen[port] = seen
