"""What both sides know of one port. None is 'not measured', never 0 and never False."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .plan import Transport


class Reason(str, enum.Enum):
    """Why a port could not be tested, or why what was seen is not enough for a verdict."""

    BUSY = "busy"
    DENIED = "denied"
    LIMIT = "limit"
    SAMPLED = "sampled"
    PATH_LOSS = "path-loss"
    RATE_LIMIT = "rate-limit"
    FLOW_LIMIT = "flow-limit"
    SCAN_BLOCK = "scan-block"
    NO_CONTROL = "no-control"
    ABORTED = "aborted"


# Why a server does not listen on a port of its plan.
UNTESTED_REASONS = (Reason.BUSY, Reason.DENIED, Reason.LIMIT)


class Reply(enum.Enum):
    """The most telling thing that came back from a port, the least telling first."""

    NOTHING = "nothing"
    UNREACHABLE = "an ICMP error"
    REFUSED = "a TCP RST"
    MUTE = "a connection without an answer"
    FOREIGN = "an answer that is not our server's"
    PROOF = "our server's proof"


@dataclass(frozen=True)
class Observation:
    """One port, seen from both sides."""

    transport: Transport
    port: int
    sent: int | None = None  # probes sent: UDP datagrams, TCP connects
    reply: Reply | None = None
    by: str | None = None  # who refused, where the system tells
    answered: int | None = None  # probes whose proof came back
    at_interface: int | None = None  # probes that the server saw at its network interface
    at_socket: int | None = None  # probes that the server read from the port's socket
    connections: int | None = None  # TCP: connections that the server accepted there from this client
    redirected_to: int | None = None  # the server's port at which this port's probes came in, where it is another one
    shown: str | None = None  # what a foreign answer showed of itself
    plain: bool = False  # TCP: tried without the TLS that the port will carry, since the server has none
    unsendable: str | None = None  # what the client's own network said to a probe that it would not send
    untested: Reason | None = None  # why the server did not listen there, or the client did not try
    owner: str | None = None  # who holds the port, where it is busy and may be told
