"""What the server's core asks the loop to do. `connection` is the number that the loop gave a TCP connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Union

from ..core.address import Address
from ..core.events import Event


class Send(NamedTuple):
    """Send this on a TCP connection."""

    connection: int
    data: bytes


class Close(NamedTuple):
    """Close a TCP connection once all is sent, or `at_once`, whatever waits to be sent."""

    connection: int
    at_once: bool = False


class Emit(NamedTuple):
    """Tell the operator what happened."""

    event: Event


class WatchClient(NamedTuple):
    """Of TCP, capture only what is between this client and the ports: other people's calls may be very many."""

    client: Address | None  # None: nobody's


class ReleasePartitions:
    """Close the ports of every partition: no check needs them any more."""


@dataclass(frozen=True, eq=False)
class Question:
    """A command that an answer to a client waits for: it has one result, which is handed to ServerCore.on_result."""

    connection: int


class CatchUp(Question):
    """Hand in all datagrams and packets that wait; the result is None."""


@dataclass(frozen=True, eq=False)
class ReadCounters(Question):
    """Read the kernel's counters, and where it says so each socket's too; the result is a Measurement."""

    receive_drops: bool = False


@dataclass(frozen=True, eq=False)
class BindPartition(Question):
    """Bind the ports of this partition alone, and hand in the PortState; the result is None."""

    partition: int


@dataclass(frozen=True, eq=False)
class AskLocalStun(Question):
    """Ask the service that holds a UDP port of our own packed address for STUN; the result says whether it answered."""

    address: bytes
    port: int


Command = Union[Send, Close, Emit, WatchClient, ReleasePartitions, Question]
