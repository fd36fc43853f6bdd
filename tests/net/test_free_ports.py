"""Runs of free ports among ports that other programs use."""

from __future__ import annotations

import random
import socket

import pytest

from agent.core.plan import Transport
from agent.core.ports import PortRange
from agent.net import free_ports

HERE = "127.0.0.1"


@pytest.mark.parametrize(
    ("busy", "run"),
    [
        ({*range(10_000, 20_000, 100), *range(30_000, 65_536, 100)}, PortRange(19_901, 29_901)),
        ({*range(10_000, 32_000, 9)}, PortRange(31_997, 41_997)),
        ({*range(10_000, 65_536)} - {15_000, 15_001, 20_000}, PortRange(15_000, 15_001)),
        ({*range(10_000, 65_536)}, None),
    ],
    ids=["room for all", "room above", "room for two", "no room"],
)
def test_the_longest_run_that_is_needed(monkeypatch: pytest.MonkeyPatch, busy: set[int], run: PortRange | None) -> None:
    monkeypatch.setattr(free_ports, "_is_free", lambda transport, host, port: port not in busy)
    for start in (10_000, 15_000, 21_998):
        monkeypatch.setattr(random, "randrange", lambda *ends, start=start: start)
        found = free_ports.find_free_run(Transport.UDP, HERE, 10_001)
        assert found == run


@pytest.mark.parametrize(("transport", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_a_port_in_use_is_not_free(transport: str, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as opened:
        opened.bind((HERE, 0))
        assert not free_ports._is_free(Transport(transport), HERE, opened.getsockname()[1])
