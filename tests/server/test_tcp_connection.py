"""A TCP connection of the server whose TLS ends otherwise than it should."""

from __future__ import annotations

import socket

import pytest

from agent.net import tls
from agent.server.tcp_connection import TcpConnection
from agent.system.certificate import make_certificate

BROKEN_RECORD = b"\x17\x03\x03\x00\x20" + b"x" * 32


def test_what_is_said_after_tls_broke_is_dropped_and_only_the_alert_is_sent() -> None:
    pem = make_certificate()
    secure = tls.server_tls(pem) if pem else None
    assert secure, "needs the openssl program"
    layer = tls.Layer(tls.client_context())
    ours, peer = socket.socketpair()
    with ours, peer:
        connection = TcpConnection(1, ours, secure)
        flight = layer.receive(b"")[1]
        assert connection.start_tls(flight)
        for _ in range(2):  # the two flights of the handshake
            connection.decrypt(flight)
            connection.write()
            flight = layer.receive(peer.recv(65536))[1]
        connection.decrypt(BROKEN_RECORD)
        connection.queue(b"late")
        connection.write()
        assert connection.finished
        with pytest.raises(tls.TlsError, match="alert bad record mac"):
            layer.receive(peer.recv(65536))
