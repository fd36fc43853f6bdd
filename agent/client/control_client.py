"""Speak the client's side of the control channel (agent/protocol/README.md) without a socket: `control` has that."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import NamedTuple, TypeVar

from ..core.address import Family
from ..core.counters import KernelStatus
from ..core.errors import DecodeError, UserError
from ..core.observation import Interceptor
from ..packet import interceptor
from ..protocol import framing, messages, pairing

# Answers kept that came unasked: a server that says more before it is asked makes some up.
MAX_UNASKED = 8
# Bytes kept of what came first: they show who answers, if it is not our server.
MAX_BEGINNING = 65536

Answer = TypeVar("Answer", bound=messages.Message)


class ControlLost(Exception):
    """The server does not answer on the control channel any more."""


class ForeignAnswer(Exception):
    """Something other than the pnmcheck server answers; the text is what it showed, `cdn` that a CDN shows that."""

    def __init__(self, shown: str, cdn: bool = False) -> None:
        super().__init__(shown)
        self.cdn = cdn


class Greeting(NamedTuple):
    """How a client begins: its program's version, the family of the address that it checks, its pairing key if any."""

    program: str
    family: Family
    key: str | None = None


class Peer(NamedTuple):
    """The TCP connection of a control channel: the server's port, its certificate (DER) if it has TLS, our address."""

    port: int
    certificate: bytes = b""
    local: str = ""


class ControlClient:
    """One control channel. First ask `hello`, and send what `receive` returns until there is a `welcome`.

    `nonce` are pairing.NONCE_BYTES of chance, for a greeting that has a key. Times are seconds of one clock. Questions
    may be sent before earlier ones are answered: answers come in the order of the questions.
    """

    def __init__(self, peer: Peer, greeting: Greeting, nonce: bytes = b"") -> None:
        self.peer, self.lost, self.paired = peer, False, False  # paired: the server has proven that it knows the key
        self.moved = False  # this computer no longer has the address that the channel began from
        self.refused: messages.Refusal | None = None  # why the server did not go on
        self.rtts: list[float] = []  # seconds, of every question but pings
        self.to_confirm: tuple[str, ...] = ()  # where the server saw our UDP probes come from
        self.confirmed: set[str] = set()
        self.welcome: messages.Welcome | None = None
        self.secret = ""  # 64 hex digits, of the session that the welcome began
        self.unanswered: deque[float | None] = deque()  # when each question was asked; None for a ping
        self._greeting = greeting
        nonce_word = nonce.hex() if greeting.key else None
        self.hello = messages.Hello(messages.PROTOCOL, greeting.program, greeting.family, nonce_word)
        self._records: pairing.RecordAuthenticator | None = None
        self._lines = framing.Lines()
        self._beginning = b""
        self._answers: deque[bytes] = deque()
        self._kernel: KernelStatus | None = None

    def ask(self, message: messages.Message, now: float) -> bytes:
        """Return the line of a question whose answer `take_answer` will return."""
        self.unanswered.append(now)
        return self._encode(message)

    def ping(self, nonces: tuple[str, ...]) -> bytes:
        """Return a small question that confirms `to_confirm` and `nonces`; `take_kernel` will return its answer."""
        self.unanswered.append(None)
        line = self._encode(messages.AskKernel(self.to_confirm, nonces))
        self.confirmed.update(self.to_confirm)
        self.to_confirm = ()
        return line

    def receive(self, data: bytes, now: float) -> bytes:
        """Take in what came, nothing for the end of it, and return what has to be sent in answer to that.

        Before the welcome it raises UserError where the server refuses, or where what answers cannot be trusted, and
        ForeignAnswer where that is no server of ours. After it such an answer ends the channel: it is `lost`.
        """
        self._beginning += data[: MAX_BEGINNING - len(self._beginning)]
        try:
            if not data:
                raise DecodeError("the end of the stream")
            for line in self._lines.feed(data):
                self._receive_line(self._verified(line), now)
            if self.welcome is None and self._answers:
                return self._greeted(messages.decode(self._answers.popleft()), now)
        except DecodeError:
            if self.welcome is None:
                raise self._foreign() from None
            self.lost = True
        return b""

    def take_answer(self, expected: type[Answer]) -> Answer | None:
        """Return the next answer, None where none has come; ControlLost where it is not of this type, as a refusal."""
        if not self._answers:
            return None
        answer: messages.Message | None = None
        with contextlib.suppress(DecodeError):
            answer = messages.decode(self._answers.popleft())
        if isinstance(answer, expected):
            return answer
        self.refused = answer if isinstance(answer, messages.Refusal) else None
        self.lost = True
        raise ControlLost

    def take_kernel(self) -> KernelStatus | None:
        """Return what the server answered to a ping; None where no answer has come since the last call."""
        kernel, self._kernel = self._kernel, None
        return kernel

    def _encode(self, message: messages.Message) -> bytes:
        line = messages.encode(message)
        return self._records.sign(line) if self._records else line

    def _verified(self, line: bytes) -> bytes:
        """Return a line without its MAC; DecodeError. A server that cannot verify ours says so in the clear."""
        if self._records is None:
            return line
        try:
            plain = self._records.verify(line)
            self.paired = True
            return plain
        except DecodeError:
            if self.paired or not isinstance(messages.decode(line), messages.Refusal):
                raise
            return line

    def _receive_line(self, line: bytes, now: float) -> None:
        unasked = not self.unanswered
        at = None if unasked else self.unanswered.popleft()
        if unasked and len(self._answers) >= MAX_UNASKED:
            raise DecodeError("answers that nobody asked for")
        if at is not None:
            self.rtts.append(now - at)
        if unasked or at is not None:
            self._answers.append(line)
            return
        pong = messages.decode(line)
        if not isinstance(pong, messages.KernelReply):
            self.refused = pong if isinstance(pong, messages.Refusal) else None
            raise DecodeError("an answer to another question")
        self._kernel = pong.kernel
        # Only new ones, and not for ever: a server that makes some up would have us ping without a pause.
        if len(self.confirmed) < messages.MAX_SOURCES:
            self.to_confirm = tuple(address for address in pong.other_sources if address not in self.confirmed)

    def _greeted(self, answer: messages.Message, now: float) -> bytes:
        """Go on with the answer to the hello, or to the proof."""
        key = self._greeting.key
        if key and self._records is None and isinstance(answer, messages.Challenge):
            if self._answers:  # nothing verified them: they must not stand for what the server says after the proof
                raise DecodeError("answers that nobody asked for")
            keys = messages.session_keys(key, self.hello, answer)
            self.secret, self._records = keys.secret, pairing.RecordAuthenticator(keys.client, keys.server)
            return self.ask(messages.Proof(pairing.fingerprint(self.peer.certificate)), now)
        self._refuse_interception(answer)
        if isinstance(answer, messages.Refusal):
            raise UserError(answer.code, "The server refused this check", answer.message, answer.hint)
        if key and not self.paired:
            raise UserError("wrong-key", "What answers there does not know the pairing key", self._certificate_names(),
                            "check that address and key are those that the server shows")  # fmt: skip
        secret = self.secret or (isinstance(answer, messages.Welcome) and answer.secret)
        if not isinstance(answer, messages.Welcome) or not secret:
            raise ForeignAnswer("an answer that is no welcome")
        self.welcome, self.secret = answer, secret
        return b""

    def _refuse_interception(self, answer: messages.Message) -> None:
        """Raise UserError where the server's certificate is not the one that this client was shown."""
        shown = pairing.fingerprint(self.peer.certificate)
        refused = isinstance(answer, messages.Refusal) and answer.code == messages.INTERCEPTED
        another = isinstance(answer, messages.Welcome) and answer.certificate != shown
        if self.paired and (refused or another):
            raise UserError(
                messages.INTERCEPTED,
                "A machine between this computer and the server opens the connection",
                f"it presents its own certificate: {self._certificate_names()}" if shown else "it stripped TLS",
                "do not trust this path; run the check from another network",
            )

    def _foreign(self) -> ForeignAnswer:
        """Return what these bytes, which no server of ours sends, show of who sent them."""
        if not self._beginning:
            return ForeignAnswer("closed the connection")
        who = interceptor.identify(self._beginning, "", self.peer.certificate)
        return ForeignAnswer(who.shown, who.kind is Interceptor.CDN)

    def _certificate_names(self) -> str:
        """Return whom the other side's certificate names, if it showed one."""
        certificate = self.peer.certificate
        return interceptor.identify(b"", "", certificate).shown if certificate else ""
