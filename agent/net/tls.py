"""Speak TLS as bytes in and bytes out, and make the contexts of both sides."""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
from dataclasses import dataclass

_CHUNK = 65536


class TlsError(Exception):
    """The other side does not speak TLS as it should, and how; `alert` is what it is still sent."""

    def __init__(self, alert: bytes, error: OSError) -> None:
        super().__init__((getattr(error, "reason", None) or "a broken connection").replace("_", " ").lower())
        self.alert = alert


@dataclass(frozen=True)
class ServerTls:
    """The server's context, and its certificate in DER, which proofs are bound to."""

    context: ssl.SSLContext
    certificate: bytes


def server_tls(pem: bytes) -> ServerTls | None:
    """Return TLS with a key and a certificate in PEM; None where they cannot be read."""
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
        certificate = text[text.index("-----BEGIN CERTIFICATE-----") :]
        return ServerTls(context, ssl.PEM_cert_to_DER_cert(certificate.strip()))
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return None


def client_context() -> ssl.SSLContext:
    """Return the context for any server: its proof says who it is, not its certificate's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def server_name(host: str) -> str | None:
    """Return what a client's hello may name (RFC 6066, section 3): a name, never an address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return None


class Layer:
    """One end of one connection: ciphertext and plaintext as bytes, no socket.

    A client's hello, which may have the server's `name`, is what it has to send after receiving nothing.
    """

    def __init__(self, context: ssl.SSLContext, server_side: bool = False, name: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, name)
        self._shaken = False

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the plaintext that is whole now, and what TLS itself has to send; TlsError."""
        self._incoming.write(data)
        plain = b""
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while chunk := self._tls.read(_CHUNK):
                plain += chunk
        except ssl.SSLWantReadError:
            pass
        except OSError as error:  # ssl.SSLError is one
            raise TlsError(self._outgoing.read(), error) from None
        return plain, self._outgoing.read()

    def send(self, plain: bytes) -> bytes:
        """Return the ciphertext of a plaintext; TlsError."""
        try:
            if plain:
                self._tls.write(plain)
            return self._outgoing.read()
        except OSError as error:
            raise TlsError(b"", error) from None

    @property
    def certificate(self) -> bytes | None:
        """Return the other side's in DER, empty where it has none; None before the handshake is done."""
        return (self._tls.getpeercert(binary_form=True) or b"") if self._shaken else None
