"""Probe ports through the services that hold them: what is sent bears a mark, and what comes back is compared."""

from __future__ import annotations

import base64
import os
import socket
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Callable, Mapping

from ..core.errors import DecodeError
from ..core.observation import Interceptor, Observation, Reply
from ..core.plan import SIP_TLS, TURN_TLS, Transport
from ..net import icmp_errors
from ..packet import interceptor, x509
from ..packet.printable import describe_reply
from ..protocol import framing, http_proof, stun
from ..protocol.messages import MAX_REPLY_BYTES, ServiceProtocol
from . import tcp
from .service_records import Port, ServiceResult, ServiceResults, Try
from .tcp import ANSWER_SECONDS, Answer, Connection, PortProbes, ProbeContext

# How long LiveKit is seen to keep a connection whose first STUN names a user: it ends others within a round trip.
KEEP_SECONDS = 1.0
# Tries of a UDP port, a second apart as those of the sweep: of a bad path, one in a thousand loses them all.
UDP_TRIES, UDP_SECONDS = 5, 1.0
# Where plugNmeet's haproxy, and a plain LiveKit, take the WebSocket of its signalling; and how LiveKit answers who has
# no token, if not by an upgrade.
SIGNALLING, LIVEKIT = ("/livekit/rtc", "/rtc"), ("101", "400", "401", "403")

# Where chance stands in what is sent: of a token its own and half of its proof, in a TLS hello the client's (RFC 8446,
# section 4.1.2), in a frame the transaction.
_TOKEN = slice(len(f"GET {http_proof.PATH}") + 20, len(f"GET {http_proof.PATH}") + 52)
_QUERY = slice(len("GET /?"), len("GET /?") + 32)
_HELLO, _FRAME = slice(11, 43), slice(framing.LENGTH.size + 8, framing.LENGTH.size + stun.HEADER.size)


class ServiceProbes(PortProbes[Port]):
    """The ports that services hold, tried side by side. What the server saw of that is asked later."""

    def __init__(self, context: ProbeContext) -> None:
        super().__init__(self._probe_service)
        self._context = replace(context, tls=True)  # haproxy has a certificate where our server has none
        self._served: Mapping[Port, ServiceProtocol] = {}
        self._results: dict[Port, ServiceResult] = {}

    def start_services(self, served: Mapping[Port, ServiceProtocol]) -> None:
        """Try all of them by what they speak."""
        self._served, self._results = served, {port: ServiceResult() for port in served}
        self.start(list(served))

    def results(self, seen: Mapping[Port, Observation]) -> ServiceResults:
        """Return what came up to now, where `seen` is that."""
        return {port: replace(result, observation=seen.get(port)) for port, result in self._results.items()}

    def _probe_service(self, port: Port, stopped: Callable[[], bool]) -> Observation:
        (transport, number), result = port, self._results[port]
        if transport is Transport.UDP:
            return _probe_udp(number, self._context, stopped, result)
        service = _TcpService(result)
        asks = {ServiceProtocol.HTTP: service.ask_http, ServiceProtocol.TLS: service.ask_tls}
        ask = asks.get(self._served[port], service.ask_framed)
        return tcp.probe(number, self._context, stopped, ask)


@dataclass
class _TcpService:
    """The TCP port of a service, and in `result` what comes of it."""

    result: ServiceResult

    def ask_http(self, connection: Connection) -> Answer:
        answer = tcp.converse(connection, tcp.ask_http)
        self._record_try(connection, _TOKEN)
        page = _connect_again(connection, self._ask_front_page).shown or "nothing"
        self.result.shown = f"/ brings {page}; what Let's Encrypt asks for, {answer.shown or 'nothing'}"
        return replace(answer, last=any(attempt.began for attempt in self.result.tries))

    def _ask_front_page(self, connection: Connection) -> Answer:
        """Ask for the front page, which haproxy answers itself; it may have to fetch the answer to ACME elsewhere."""
        try:
            return _ask_path(connection, "/?" + os.urandom(16).hex(), (b"Connection: close",))
        finally:
            self._record_try(connection, _QUERY)

    def ask_tls(self, connection: Connection) -> Answer:
        answer = tcp.converse(connection, tcp.ask_tls)
        self._record_try(connection, _HELLO)
        certificate = connection.secure.certificate if connection.secure else None
        if certificate is not None:
            host, row = connection.context.host, connection.context.plan.row(Transport.TCP, connection.port)
            self.result.certificate = certificate
            self.result.shown = interceptor.identify(b"", host, certificate).shown + _until(certificate)
            if not row or row.purpose not in (TURN_TLS, SIP_TLS):
                self._signal(connection)
        return replace(answer, last=bool(connection.first_received))

    def _signal(self, connection: Connection) -> None:
        """Note what comes back of a WebSocket's upgrade (RFC 6455, section 4.1) at the path of LiveKit's signalling."""
        upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
                   b"Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)))  # fmt: skip
        seen = []
        for path in SIGNALLING:
            then = partial(_ask_path, path=path, lines=upgrade)
            seen.append(_connect_again(connection, partial(tcp.ask_tls, then=then)).shown or "")
            if seen[-1].startswith(LIVEKIT):
                self.result.signalling = ""
                return
        if seen[0]:  # haproxy has an answer where LiveKit has none: without one it was the way, or not HTTP
            self.result.signalling = seen[0]

    def ask_framed(self, connection: Connection) -> Answer:
        answer = tcp.converse(connection, partial(tcp.ask_stun, seconds=KEEP_SECONDS))
        waits = answer.reply is Reply.MUTE and not connection.ended
        self._record_try(connection, _FRAME, asks=not waits)
        if waits:
            return _connect_again(connection, self._ask_without_username)
        self.result.shown = answer.shown or "ends a connection that brings STUN, which LiveKit does not"
        return replace(answer, last=bool(connection.first_received) or connection.ended)

    def _ask_without_username(self, connection: Connection) -> Answer:
        """Send STUN without a USERNAME, which LiveKit does not take."""
        transaction = stun.make_transaction(0, os.urandom(stun.RANDOM_BYTES))
        connection.send(framing.frame(stun.encode(stun.Kind.REQUEST, transaction, b"", connection.context.key)))
        try:
            answer = tcp.not_proof(connection.read(lambda _: None, stun.MAX_BYTES), connection.context)
        finally:
            self._record_try(connection, _FRAME)
        self.result.shown = answer.shown or (
            "keeps a connection that brings STUN with a USERNAME, and ends one without, as LiveKit does")  # fmt: skip
        return Answer(answer.reply, last=True)

    def _record_try(self, connection: Connection, mark: slice, asks: bool = True) -> None:
        if len(connection.first_sent) >= mark.stop:
            began = connection.first_received[:MAX_REPLY_BYTES]
            self.result.tries.append(Try(connection.first_sent[mark].hex(), began, connection.ended, asks))


def _connect_again(connection: Connection, ask: tcp.Ask) -> Answer:
    """Use another connection to the same port."""
    target, port = connection.context.target, connection.port
    with socket.socket(target.family, socket.SOCK_STREAM) as opened:
        opened.settimeout(ANSWER_SECONDS)
        try:
            opened.connect(target.at(port))
        except OSError:
            return Answer(Reply.MUTE)
        return tcp.converse(Connection(opened, port, connection.context), ask)


def _ask_path(connection: Connection, path: str, lines: tuple[bytes, ...]) -> Answer:
    """Ask for a path, and take the answer's head; OSError, TlsError."""
    host = connection.context.host.encode("ascii", "replace")
    request = (b"GET %s HTTP/1.1" % path.encode(), b"Host: " + host, b"User-Agent: pnmcheck", *lines, b"", b"")
    connection.send(b"\r\n".join(request))
    answer = connection.read(lambda data: True if b"\r\n\r\n" in data else None, http_proof.MAX_ANSWER)
    return tcp.not_proof(answer, connection.context)


def _until(certificate: bytes) -> str:
    try:
        return time.strftime(", good until %Y-%m-%d", time.gmtime(x509.validity(certificate)[0]))
    except (DecodeError, ValueError, OverflowError, OSError):  # a year that this system does not know
        return ""


def _probe_udp(port: int, context: ProbeContext, stopped: Callable[[], bool], result: ServiceResult) -> Observation:
    seen = Observation(Transport.UDP, port, sent=0, reply=Reply.NOTHING, answered=0)
    with socket.socket(context.target.family, socket.SOCK_DGRAM) as opened:
        icmp_errors.want_senders(opened, True)
        try:
            opened.connect(context.target.at(port))
        except OSError as error:
            return replace(seen, unsendable=error.strerror or str(error))
        for _ in range(UDP_TRIES):
            # Without a number: the sweep counts its own. It arrives at a service, whose answer bears no proof.
            transaction = stun.make_transaction(0, os.urandom(stun.RANDOM_BYTES))
            probe = stun.encode_request(stun.Request(context.id, transaction, port), context.key)
            result.tries.append(Try(transaction.hex()))
            seen = _ask_udp(opened, probe, context.key, result, replace(seen, sent=(seen.sent or 0) + 1))
            if seen.reply in (Reply.FOREIGN, Reply.PROOF) or stopped():
                break
    return seen


def _ask_udp(opened: socket.socket, probe: bytes, key: bytes, result: ServiceResult, seen: Observation) -> Observation:
    """Send a probe, and wait for what comes back of it, or of one before."""
    ends = time.monotonic() + UDP_SECONDS
    for _ in range(2):  # the first may report an earlier one's ICMP error, and not be sent
        try:
            opened.send(probe)
            break
        except OSError:
            seen = _refused(opened, seen)
    while time.monotonic() < ends:
        opened.settimeout(max(0.001, ends - time.monotonic()))
        try:
            data = opened.recv(stun.MAX_BYTES + 1)
        except socket.timeout:
            break
        except OSError:
            seen = _refused(opened, seen)
            continue
        mark = data[stun.HEADER.size - stun.TRANSACTION_BYTES : stun.HEADER.size]
        for number, attempt in enumerate(result.tries):
            if attempt.mark == mark.hex():
                result.tries[number] = replace(attempt, began=data[:MAX_REPLY_BYTES])
                if stun.is_answer(data, mark, key):
                    return replace(seen, reply=Reply.PROOF, answered=1)
                shown, foreign = describe_reply(data, probe), Interceptor.OTHER_SERVICE
                result.shown = "answers STUN" if shown.startswith("a STUN") else shown
                return replace(seen, reply=Reply.FOREIGN, shown=shown, interceptor=foreign, by=None, icmp=None)
    return seen


def _refused(opened: socket.socket, seen: Observation) -> Observation:
    """Return an observation with the ICMP error that a connected socket met, where the system reports it."""
    error = next((error for error in icmp_errors.errors(opened) if error and error.refusal), None)
    if not error:
        return seen
    return replace(seen, reply=Reply.UNREACHABLE, by=error.by, icmp=error.refusal, errors=(seen.errors or 0) + 1)
