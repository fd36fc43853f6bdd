"""What was seen of a client's TCP connections, and how far it says that they came."""

from __future__ import annotations

import ipaddress
from typing import Callable

import pytest

from agent.core.observation import Where
from agent.core.plan import Transport
from agent.packet.ip import ACK, PSH, RST, SYN, Packet
from agent.server import packet_observer
from agent.server.packet_observer import PacketObserver, Progress

HERE, THERE = (ipaddress.ip_address(text).packed for text in ("198.51.100.1", "203.0.113.2"))
Step = Callable[[PacketObserver, int], None]


FIRST = 2**32 - 1  # of the client's sequence numbers: its data begins with 0


def came(flags: int, payload: bytes = b"", port: int = 80, sequence: int = 0) -> Step:
    return lambda one, client: one.on_inbound(
        Packet(Transport.TCP, THERE, client, HERE, port, flags, payload, sequence)
    )


def went(flags: int, payload: bytes = b"") -> Step:
    return lambda one, client: one.on_outbound(Packet(Transport.TCP, HERE, 80, THERE, client, flags, payload))


OPENS, GREETS, BRINGS, ANSWERS = (
    came(SYN, sequence=FIRST),
    went(SYN | ACK),
    came(PSH | ACK, b"x"),
    went(PSH | ACK, b"y"),
)
ACCEPTED: Step = lambda one, client: one.on_progress(80, client, Progress.ACCEPTED)  # noqa: E731 - a step like the others
HEARD: Step = lambda one, client: one.on_progress(80, client, Progress.READ)  # noqa: E731
SAID: Step = lambda one, client: one.on_progress(80, client, Progress.WRITTEN)  # noqa: E731
STRANGER: Step = lambda one, client: one.foreign.add(80)  # noqa: E731


def place(*connections: tuple[Step, ...]) -> str:
    one = PacketObserver()
    for client, steps in enumerate(connections, 40000):
        for step in steps:
            step(one, client)
    return one.places([80])[80]


@pytest.mark.parametrize(
    ("steps", "where"),
    [
        ((), Where.BEFORE_SERVER),
        ((STRANGER,), Where.UNKNOWN),
        ((OPENS,), Where.SERVER_HOST),
        ((STRANGER, OPENS), Where.SERVER_HOST),
        ((OPENS, GREETS), Where.RETURN_PATH),
        ((OPENS, GREETS, came(RST)), Where.RETURN_PATH),  # a client that has given it up
        ((OPENS, GREETS, BRINGS), Where.UNKNOWN),  # somebody else took it
        ((OPENS, GREETS, BRINGS, BRINGS), Where.UNKNOWN),  # and the path lost that he did
        ((OPENS, GREETS, BRINGS, BRINGS, BRINGS), Where.SERVER_HOST),
        (
            (OPENS, GREETS, ACCEPTED, came(PSH | ACK, b"end", sequence=1400)),
            Where.BEFORE_SERVER,
        ),  # too long a beginning
        ((OPENS, GREETS, ACCEPTED), Where.BEFORE_SERVER),
        ((OPENS, GREETS, ACCEPTED, BRINGS), Where.SERVER_HOST),
        ((OPENS, GREETS, ACCEPTED, BRINGS, HEARD), Where.UNKNOWN),
        ((OPENS, GREETS, ACCEPTED, BRINGS, HEARD, SAID), Where.SERVER_HOST),
        ((OPENS, GREETS, ACCEPTED, BRINGS, HEARD, SAID, ANSWERS), Where.RETURN_PATH),
        ((OPENS, GREETS, came(ACK), ACCEPTED), Where.BEFORE_SERVER),
        ((BRINGS, ACCEPTED, HEARD, SAID, ANSWERS), Where.BEFORE_SERVER),  # it was opened before the check: control
    ],
)
def test_how_far_a_connection_came(steps: tuple[Step, ...], where: Where) -> None:
    assert place(steps) == where.value


def test_of_several_connections_the_one_that_came_furthest_tells() -> None:
    assert place((OPENS,), (OPENS, GREETS), (OPENS,)) == Where.RETURN_PATH.value


def test_each_syn_counts_and_each_port_has_its_own() -> None:
    one = PacketObserver()
    for step in (OPENS, OPENS, BRINGS, came(SYN, port=443)):
        step(one, 40000)
    assert one.at_interface[Transport.TCP] == {80: 2, 443: 1}
    assert one.places([80, 443, 7881]) == {80: "server-host", 443: "server-host", 7881: "before-server"}


def test_connections_without_end_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_observer, "MAX_FLOWS", 2)
    one = PacketObserver()
    for client in (1, 2, 3):
        OPENS(one, client)
        GREETS(one, client)
        ACCEPTED(one, client)
    assert len(one._flows) == 2
    came(SYN, port=443)(one, 4)
    assert one.places([443])[443] == "unknown"
    assert one.at_interface[Transport.TCP] == {80: 3, 443: 1}
