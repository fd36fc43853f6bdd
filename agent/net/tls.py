"""TLS: the server's throw-away certificate, and one connection's layer as bytes in and bytes out."""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
from dataclasses import dataclass

_CHUNK = 65536


class TlsError(Exception):
    """The other side does not speak TLS as it should; `alert` is what it is still sent."""

    def __init__(self, alert: bytes) -> None:
        super().__init__("the TLS connection failed")
        self.alert = alert


@dataclass(frozen=True)
class ServerTls:
    """The server's context, and its certificate in DER, which proofs are bound to."""

    context: ssl.SSLContext
    certificate: bytes


def server_tls(pem: bytes) -> ServerTls | None:
    """TLS with a key and a certificate in PEM; None where they cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # The ssl module loads keys from files only: one in a directory that nobody else can enter, for this moment.
        with tempfile.TemporaryDirectory(prefix="pnmcheck-") as folder:
            path = os.path.join(folder, "pem")
            with open(path, "wb") as file:
                file.write(pem)
            context.load_cert_chain(path)
        text = pem.decode("ascii")
        begin = text.index("-----BEGIN CERTIFICATE-----")
        return ServerTls(context, ssl.PEM_cert_to_DER_cert(text[begin:].strip()))
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return None


def client_context() -> ssl.SSLContext:
    """TLS towards any server: who it is, its proof tells, not its certificate's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def server_name(host: str) -> str | None:
    """What a client's hello may name (RFC 6066, section 3): a name, never an address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return None


class ServerLayer:
    """The server's end of one connection: ciphertext and plaintext as bytes, no socket."""

    def __init__(self, tls: ServerTls) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaken = False

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """The plaintext that is whole now, and what to send for the protocol's own sake; TlsError."""
        self._incoming.write(data)
        plain = b""
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while True:
                chunk = self._tls.read(_CHUNK)
                if not chunk:
                    break
                plain += chunk
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, OSError):
            raise TlsError(self._outgoing.read()) from None
        return plain, self._outgoing.read()

    def send(self, plain: bytes) -> bytes:
        """The ciphertext of a plaintext; TlsError."""
        try:
            if plain:
                self._tls.write(plain)
            return self._outgoing.read()
        except (ssl.SSLError, OSError):
            raise TlsError(b"") from None
