"""Tries ports through the services that hold them: what is sent bears a mark, and what comes back is compared."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Iterator, Mapping

from ..core.errors import DecodeError
from ..core.observation import Interceptor, Observation, Reply
from ..core.plan import SIP_TLS, TURN_TLS, Transport
from ..net import icmp_errors, tls
from ..net.connect import Target
from ..packet import interceptor, x509
from ..packet.printable import describe_reply
from ..protocol import framing, http_proof, stun
from ..protocol.messages import MAX_REPLY_BYTES, AskService, ServiceProtocol, ServiceReply
from ..protocol.pairing import fingerprint
from . import tcp
from .control import Channel
from .tcp import ANSWER_SECONDS, Answer, RecordingSocket, Session, TcpProbes

# How long LiveKit is seen to keep a connection whose first STUN names a user: it ends others within a round trip.
KEEP_SECONDS = 1.0
# Tries of a UDP port, a second apart as those of the sweep: of a bad path, one in a thousand loses them all.
UDP_TRIES, UDP_SECONDS = 5, 1.0
MAX_WORDS = 200  # a text of the report has no more
# Where plugNmeet's haproxy, and a plain LiveKit, take the WebSocket of its signalling; and how LiveKit answers who has
# no token, if not by an upgrade.
SIGNALLING, LIVEKIT = ("/livekit/rtc", "/rtc"), ("101", "400", "401", "403")

# Where chance stands in what is sent: of a token its own and half of its proof, in a TLS hello the client's (RFC 8446,
# section 4.1.2), in a frame the transaction.
_TOKEN = slice(len(f"GET {http_proof.PATH}") + 20, len(f"GET {http_proof.PATH}") + 52)
_QUERY = slice(len("GET /?"), len("GET /?") + 32)
_HELLO, _FRAME = slice(11, 43), slice(framing.LENGTH.size + 8, framing.LENGTH.size + stun.HEADER.size)


@dataclass(frozen=True)
class Try:
    """One connection or datagram: a mark that stood in what was sent, in hex digits, and how the answer began.

    `ended` says that the other side ended the connection. One that `asks` is answered; another has to arrive.
    """

    mark: str
    began: bytes = b""
    ended: bool = False
    asks: bool = True


class _Services(TcpProbes):
    """The ports of one transport that services hold, and what these speak."""

    def __init__(self, target: Target, session: Session, served: Mapping[int, ServiceProtocol]) -> None:
        super().__init__(target, replace(session, tls=True))  # haproxy has a certificate where our server has none
        self._served = served
        self.words = dict.fromkeys(served, "")
        self.tries: dict[int, list[Try]] = {port: [] for port in served}


class _Tcp(_Services):
    def __init__(self, target: Target, session: Session, served: Mapping[int, ServiceProtocol]) -> None:
        super().__init__(target, session, served)
        self.certificates: dict[int, bytes] = {}
        self.signalling: dict[int, str] = {}  # what came back of an upgrade; nothing where that was LiveKit

    def _try(self, port: int) -> Observation:
        ask = {ServiceProtocol.HTTP: self._http, ServiceProtocol.TLS: self._tls}.get(self._served[port], self._framed)
        return tcp.probe(self._target, port, self._session, self._stopped.is_set, ask)

    def _http(self, opened: RecordingSocket, port: int, session: Session) -> Answer:
        answer = tcp.converse(opened, port, session, tcp.ask_http)
        self._keep(port, opened, _TOKEN)
        page = self._once_more(port, self._page)
        self.words[port] = (
            f"/ brings {_shown(page) or 'nothing'}; what Let's Encrypt asks for, {_shown(answer) or 'nothing'}"
        )
        return replace(answer, last=any(one.began for one in self.tries[port]))

    def _page(self, opened: RecordingSocket, port: int, session: Session) -> Answer:
        """The front page, which haproxy answers itself; to what ACME asks it may have to get the answer elsewhere."""
        try:
            return _ask_http(b"/?" + os.urandom(16).hex().encode(), (), opened, port, session)
        finally:
            self._keep(port, opened, _QUERY)

    def _tls(self, opened: RecordingSocket, port: int, session: Session) -> Answer:
        def then(
            opened: RecordingSocket, port: int, session: Session, secure: tls.ClientLayer | None, early: bytes
        ) -> Answer:
            self.certificates[port] = (secure and secure.certificate) or b""
            return tcp.ask_http(opened, port, session, secure, early)

        answer = tcp.converse(opened, port, session, partial(tcp.ask_tls, then=then))
        self._keep(port, opened, _HELLO)
        if port in self.certificates:
            named = interceptor.identify(b"", session.host, self.certificates[port]).shown
            self.words[port] = named + _until(self.certificates[port])
            row = session.plan and session.plan.row(Transport.TCP, port)
            if not row or row.purpose not in (TURN_TLS, SIP_TLS):
                self._signal(port)
        return replace(answer, last=bool(opened.began))

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
            seen.append(_shown(self._once_more(port, partial(tcp.ask_tls, then=then))))
            if seen[-1].startswith(LIVEKIT):
                self.signalling[port] = ""
                return
        if seen[0]:  # haproxy has an answer where LiveKit has none: without one it was the way, or not HTTP
            self.signalling[port] = seen[0]

    def _framed(self, opened: RecordingSocket, port: int, session: Session) -> Answer:
        answer = tcp.converse(opened, port, session, partial(tcp.ask_stun, seconds=KEEP_SECONDS))
        waits = answer.reply is Reply.MUTE and not opened.ended
        self._keep(port, opened, _FRAME, asks=not waits)
        if not waits:
            self.words[port] = _shown(answer) or "ends a connection that brings STUN, which LiveKit does not"
            return replace(answer, last=bool(opened.began) or opened.ended)
        return self._once_more(port, self._unnamed)

    def _unnamed(self, opened: RecordingSocket, port: int, session: Session) -> Answer:
        """STUN that names nobody, which LiveKit does not take."""
        transaction = stun.make_transaction(0, os.urandom(stun.RANDOM_BYTES))
        opened.sendall(framing.frame(stun.encode(stun.Kind.REQUEST, transaction, b"", session.key)))
        answer = b""
        try:
            answer = tcp.read(opened, lambda _: None, stun.MAX_BYTES, None)
        finally:
            self._keep(port, opened, _FRAME)
        self.words[port] = interceptor.identify(answer, session.host).shown if answer else (
            "keeps a connection that brings STUN with a USERNAME, and ends one without, as LiveKit does")  # fmt: skip
        return Answer(Reply.FOREIGN if answer else Reply.MUTE, last=True)

    def _once_more(self, port: int, ask: tcp.Ask) -> Answer:
        """Another connection."""
        opened = socket.socket(self._target.family, socket.SOCK_STREAM)
        with RecordingSocket(opened) as counted:
            opened.settimeout(ANSWER_SECONDS)
            try:
                opened.connect(self._target.at(port))
            except OSError:
                return Answer(Reply.MUTE)
            return tcp.converse(counted, port, self._session, ask)

    def _keep(self, port: int, opened: RecordingSocket, mark: slice, asks: bool = True) -> None:
        if len(opened.said) >= mark.stop:
            self.tries[port].append(Try(opened.said[mark].hex(), opened.began[:MAX_REPLY_BYTES], opened.ended, asks))


def _ask_http(
    path: bytes, lines: tuple[bytes, ...], opened: RecordingSocket, port: int, session: Session,
    secure: tls.ClientLayer | None = None, early: bytes = b"",
) -> Answer:  # fmt: skip
    """Ask for a path, and take the answer's head; OSError, TlsError."""
    request = b"\r\n".join((b"GET %s HTTP/1.1" % path, b"Host: " + session.host.encode("ascii", "replace"),
                            b"User-Agent: pnmcheck", *(lines or (b"Connection: close",)), b"", b""))  # fmt: skip
    opened.sendall(secure.send(request) if secure else request)
    whole = lambda data: True if b"\r\n\r\n" in data else None  # noqa: E731
    answer = tcp.read(opened, whole, http_proof.MAX_ANSWER, secure, early)
    return Answer(Reply.FOREIGN, interceptor.identify(answer, session.host)) if answer else Answer(Reply.MUTE)


def _until(certificate: bytes) -> str:
    try:
        return time.strftime(", good until %Y-%m-%d", time.gmtime(x509.validity(certificate)[0]))
    except (DecodeError, ValueError, OverflowError, OSError):  # a year that this system does not know
        return ""


def _shown(answer: Answer) -> str:
    return answer.stranger.shown if answer.stranger else ""


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
                probe = stun.encode_request(stun.Request(self._session.id, transaction, port), self._session.key)
                self.tries[port].append(Try(transaction.hex()))
                seen = self._ask(opened, probe, replace(seen, sent=(seen.sent or 0) + 1))
                if seen.reply in (Reply.FOREIGN, Reply.PROOF) or self._stopped.is_set():
                    break
        return seen

    def _ask(self, opened: socket.socket, probe: bytes, seen: Observation) -> Observation:
        """Send a probe, and wait for what comes back of it, or of one before."""
        ends = time.monotonic() + UDP_SECONDS
        for _ in range(2):  # the first may be told of an earlier one's ICMP error, and not be sent
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
        if stun.is_answer(data, transaction, self._session.key):
            return replace(seen, reply=Reply.PROOF, answered=1)
        shown = describe_reply(data, probe)
        self.words[seen.port] = "answers STUN" if shown.startswith("a STUN") else shown
        return replace(
            seen, reply=Reply.FOREIGN, shown=shown, interceptor=Interceptor.OTHER_SERVICE, by=None, icmp=None
        )


def _refused(opened: socket.socket, seen: Observation) -> Observation:
    """With the ICMP error that a connected socket met, where the system tells of it."""
    for error in icmp_errors.errors(opened):
        if error and error.refusal:
            return replace(
                seen, reply=Reply.UNREACHABLE, by=error.by, icmp=error.refusal, errors=(seen.errors or 0) + 1
            )
    return seen


class ServiceProbes:
    """The ports that services hold, tried side by side; then the server is asked what it saw of that."""

    def __init__(
        self, target: Target, session: Session, served: Mapping[Transport, Mapping[int, ServiceProtocol]]
    ) -> None:
        self._tcp = _Tcp(target, session, served[Transport.TCP])
        self._udp = _Udp(target, session, served[Transport.UDP])
        self._told: dict[tuple[Transport, int], list[tuple[Try, ServiceReply]]] = {}
        self._tcp.start(list(served[Transport.TCP]))
        self._udp.start(list(served[Transport.UDP]))

    def join(self) -> None:
        """Wait until they are through."""
        self._tcp.join()
        self._udp.join()

    def stop(self) -> None:
        """Begin nothing more."""
        self._tcp.stop()
        self._udp.stop()

    def confirm(self, channel: Channel) -> None:
        """Ask the server what passed its interface; ControlLost."""
        for transport, probes in ((Transport.TCP, self._tcp), (Transport.UDP, self._udp)):
            for port, tries in probes.tries.items():
                seen = fingerprint(self._tcp.certificates.get(port, b"")) if transport is Transport.TCP else ""
                self._told[transport, port] = [
                    (one, channel.ask(AskService(transport, port, one.mark, seen), ServiceReply)) for one in list(tries)
                ]

    def seen(self, transport: Transport) -> dict[int, Observation]:
        """What came of each port, with what the server told."""
        probes = self._udp if transport is Transport.UDP else self._tcp
        return {port: self._joined(one, probes.words[port]) for port, one in probes.seen.items()}

    def _joined(self, seen: Observation, words: str) -> Observation:
        told = self._told.get((seen.transport, seen.port), [])
        asked = [(one, service) for one, service in told if one.asks]
        # What only had to arrive stands for what users send.
        arrived = len(asked) == len(told) or any(service.arrived for one, service in told if not one.asks)
        corroborated = arrived and any(corroborates(service, one.began, one.ended) for one, service in asked)
        seen = replace(seen, service=words[:MAX_WORDS], corroborated=corroborated)
        if seen.transport is Transport.TCP:
            return seen
        left = sum(bool(service.size) for _, service in asked)
        came = sum(service.arrived for _, service in asked) if told else None
        return replace(seen, at_interface=came, at_socket=left, answers_sent=left,  # who answers has read it
                       alive=any(service.alive for _, service in asked))  # fmt: skip

    def notes(self) -> Iterator[str]:
        """What was seen of the services beside their ports."""
        for port, status in self._tcp.signalling.items():
            if status:
                yield (f"An upgrade to a WebSocket on {port}/tcp does not reach LiveKit's signalling ({status}): "
                       "unless this name is for TURN alone, nobody can join a meeting.")  # fmt: skip
            else:
                yield f"An upgrade to a WebSocket on {port}/tcp reaches LiveKit's signalling."
        for (_, port), told in self._told.items():
            if any(service.on_disk is False for _, service in told):
                yield (f"The certificate that {port}/tcp shows is none of those on the server's disk: reload what "
                       "holds the port (`systemctl reload haproxy`).")  # fmt: skip


def corroborates(told: ServiceReply, received: bytes, closed: bool) -> bool:
    """Whether what the client got is what the server saw its service say: so all of it came through, both ways.

    `received` is how the answer began; `closed` says that the connection came to its end without any. An end without
    a word is an answer too: LiveKit's to what is no ICE. A reset is none, since whoever stands between resets as well.
    """
    if not told.arrived:
        return False
    if told.size:
        return hashlib.sha256(received[: told.size]).hexdigest() == told.digest
    return told.closed and closed and not received
