"""The connections of a server: what each tells the sessions of its address."""

from __future__ import annotations

import ipaddress

import pytest

from agent.core.address import Address, Family
from agent.core.counters import Counters, KernelStatus
from agent.protocol.messages import PortTable
from tests.server.memory import (
    CLIENT,
    HELLO,
    HERE,
    STRANGER,
    TCP,
    MemoryServer,
    lines,
    make_session,
    say,
    told,
)

# Limits, by their numbers: who changes one changes it here too.
KEPT_SECONDS = 60.0


def test_connections_count_for_the_sessions_from_that_address() -> None:
    server = MemoryServer()
    mine, other = make_session(server), server.open(STRANGER, Family.IPV6)
    server.connect()
    server.connect()
    assert other
    assert (mine.connections, other.connections) == ({80: 2}, {})


def test_ports_that_a_client_used_are_kept_while_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.server.core.MAX_CLIENTS", 2)
    server = MemoryServer()
    there = ipaddress.ip_address("192.0.2.10")

    def connect(port: int, now: float, client: Address = CLIENT, here: Address = HERE[0]) -> list[int]:
        number = next(server.numbers)
        server.perform(server.core.connected(number, (client, 40000), (here, port), now))
        server.perform(server.core.received(number, lines(HELLO), now))
        (session,) = server.sessions.values()
        server.perform(server.core.closed(number))
        return sorted(session.accepted_before)

    assert connect(80, 0) == [80]
    assert connect(443, KEPT_SECONDS) == [80, 443]
    assert connect(443, 2 * KEPT_SECONDS) == [80, 443]
    assert connect(443, 2 * KEPT_SECONDS, here=there) == [443]  # another address has firewalls of its own
    assert connect(7881, 3.1 * KEPT_SECONDS) == [7881]
    assert connect(80, 3.1 * KEPT_SECONDS, client=STRANGER) == [80]
    assert connect(443, 3.1 * KEPT_SECONDS, client=STRANGER, here=there) == [443]
    assert connect(443, 3.1 * KEPT_SECONDS) == [443]  # more than it remembers


def test_a_client_learns_which_ports_accepted_it_before() -> None:
    server = MemoryServer()
    say(server.connect(), HELLO)
    server.connect(port=81, now=1.0)
    (session,) = server.sessions.values()
    assert told(server, session, PortTable.ACCEPTED_BEFORE, TCP) == {"80": 1}
    assert told(server, session, PortTable.ACCEPTED_BEFORE) == {}


def test_a_displaced_connection_is_told_to_the_sessions_of_its_address() -> None:
    server = MemoryServer(kernel=[KernelStatus(counters=Counters(listen_drops=2))] * 3)
    session = make_session(server)
    server.core._displace((0, STRANGER))
    assert server.kernel(session).counters.listen_drops == 0
    server.core._displace((0, CLIENT))
    assert server.kernel(session).counters.listen_drops == 1
    assert server.kernel(session).counters.listen_drops == 1  # of no kernel
