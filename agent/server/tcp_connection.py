"""The socket of one TCP connection of the server, and its TLS."""

from __future__ import annotations

import socket

from ..core.errors import DecodeError
from ..net import tls
from ..protocol import first_bytes

_CHUNK = 65536


class TcpConnection:
    """One accepted connection: what it brings comes out in the clear, and what is sent goes out in its TLS, if any."""

    def __init__(self, number: int, opened: socket.socket, secure: tls.ServerTls | None) -> None:
        self.number, self.socket = number, opened
        self._secure = secure
        self._layer: tls.Layer | None = None
        self._unsent = b""
        self._ended = False
        self.bytes_read = self.bytes_written = 0

    @property
    def has_unsent(self) -> bool:
        """Return whether something waits to be sent."""
        return bool(self._unsent)

    @property
    def finished(self) -> bool:
        """Return whether all has been said and sent."""
        return self._ended and not self._unsent

    def read(self) -> bytes:
        """Return what came, as it came; ConnectionError where the peer is gone."""
        data = self.socket.recv(_CHUNK)
        if not data:
            raise ConnectionResetError
        self.bytes_read += len(data)
        return data

    def start_tls(self, data: bytes) -> bytes | None:
        """Speak TLS where the first bytes are those of TLS; return the certificate that is shown then."""
        try:
            if not self._secure or first_bytes.detect_protocol(data) is not first_bytes.StreamProtocol.TLS:
                return None
        except DecodeError:
            return None
        self._layer = tls.Layer(self._secure.context, server_side=True)
        return self._secure.certificate

    def decrypt(self, data: bytes) -> bytes:
        """Return what came in the clear, if anything."""
        if not self._layer:
            return data
        try:
            plain, out = self._layer.receive(data)
        except tls.TlsError as error:
            plain, out = b"", error.alert
            self._ended = True
        self._unsent += out
        return plain

    def queue(self, data: bytes) -> None:
        """Have data in the clear sent when the peer takes it; nothing where all is said, or where TLS broke."""
        if not self._ended:
            self._unsent += self._layer.send(data) if self._layer else data

    def end(self) -> None:
        """Have nothing more sent after what is queued."""
        self._ended = True

    def write(self) -> None:
        """Send what the peer takes; OSError where it is gone, BlockingIOError where it takes nothing."""
        sent = self.socket.send(self._unsent)
        self.bytes_written += sent
        self._unsent = self._unsent[sent:]

    def close(self) -> None:
        """Close the socket, with a FIN."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.socket.close()
