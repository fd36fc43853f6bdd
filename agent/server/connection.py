"""One TCP connection of the server, TLS removed: bytes in, commands out."""

from __future__ import annotations

from ..core.address import Address
from ..core.errors import DecodeError
from ..core.plan import Transport
from ..protocol import first_bytes, framing, http_proof, stun
from ..protocol.first_bytes import StreamProtocol
from .commands import Close, Command, Question, Send
from .control_channel import SESSION_SECONDS, ControlChannel
from .probe_responder import ProbeResponder
from .session import Session
from .sessions import SessionRegistry

# A client says hello at once; whoever has not after this is none, even over a bad path.
HELLO_SECONDS = 10.0


class ServerConnection:
    """One TCP connection, TLS removed. What is to be done goes to `outbox`; past `deadline` it is to be closed."""

    def __init__(
        self,
        number: int,
        registry: SessionRegistry,
        responder: ProbeResponder,
        outbox: list[Command],
        client: tuple[Address, int],
        port: int,
        accepted_before: frozenset[int],
        now: float,
    ) -> None:
        self.number, self.client, self.port = number, client, port
        self._registry, self._responder, self._outbox = registry, responder, outbox
        self._accepted_before = accepted_before
        self._certificate = b""  # in DER, of the TLS that was removed, if any: proofs are bound to it
        self._speech: StreamProtocol | None = None
        self._request = b""
        self._frames = framing.Frames(stun.MAX_BYTES)
        self._control: ControlChannel | None = None
        self._hello_ends, self._session_ends = now + HELLO_SECONDS, now + SESSION_SECONDS
        self._closing = False

    @property
    def session(self) -> Session | None:
        """Return the session of which this is the control channel, if any."""
        return self._control.session if self._control else None

    @property
    def deadline(self) -> float:
        """Return when it is to be closed."""
        return self._control.deadline if self._control else self._hello_ends

    def on_tls(self, certificate: bytes) -> None:
        """Take in that the connection's TLS was removed, in which this certificate was shown."""
        self._certificate = certificate

    def receive(self, data: bytes, now: float) -> None:
        """Answer at least one byte."""
        if self._closing or (self._control and self._control.closing):
            return
        try:
            if self._speech is None:
                self._speech = first_bytes.detect_protocol(data)
            if self._speech is StreamProtocol.HTTP:
                self._answer_http(data)
            elif self._speech is StreamProtocol.FRAMED_STUN:
                self._answer_stun(data)
            elif self._speech is StreamProtocol.CONTROL:
                self._answer_control(data, now)
            else:  # whoever runs this removes TLS first, if it can: here it cannot, and says so at once
                self._send(first_bytes.TLS_REFUSAL)
                self._close()
        except DecodeError:
            self._close()

    def on_result(self, question: Question, result: object, now: float) -> None:
        """Go on with the answer that waits for this question's result."""
        if self._control and not self._closing:
            self._control.on_result(question, result, now)

    def on_closed(self) -> None:
        """End the session, if any: the connection is gone."""
        self._closing = True
        if self._control:
            self._control.on_closed()

    def _send(self, data: bytes) -> None:
        if data:
            self._outbox.append(Send(self.number, data))

    def _close(self) -> None:
        self._closing = True
        self._outbox.append(Close(self.number))

    def _answer_http(self, data: bytes) -> None:
        self._request += data
        try:
            token = http_proof.decode_request(self._request)
            if token is None:
                return
            body = self._responder.answer_token(token, self.port, self._certificate)
        except DecodeError:
            body = None
        self._send(http_proof.encode_answer(body))
        self._close()

    def _answer_stun(self, data: bytes) -> None:
        answers = (self._responder.answer(packet, self.client, Transport.TCP, self.port)
                   for packet in self._frames.feed(data))  # fmt: skip
        self._send(b"".join(framing.frame(answer) for answer in answers if answer))

    def _answer_control(self, data: bytes, now: float) -> None:
        if self._control is None:
            self._control = ControlChannel(
                self.number, self._registry, self._outbox, self.client[0], self._accepted_before, self._certificate,
                self._hello_ends, self._session_ends,
            )  # fmt: skip
        self._control.receive(data, now)
