"""One TCP connection of the server, TLS removed: bytes in, commands out."""

from __future__ import annotations

from ..core.errors import DecodeError
from ..core.plan import Transport
from ..protocol import first_bytes, framing, http_proof, stun
from ..protocol.first_bytes import StreamProtocol
from .commands import Send
from .control_channel import ControlChannel
from .probes import ProbeResponder
from .state import Endpoint


class ServerConnection:
    """One TCP connection, TLS removed. Probes and tokens are answered here, and the lines of a check by `control`."""

    def __init__(
        self, number: int, probes: ProbeResponder, client: Endpoint, port: int, accepted: frozenset[int], now: float
    ) -> None:
        self.number, self.client, self.port = number, client, port
        self.control = ControlChannel(number, probes.registry, client[0], accepted, now)
        self._outbox, self._probes = probes.registry.outbox, probes
        self._protocol: StreamProtocol | None = None
        self._request = b""
        self._frames = framing.Frames(stun.MAX_BYTES)

    def receive(self, data: bytes, now: float) -> None:
        """Answer at least one byte."""
        if self.control.closing:
            return
        try:
            self._protocol = self._protocol or first_bytes.detect_protocol(data)
            if self._protocol is StreamProtocol.HTTP:
                self._answer_http(data)
            elif self._protocol is StreamProtocol.FRAMED_STUN:
                answers = (self._probes.answer(packet, self.client, Transport.TCP, self.port)
                           for packet in self._frames.feed(data))  # fmt: skip
                self._send(b"".join(framing.frame(answer) for answer in answers if answer))
            elif self._protocol is StreamProtocol.CONTROL:
                self.control.receive(data, now)
            else:  # whoever runs this removes TLS first, if it can: here it cannot, and says so at once
                self._send(first_bytes.TLS_REFUSAL)
                self.control.close()
        except DecodeError:
            self.control.close()

    def _send(self, data: bytes) -> None:
        if data:
            self._outbox.append(Send(self.number, data))

    def _answer_http(self, data: bytes) -> None:
        self._request += data
        try:
            token = http_proof.decode_request(self._request)
            if token is None:
                return
            body = self._probes.answer_token(token, self.port, self.control.certificate)
        except DecodeError:
            body = None
        self._send(http_proof.encode_answer(body))
        self.control.close()
