"""Questions to services of this machine."""

from __future__ import annotations

import ipaddress
import select
import socket
from typing import Callable

import pytest

from agent.server.local_stun import LocalStunRequest

HERE = ipaddress.ip_address("127.0.0.1").packed
SOON = 10.0


@pytest.mark.parametrize(
    ("reply", "answers"),
    [
        (lambda request: b"\x01\x01" + request[2:], True),
        (lambda request: b"\x01\x01" + request[2:] + b"mapped address", True),
        (lambda request: request[:8] + bytes(12), False),  # another transaction
        (lambda request: b"junk", False),
    ],
)
def test_a_service_answers_with_the_transaction_that_it_was_asked(
    reply: Callable[[bytes], bytes], answers: bool
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.settimeout(SOON)
        service.bind(("127.0.0.1", 0))
        request = LocalStunRequest(HERE, service.getsockname()[1], 5.0)
        with request.socket:
            assert 5.0 < request.deadline <= 5.5
            data, source = service.recvfrom(100)
            assert source[0] == "127.0.0.1"
            service.sendto(reply(data), source)
            assert select.select([request.socket], [], [], SOON)[0]
            assert request.read() is answers


def test_another_machine_is_not_asked() -> None:
    with pytest.raises(OSError, match="address"):
        LocalStunRequest(ipaddress.ip_address("192.0.2.1").packed, 9, 0.0)


def test_a_port_that_is_nobodys_does_not_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    request = LocalStunRequest(HERE, port, 0.0)
    with request.socket:
        select.select([request.socket], [], [], 0.2)
        assert request.read() is False
