"""One TCP connection of the server, TLS taken off: bytes in, bytes out."""

from __future__ import annotations

from typing import Callable

from ..core import report_json
from ..core.address import Address
from ..core.errors import DecodeError
from ..core.events import ClientRefused, ReportReceived
from ..core.plan import Transport
from ..core.report import Problem
from ..protocol import first_bytes, framing, http_proof, messages, pairing, stun
from ..protocol.first_bytes import StreamProtocol
from .sessions import Session, SessionRegistry

# A client says hello at once; whoever has not after this is none, even over a bad path.
HELLO_SECONDS = 10.0
# The longest silence within a check is its sweep, three minutes at most; and a laptop may sleep for one.
IDLE_SECONDS = 300.0
# A session's at most: a host of four addresses takes a quarter of an hour where every sweep takes its full time.
SESSION_SECONDS = 1800.0
# The line that says hello: it has a hundred bytes, and a later version's may have more.
MAX_HELLO = 2048

_OWN_CLIENT = "use pnmcheck's own client"
_NO_HELLO = messages.Refusal("order", "the client asked before it said hello", _OWN_CLIENT)
_NO_QUESTION = messages.Refusal("order", "the client sent what only a server says", _OWN_CLIENT)
# One question at a time: a piece full of them would keep the server busy for seconds.
_IMPATIENT = messages.Refusal("order", "the client asked again before it was answered", _OWN_CLIENT)
_LONG_REPORT = messages.Refusal("report", "the client's report is too long, or not in full parts of ASCII", _OWN_CLIENT)
_ONE_REPORT = messages.Refusal("order", "the client handed over a second report", _OWN_CLIENT)
# A session has each once, and in their order: to change them takes a tenth of a second of the server's.
_NO_PART = messages.Refusal("crowded", "the client asked too often for parts of the ports", "try again in a minute")
_KEY_NEEDED = messages.Refusal(
    "key-needed",
    "this server checks only with its pairing key",
    "take the command that the server shows, --key and all",
)
_NO_KEY = messages.Refusal(
    "no-key", "this server has no pairing key", "start it with `server --key` and this key, or check without --key"
)
_WRONG_KEY = messages.Refusal(
    "wrong-key", "that is not this server's pairing key", "copy the key that the server shows"
)


_ANOTHER_PATH = "trust nothing on that path; check by another one"
_CHANGED = messages.Refusal(
    messages.INTERCEPTED, "somebody between the client and this server changes what it says", _ANOTHER_PATH
)


def _intercepted(seen: str, mine: str) -> messages.Refusal:
    """Somebody on the way ends the client's TLS and begins his own."""
    both = (f"the certificate {one[:16]}..." if one else "no certificate" for one in (seen, mine))
    what = "somebody between the client and this server opens their connection: the client saw {}, this server has {}"
    return messages.Refusal(messages.INTERCEPTED, what.format(*both), _ANOTHER_PATH)


class ServerConnection:
    """One TCP connection, TLS taken off: bytes in, bytes out. `closing` says that nothing more will be said."""

    def __init__(
        self,
        desk: SessionRegistry,
        client: tuple[Address, int],
        port: int,
        now: float,
        let_in: frozenset[int] = frozenset(),
    ) -> None:
        self._desk, self._client, self._port, self._let_in = desk, client, port, let_in
        self.certificate = b""  # in DER, of the TLS that was taken off, if any: proofs are bound to it
        self._speech: StreamProtocol | None = None
        self._request = b""
        self._frames = framing.Frames(stun.MAX_BYTES)
        self._lines = framing.Lines(MAX_HELLO)
        self._session: Session | None = None
        self._hello: messages.Hello | None = None  # which was challenged
        self._keys: pairing.Keys | None = None
        self._seals: pairing.RecordAuthenticator | None = None
        self.deadline, self._ends = now + HELLO_SECONDS, now + SESSION_SECONDS
        self.closing = False

    @property
    def has_session(self) -> bool:
        """Whether this is the control channel of a running check."""
        return self._session is not None

    def heard(self) -> None:
        """Something was read, TLS or not."""
        self._desk.heard(self._client, self._port)

    def said(self) -> None:
        """Something was written, TLS or not."""
        self._desk.said(self._client, self._port)

    def receive(self, data: bytes, now: float) -> bytes:
        """What to send in answer to at least one byte."""
        try:
            if self._speech is None:
                self._speech = first_bytes.detect_protocol(data)
            return self._answers()[self._speech](data, now)
        except DecodeError:
            self.closing = True
            return b""

    def closed(self) -> None:
        """The connection is gone."""
        if self._session:
            self._desk.close(self._session)
            self._session = None

    def _answers(self) -> dict[StreamProtocol, Callable[[bytes, float], bytes]]:
        return {
            StreamProtocol.HTTP: self._answer_http,
            StreamProtocol.FRAMED_STUN: self._answer_stun,
            StreamProtocol.CONTROL: self._answer_control,
            StreamProtocol.TLS: self._refuse_tls,
        }

    def _refuse_tls(self, data: bytes, now: float) -> bytes:
        # Whoever runs this conversation takes TLS off first, if it can: here it cannot, and says so at once.
        self.closing = True
        return first_bytes.TLS_REFUSAL

    def _answer_http(self, data: bytes, now: float) -> bytes:
        self._request += data
        try:
            token = http_proof.decode_request(self._request)
            if token is None:
                return b""
            body = self._desk.token(token, self._port, self.certificate)
        except DecodeError:
            body = None
        self.closing = True
        return http_proof.encode_answer(body)

    def _answer_stun(self, data: bytes, now: float) -> bytes:
        answers = (self._desk.probe(packet, self._client, Transport.TCP, self._port)
                   for packet in self._frames.feed(data))  # fmt: skip
        return b"".join(framing.frame(answer) for answer in answers if answer)

    def _answer_control(self, data: bytes, now: float) -> bytes:
        lines = self._lines.feed(data)
        if not lines:
            return b""
        if self._keys and not self._seals:
            self._seals = pairing.RecordAuthenticator(self._keys.server, self._keys.client)
        answer = messages.encode(self._refuse(_IMPATIENT) if len(lines) > 1 else self._answer_line(lines[0]))
        if self._session:
            self.deadline = min(now + IDLE_SECONDS, self._ends)
        return self._seals.sign(answer) if self._seals else answer

    def _answer_line(self, line: bytes) -> messages.Message:
        if self._seals:
            try:
                line = self._seals.verify(line)
            except DecodeError:
                if self._seals.peer_verified:
                    return self._refuse(_CHANGED)
                self._seals = None  # the other side could not open what this one seals
                return self._refuse(_WRONG_KEY)
        return self._answer(messages.decode(line))

    def _answer(self, message: messages.Message) -> messages.Message:
        session = self._session
        if session is None:
            if isinstance(message, messages.Hello) and self._hello is None:
                return self._greet(message)
            if isinstance(message, messages.Proof) and self._hello and self._keys:
                return self._check(message, self._hello, self._keys)
            return self._refuse(_NO_HELLO)
        if isinstance(message, messages.AskRows):
            return self._desk.rows(session, message)
        if isinstance(message, messages.AskKernel):
            session.sources.confirm(message.confirmed_sources, message.nonces)
            return messages.KernelReply(self._desk.kernel(session), session.sources.unconfirmed)
        if isinstance(message, messages.AskService):
            return self._desk.service(session, message)
        if isinstance(message, messages.BindPartition):
            return messages.PartitionBound() if self._desk.take(session, message.part) else self._refuse(_NO_PART)
        if isinstance(message, messages.ReportPart):
            return self._take(session, message)
        if isinstance(message, messages.Bye):
            self.closing = session.finished = True
            return messages.Bye()
        return self._refuse(_NO_QUESTION)

    def _greet(self, hello: messages.Hello) -> messages.Message:
        if hello.protocol != messages.PROTOCOL:
            mine = messages.PROTOCOL, self._desk.program
            return self._refuse(messages.version_refusal(*mine, hello.protocol, hello.program))
        key = self._desk.key
        if key is None:
            return self._refuse(_NO_KEY) if hello.nonce else self._welcome(hello)
        if hello.nonce is None:
            return self._refuse(_KEY_NEEDED)
        challenge = messages.Challenge(self._desk.draw(pairing.NONCE_BYTES).hex())
        self._hello, self._keys = hello, messages.session_keys(key, hello, challenge)
        return challenge

    def _check(self, proof: messages.Proof, hello: messages.Hello, keys: pairing.Keys) -> messages.Message:
        mine = pairing.fingerprint(self.certificate)
        if proof.certificate != mine:
            return self._refuse(_intercepted(proof.certificate, mine))
        return self._welcome(hello, keys.secret)

    def _welcome(self, hello: messages.Hello, secret: str | None = None) -> messages.Message:
        desk, client = self._desk, self._client[0]
        session = desk.open(client, hello.family, self._let_in, secret)
        if session is None:
            why = desk.crowded(client, paired=secret is not None)
            return self._refuse(messages.Refusal("crowded", why, "try again in a minute"))
        self._session, self._lines.most = session, framing.MAX_LINE
        return messages.Welcome(
            messages.PROTOCOL, desk.program, session.id, None if secret else session.key.decode(), desk.plan, desk.tls,
            desk.wildcard_bind, str(session.client), desk.capture, session.flows,
            pairing.fingerprint(self.certificate), desk.live,
        )  # fmt: skip

    def _take(self, session: Session, part: messages.ReportPart) -> messages.Message:
        if session.finished:
            return self._refuse(_ONE_REPORT)
        session.report.append(part.text)
        session.report_size += len(part.text)
        # All parts but the last are full, or crumbs of them would take more memory than their text.
        # And they are ASCII: other text takes up to four bytes a character.
        crumb = not part.last and len(part.text) < messages.MAX_REPORT_PART
        if crumb or not part.text.isascii() or session.report_size > messages.MAX_REPORT:
            return self._refuse(_LONG_REPORT)
        if part.last:
            try:
                report = report_json.decode("".join(session.report))
            except DecodeError as error:
                return self._refuse(
                    messages.Refusal("report", f"the client's report cannot be read: {error}", "use the same version")
                )
            session.report.clear()
            session.finished = True
            self._desk.give_back()
            self._desk.events.append(ReportReceived(session.client, report, session.watch.arrival))
        return messages.Received()

    def _refuse(self, refusal: messages.Refusal) -> messages.Refusal:
        self.closing = True
        self._desk.events.append(ClientRefused(self._client[0], Problem(refusal.code, refusal.message, refusal.hint)))
        return refusal
