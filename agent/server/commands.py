"""What the server's core asks the loop to do. `connection` is the number that the loop gave a TCP connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from ..core.address import Address
from ..core.events import Event


@dataclass(frozen=True)
class Send:
    """Send this on a TCP connection."""

    connection: int
    data: bytes


@dataclass(frozen=True)
class Close:
    """Close a TCP connection once all is sent."""

    connection: int


@dataclass(frozen=True)
class Abort:
    """Close a TCP connection at once, whatever waits to be sent."""

    connection: int


@dataclass(frozen=True)
class Emit:
    """Tell the operator what happened."""

    event: Event


@dataclass(frozen=True)
class WatchClient:
    """Of TCP, capture only what is between this client and the ports: other people's calls may be very many."""

    client: Address | None  # None: nobody's


@dataclass(frozen=True)
class ReleasePartitions:
    """Close the ports of every partition: no check needs them any more."""


@dataclass(frozen=True, eq=False)
class CatchUp:
    """Hand in all datagrams and packets that wait; the result is None."""

    connection: int


@dataclass(frozen=True, eq=False)
class ReadCounters:
    """Read the kernel's counters, and where it says so each socket's too; the result is a Measurement."""

    connection: int
    receive_drops: bool = False


@dataclass(frozen=True, eq=False)
class BindPartition:
    """Bind the ports of this partition alone, and hand in the PortState; the result is None."""

    connection: int
    partition: int


@dataclass(frozen=True, eq=False)
class AskLocalStun:
    """Ask the service that holds a UDP port of our own packed address for STUN; the result says whether it answered."""

    connection: int
    address: bytes
    port: int


# Commands that an answer to a client waits for: each has one result, which is handed to ServerCore.on_result.
Question = Union[CatchUp, ReadCounters, BindPartition, AskLocalStun]
Command = Union[Send, Close, Abort, Emit, WatchClient, ReleasePartitions, Question]
