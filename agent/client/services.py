"""Probe ports through the services that hold them: what is sent bears a mark, and what comes back is compared."""

from __future__ import annotations

import base64
import os
import socket
import time
from dataclasses import replace
from functools import partial
from typing import Mapping

from ..core.errors import DecodeError
from ..core.observation import Interceptor, Observation, Reply
from ..core.plan import SIP_TLS, TURN_TLS, Transport
from ..net import icmp_errors, tls
from ..net.connect import Target
from ..packet import interceptor, x509
from ..packet.printable import describe_reply
from ..protocol import framing, http_proof, stun
from ..protocol.messages import MAX_REPLY_BYTES, ServiceProtocol
from . import tcp
from .service_records import ServiceResults, Try
from .tcp import ANSWER_SECONDS, Answer, ProbeContext, RecordingSocket, TcpProbes

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


class _Services(TcpProbes):
    """The ports of one transport that services hold, and what these speak."""

    def __init__(self, target: Target, context: ProbeContext, served: Mapping[int, ServiceProtocol]) -> None:
        super().__init__(target, replace(context, tls=True))  # haproxy has a certificate where our server has none
        self._served = served
        self.shown = dict.fromkeys(served, "")
        self.tries: dict[int, list[Try]] = {port: [] for port in served}


class _Tcp(_Services):
    def __init__(self, target: Target, context: ProbeContext, served: Mapping[int, ServiceProtocol]) -> None:
        super().__init__(target, context, served)
        self.certificates: dict[int, bytes] = {}
        self.signalling: dict[int, str] = {}  # what came back of an upgrade; nothing where that was LiveKit

    def _try(self, port: int) -> Observation:
        ask = {ServiceProtocol.HTTP: self._http, ServiceProtocol.TLS: self._tls}.get(self._served[port], self._framed)
        return tcp.probe(self._target, port, self._context, self._stopped.is_set, ask)

    def _http(self, opened: RecordingSocket, port: int, context: ProbeContext) -> Answer:
        answer = tcp.converse(opened, port, context, tcp.ask_http)
        self._record_try(port, opened, _TOKEN)
        page = self._connect_again(port, self._ask_front_page)
        self.shown[port] = (
            f"/ brings {_shown(page) or 'nothing'}; what Let's Encrypt asks for, {_shown(answer) or 'nothing'}"
        )
        return replace(answer, last=any(attempt.began for attempt in self.tries[port]))

    def _ask_front_page(self, opened: RecordingSocket, port: int, context: ProbeContext) -> Answer:
        """Ask for the front page, which haproxy answers itself; it may have to fetch the answer to ACME elsewhere."""
        try:
            return _ask_http(b"/?" + os.urandom(16).hex().encode(), (), opened, port, context)
        finally:
            self._record_try(port, opened, _QUERY)

    def _tls(self, opened: RecordingSocket, port: int, context: ProbeContext) -> Answer:
        def then(
            opened: RecordingSocket, port: int, context: ProbeContext, secure: tls.ClientLayer | None, early: bytes
        ) -> Answer:
            self.certificates[port] = (secure and secure.certificate) or b""
            return tcp.ask_http(opened, port, context, secure, early)

        answer = tcp.converse(opened, port, context, partial(tcp.ask_tls, then=then))
        self._record_try(port, opened, _HELLO)
        if port in self.certificates:
            named = interceptor.identify(b"", context.host, self.certificates[port]).shown
            self.shown[port] = named + _until(self.certificates[port])
            row = context.plan and context.plan.row(Transport.TCP, port)
            if not row or row.purpose not in (TURN_TLS, SIP_TLS):
                self._signal(port)
        return replace(answer, last=bool(opened.first_received))

    def _signal(self, port: int) -> None:
        """Note what comes back of a WebSocket's upgrade (RFC 6455, section 4.1) at the path of LiveKit's signalling."""
        key = base64.b64encode(os.urandom(16))
        lines = (
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + key,
        )
        seen = []
        for path in SIGNALLING:
            then = partial(_ask_http, path.encode(), lines)
            seen.append(_shown(self._connect_again(port, partial(tcp.ask_tls, then=then))))
            if seen[-1].startswith(LIVEKIT):
                self.signalling[port] = ""
                return
        if seen[0]:  # haproxy has an answer where LiveKit has none: without one it was the way, or not HTTP
            self.signalling[port] = seen[0]

    def _framed(self, opened: RecordingSocket, port: int, context: ProbeContext) -> Answer:
        answer = tcp.converse(opened, port, context, partial(tcp.ask_stun, seconds=KEEP_SECONDS))
        waits = answer.reply is Reply.MUTE and not opened.ended
        self._record_try(port, opened, _FRAME, asks=not waits)
        if not waits:
            self.shown[port] = _shown(answer) or "ends a connection that brings STUN, which LiveKit does not"
            return replace(answer, last=bool(opened.first_received) or opened.ended)
        return self._connect_again(port, self._ask_without_username)

    def _ask_without_username(self, opened: RecordingSocket, port: int, context: ProbeContext) -> Answer:
        """Send STUN without a USERNAME, which LiveKit does not take."""
        transaction = stun.make_transaction(0, os.urandom(stun.RANDOM_BYTES))
        opened.sendall(framing.frame(stun.encode(stun.Kind.REQUEST, transaction, b"", context.key)))
        answer = b""
        try:
            answer = tcp.read(opened, lambda _: None, stun.MAX_BYTES, None)
        finally:
            self._record_try(port, opened, _FRAME)
        self.shown[port] = interceptor.identify(answer, context.host).shown if answer else (
            "keeps a connection that brings STUN with a USERNAME, and ends one without, as LiveKit does")  # fmt: skip
        return Answer(Reply.FOREIGN if answer else Reply.MUTE, last=True)

    def _connect_again(self, port: int, ask: tcp.Ask) -> Answer:
        """Use another connection to the port."""
        opened = socket.socket(self._target.family, socket.SOCK_STREAM)
        with RecordingSocket(opened) as counted:
            opened.settimeout(ANSWER_SECONDS)
            try:
                opened.connect(self._target.at(port))
            except OSError:
                return Answer(Reply.MUTE)
            return tcp.converse(counted, port, self._context, ask)

    def _record_try(self, port: int, opened: RecordingSocket, mark: slice, asks: bool = True) -> None:
        if len(opened.first_sent) >= mark.stop:
            self.tries[port].append(
                Try(opened.first_sent[mark].hex(), opened.first_received[:MAX_REPLY_BYTES], opened.ended, asks)
            )


def _ask_http(
    path: bytes, lines: tuple[bytes, ...], opened: RecordingSocket, port: int, context: ProbeContext,
    secure: tls.ClientLayer | None = None, early: bytes = b"",
) -> Answer:  # fmt: skip
    """Ask for a path, and take the answer's head; OSError, TlsError."""
    request = b"\r\n".join((b"GET %s HTTP/1.1" % path, b"Host: " + context.host.encode("ascii", "replace"),
                            b"User-Agent: pnmcheck", *(lines or (b"Connection: close",)), b"", b""))  # fmt: skip
    opened.sendall(secure.send(request) if secure else request)
    whole = lambda data: True if b"\r\n\r\n" in data else None  # noqa: E731
    answer = tcp.read(opened, whole, http_proof.MAX_ANSWER, secure, early)
    return Answer(Reply.FOREIGN, interceptor.identify(answer, context.host)) if answer else Answer(Reply.MUTE)


def _until(certificate: bytes) -> str:
    try:
        return time.strftime(", good until %Y-%m-%d", time.gmtime(x509.validity(certificate)[0]))
    except (DecodeError, ValueError, OverflowError, OSError):  # a year that this system does not know
        return ""


def _shown(answer: Answer) -> str:
    return answer.sender.shown if answer.sender else ""


class _Udp(_Services):
    def _try(self, port: int) -> Observation:
        seen = Observation(Transport.UDP, port, sent=0, reply=Reply.NOTHING, answered=0)
        with socket.socket(self._target.family, socket.SOCK_DGRAM) as opened:
            icmp_errors.want_senders(opened, True)
            try:
                opened.connect(self._target.at(port))
            except OSError as error:
                return replace(seen, unsendable=error.strerror or str(error))
            for _ in range(UDP_TRIES):
                # Without a number: the sweep counts its own. It arrives at a service, whose answer bears no proof.
                transaction = stun.make_transaction(0, os.urandom(stun.RANDOM_BYTES))
                probe = stun.encode_request(stun.Request(self._context.id, transaction, port), self._context.key)
                self.tries[port].append(Try(transaction.hex()))
                seen = self._ask(opened, probe, replace(seen, sent=(seen.sent or 0) + 1))
                if seen.reply in (Reply.FOREIGN, Reply.PROOF) or self._stopped.is_set():
                    break
        return seen

    def _ask(self, opened: socket.socket, probe: bytes, seen: Observation) -> Observation:
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
            tries = self.tries[seen.port]
            for number, one in enumerate(tries):
                transaction = bytes.fromhex(one.mark)
                if data[stun.HEADER.size - stun.TRANSACTION_BYTES : stun.HEADER.size] == transaction:
                    tries[number] = replace(one, began=data[:MAX_REPLY_BYTES])
                    return self._answered(seen, data, probe, transaction)
        return seen

    def _answered(self, seen: Observation, data: bytes, probe: bytes, transaction: bytes) -> Observation:
        if stun.is_answer(data, transaction, self._context.key):
            return replace(seen, reply=Reply.PROOF, answered=1)
        shown = describe_reply(data, probe)
        self.shown[seen.port] = "answers STUN" if shown.startswith("a STUN") else shown
        return replace(
            seen, reply=Reply.FOREIGN, shown=shown, interceptor=Interceptor.OTHER_SERVICE, by=None, icmp=None
        )


def _refused(opened: socket.socket, seen: Observation) -> Observation:
    """Return an observation with the ICMP error that a connected socket met, where the system reports it."""
    for error in icmp_errors.errors(opened):
        if error and error.refusal:
            return replace(
                seen, reply=Reply.UNREACHABLE, by=error.by, icmp=error.refusal, errors=(seen.errors or 0) + 1
            )
    return seen


class ServiceProbes:
    """The ports that services hold, tried side by side. What the server saw of that is asked later."""

    def __init__(
        self, target: Target, context: ProbeContext, served: Mapping[Transport, Mapping[int, ServiceProtocol]]
    ) -> None:
        self._tcp = _Tcp(target, context, served[Transport.TCP])
        self._udp = _Udp(target, context, served[Transport.UDP])
        self._served = served

    def start(self) -> None:
        """Try all of them, a thread each."""
        self._tcp.start(list(self._served[Transport.TCP]))
        self._udp.start(list(self._served[Transport.UDP]))

    def join(self) -> None:
        """Wait until they are through."""
        self._tcp.join()
        self._udp.join()

    def stop(self) -> None:
        """Begin nothing more."""
        self._tcp.stop()
        self._udp.stop()

    def results(self) -> ServiceResults:
        """Return what came up to now."""
        both: tuple[tuple[Transport, _Services], ...] = ((Transport.TCP, self._tcp), (Transport.UDP, self._udp))
        return ServiceResults(
            {(transport, port): seen for transport, probes in both for port, seen in probes.seen.items()},
            {(transport, port): shown for transport, probes in both for port, shown in probes.shown.items()},
            {(transport, port): tuple(tries) for transport, probes in both for port, tries in probes.tries.items()},
            dict(self._tcp.certificates),
            dict(self._tcp.signalling),
        )
