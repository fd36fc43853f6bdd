"""One TCP connection of the server, TLS removed, and its control channel if it is one: bytes in, commands out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Generator

from ..core import report_json
from ..core.address import Address
from ..core.errors import DecodeError
from ..core.events import ClientRefused, ReportReceived
from ..core.plan import Transport
from ..core.report import Problem
from ..protocol import first_bytes, framing, http_proof, messages, pairing, stun
from ..protocol.messages import INTERCEPTED, Refusal
from .commands import AskLocalStun, BindPartition, CatchUp, Close, Emit, Question, ReadCounters, Send
from .probes import ProbeResponder
from .sessions import Session, SessionRegistry
from .state import Endpoint, Measurement

# A client says hello at once; whoever has not after this is none, even over a bad path.
HELLO_SECONDS = 10.0
# The longest silence within a check is its sweep, three minutes at most; and a laptop may sleep for one.
IDLE_SECONDS = 300.0
# A session's at most: a host of four addresses takes a quarter of an hour where every sweep takes its full time.
SESSION_SECONDS = 1800.0
# The line that says hello: it has a hundred bytes, and a later version's may have more.
MAX_HELLO = 2048

_OWN_CLIENT = "use pnmcheck's own client"
_ANOTHER_PATH = "do not trust this path; run the check from another network"

# What answers a line: it yields what it has to know, is sent that, and returns the answer.
_Answering = Generator[Question, Any, messages.Message]


class ControlChannel:
    """What a client asks and is answered, line by line, and its session; past `deadline` the connection is closed."""

    def __init__(
        self, number: int, registry: SessionRegistry, client: Address, accepted_before: frozenset[int], now: float
    ) -> None:
        self._number, self._registry, self._outbox, self._client = number, registry, registry.outbox, client
        self._accepted_before = accepted_before
        self.certificate = b""  # in DER, of the TLS that was removed, if any: proofs are bound to it
        self._lines = framing.Lines(MAX_HELLO)
        self._challenged: tuple[messages.Hello, str] | None = None  # and the secret that its session will have
        self._authenticator: pairing.RecordAuthenticator | None = None
        self._answering: _Answering | None = None
        self._question: Question | None = None  # which the answer waits for
        self.session: Session | None = None
        self.closing = False  # nothing more will be said
        self.deadline, self._session_ends = now + HELLO_SECONDS, now + SESSION_SECONDS

    def receive(self, data: bytes, now: float) -> None:
        """Answer what comes, once it is a line; DecodeError where it can be none."""
        lines = self._lines.feed(data)
        if len(lines) > 1 or (lines and self._question):
            # One question at a time: a piece full of them would keep the server busy for seconds.
            self._say(self._refuse("order", "the client asked again before it was answered"), now)
        elif lines:
            self._answering = self._answer_line(lines[0], now)
            self._go_on(None, now)

    def on_result(self, question: Question, result: object, now: float) -> None:
        """Go on with the answer that waits for this question's result."""
        if question is self._question and not self.closing:
            self._go_on(result, now)

    def close(self) -> None:
        """Have the connection closed once all is sent."""
        self.closing = True
        self._outbox.append(Close(self._number))

    def _go_on(self, result: object, now: float) -> None:
        assert self._answering
        try:
            self._question = self._answering.send(result)
            self._outbox.append(self._question)
        except StopIteration as end:
            self._question = None
            self._say(end.value, now)

    def _say(self, message: messages.Message, now: float) -> None:
        line = messages.encode(message)
        if self._authenticator and not isinstance(message, messages.Challenge):
            line = self._authenticator.sign(line)
        self._outbox.append(Send(self._number, line))
        if self.session:
            self.deadline = min(now + IDLE_SECONDS, self._session_ends)
        if isinstance(message, (Refusal, messages.Bye)):
            self.close()

    def _answer_line(self, line: bytes, now: float) -> _Answering:
        if self._authenticator:
            try:
                line = self._authenticator.verify(line)
            except DecodeError:
                if self._authenticator.peer_verified:
                    changed = "a machine between the client and this server changes their messages"
                    return self._refuse(INTERCEPTED, changed, _ANOTHER_PATH)
                self._authenticator = None  # the other side could not verify what this one signs
                wrong = "that is not this server's pairing key"
                return self._refuse("wrong-key", wrong, "copy the key that the server shows")
        message = messages.decode(line)
        if self.session:
            return (yield from self._answer(message, self.session, now))
        if isinstance(message, messages.Hello) and self._challenged is None:
            return (yield from self._greet(message))
        if isinstance(message, messages.Proof) and self._challenged:
            own = pairing.fingerprint(self.certificate)
            if message.certificate != own:  # a machine on the path ends its TLS
                theirs, ours = (f"the certificate {shown[:16]}..." if shown else "no certificate"
                                for shown in (message.certificate, own))  # fmt: skip
                between = "a machine between the client and this server decrypts their connection"
                text = f"{between}: the client saw {theirs}, this server has {ours}"
                return self._refuse(INTERCEPTED, text, _ANOTHER_PATH)
            return (yield from self._welcome(*self._challenged))
        return self._refuse("order", "the client asked before it said hello")

    def _answer(self, message: messages.Message, session: Session, now: float) -> _Answering:
        if isinstance(message, messages.AskRows):
            yield CatchUp(self._number)
            measurement = session.at_start
            if (message.table, message.transport) == (messages.PortTable.RECEIVE_DROPS, Transport.UDP):
                measurement = yield ReadCounters(self._number)
                # A socket's count has what its filter dropped, too: that is all of it where no receive buffer was full.
                if session.counters(measurement).receive_errors != 0:
                    measurement = yield ReadCounters(self._number, receive_drops=True)
            return session.rows(message, self._registry.settings, self._registry.ports, measurement)
        if isinstance(message, messages.AskKernel):
            session.sources.confirm(message.confirmed_sources, message.nonces)
            measurement = yield ReadCounters(self._number)
            return messages.KernelReply(self._registry.kernel(session, measurement), session.sources.unconfirmed)
        if isinstance(message, messages.AskService):
            return (yield from self._answer_service(message, session))
        if isinstance(message, messages.BindPartition):
            # A session has each once, and in their order: to change them takes a tenth of a second of the server's.
            if not self._registry.may_bind(session, message.part, now):
                asked = "the client asked too often to have media ports bound"
                return self._refuse("crowded", asked, "try again in a minute")
            yield BindPartition(self._number, message.part)
            return messages.PartitionBound()
        if isinstance(message, messages.ReportPart):
            return self._take_report(session, message)
        if isinstance(message, messages.Bye):
            session.finished = True
            return messages.Bye()
        return self._refuse("order", "the client sent what only a server says")

    def _answer_service(self, ask: messages.AskService, session: Session) -> _Answering:
        """Say what passed the interface at a port that a service holds, in the client's flow that has this mark."""
        yield CatchUp(self._number)
        service, arrival = session.service_flows.find(ask), session.observer.arrival
        silent = ask.transport is Transport.UDP and service.arrived and not service.size
        if silent and arrival and self._registry.ports.is_served(Transport.UDP, ask.port):
            if ask.port not in session.local_answers:  # a question to the service, so not as often as the client likes
                answers = yield AskLocalStun(self._number, arrival.address, ask.port)
                session.local_answers[ask.port] = answers
            service = replace(service, alive=session.local_answers[ask.port])
        known = self._registry.ports.certificates.get(ask.port) if ask.certificate else None
        return replace(service, on_disk=ask.certificate in known) if known else service

    def _greet(self, hello: messages.Hello) -> _Answering:
        settings = self._registry.settings
        if hello.protocol != messages.PROTOCOL:
            refusal = messages.version_refusal(messages.PROTOCOL, settings.program, hello.protocol, hello.program)
            return self._refuse(refusal.code, refusal.message, refusal.hint)
        if hello.nonce is None and settings.key is None:
            return (yield from self._welcome(hello))
        if settings.key is None:
            hint = "start it with `server --key` and this key, or check without --key"
            return self._refuse("no-key", "this server has no pairing key", hint)
        if hello.nonce is None:
            hint = "run the command that the server shows, with its --key"
            return self._refuse("key-needed", "this server accepts only clients with its pairing key", hint)
        challenge = messages.Challenge(self._registry.random_bytes(pairing.NONCE_BYTES).hex())
        keys = messages.session_keys(settings.key, hello, challenge)
        self._challenged = hello, keys.secret
        self._authenticator = pairing.RecordAuthenticator(keys.server, keys.client)
        return challenge

    def _welcome(self, hello: messages.Hello, secret: str | None = None) -> _Answering:
        registry, client, measurement = self._registry, self._client, Measurement()
        if not registry.refusal_reason(client, paired=secret is not None):  # else nothing is read in vain
            measurement = yield ReadCounters(self._number, receive_drops=True)
        reason = registry.refusal_reason(client, paired=secret is not None)
        if reason:
            return self._refuse("crowded", reason, "try again in a minute")
        session = registry.open(client, hello.family, self._accepted_before, secret, measurement)
        self.session, self._lines.most = session, framing.MAX_LINE
        settings = registry.settings
        return messages.Welcome(
            messages.PROTOCOL, settings.program, session.id, None if secret else session.key.decode(), settings.plan,
            settings.tls, settings.wildcard_bind, str(client), settings.capture, session.flow_quota,
            pairing.fingerprint(self.certificate), settings.live,
        )  # fmt: skip

    def _take_report(self, session: Session, part: messages.ReportPart) -> messages.Message:
        if session.finished:
            return self._refuse("order", "the client handed over a second report")
        session.report.append(part.text)
        # All parts but the last are full, or crumbs of them would take more memory than their text.
        # And they are ASCII: other text takes up to four bytes a character.
        crumb = not part.last and len(part.text) < messages.MAX_REPORT_PART
        if crumb or not part.text.isascii() or sum(map(len, session.report)) > messages.MAX_REPORT:
            return self._refuse("report", "the client's report is too long, or not in full parts of ASCII")
        if part.last:
            try:
                report = report_json.decode("".join(session.report))
            except DecodeError as error:
                return self._refuse("report", f"the client's report cannot be read: {error}", "use the same version")
            session.report.clear()
            session.finished = True
            self._registry.release_partitions()
            self._outbox.append(Emit(ReportReceived(session.client, report, session.observer.arrival)))
        return messages.Received()

    def _refuse(self, code: str, message: str, hint: str = _OWN_CLIENT) -> Refusal:
        self._outbox.append(Emit(ClientRefused(self._client, Problem(code, message, hint))))
        return Refusal(code, message, hint)


class ServerConnection:
    """One TCP connection, TLS removed. Probes and tokens are answered here, and the lines of a check by `control`."""

    def __init__(
        self, number: int, probes: ProbeResponder, client: Endpoint, port: int, accepted: frozenset[int], now: float
    ) -> None:
        self.number, self.client, self.port = number, client, port
        self.control = ControlChannel(number, probes.registry, client[0], accepted, now)
        self._outbox, self._probes = probes.registry.outbox, probes
        self._protocol: first_bytes.StreamProtocol | None = None
        self._request = b""
        self._frames = framing.Frames(stun.MAX_BYTES)

    def receive(self, data: bytes, now: float) -> None:
        """Answer at least one byte."""
        if self.control.closing:
            return
        try:
            self._protocol = self._protocol or first_bytes.detect_protocol(data)
            if self._protocol is first_bytes.StreamProtocol.HTTP:
                self._answer_http(data)
            elif self._protocol is first_bytes.StreamProtocol.FRAMED_STUN:
                for packet in self._frames.feed(data):
                    answer = self._probes.answer(packet, self.client, Transport.TCP, self.port)
                    if answer:
                        self._outbox.append(Send(self.number, framing.frame(answer)))
            elif self._protocol is first_bytes.StreamProtocol.CONTROL:
                self.control.receive(data, now)
            else:  # whoever runs this removes TLS first, if it can: here it cannot, and says so at once
                self._outbox.append(Send(self.number, first_bytes.TLS_REFUSAL))
                self.control.close()
        except DecodeError:
            self.control.close()

    def _answer_http(self, data: bytes) -> None:
        self._request += data
        try:
            token = http_proof.decode_request(self._request)
            if token is None:
                return
            body = self._probes.answer_token(token, self.port, self.control.certificate)
        except DecodeError:
            body = None
        self._outbox.append(Send(self.number, http_proof.encode_answer(body)))
        self.control.close()
