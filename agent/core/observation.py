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


class Where(str, enum.Enum):
    """How far the packets of a filtered or rejected port came."""

    BEFORE_SERVER = "before-server"
    SERVER_HOST = "server-host"
    RETURN_PATH = "return-path"
    UNKNOWN = "unknown"


class Interceptor(str, enum.Enum):
    """What answers in the server's place, as far as it shows that."""

    CAPTIVE_PORTAL = "captive-portal"  # sends browsers to a page of its own
    HTTP_PROXY = "http-proxy"  # says that it is one, or cannot reach what it was asked for
    TLS_MIDDLEBOX = "tls-middlebox"  # ends TLS with a certificate of its own, and hands on what it read
    CDN = "cdn"  # a content delivery network's front
    OTHER_SERVICE = "other-service"  # a program that is not ours: here, or behind a port forwarding
    FORWARDED = "forwarded"  # our server, at another of its ports


@dataclass(frozen=True)
class Refusal:
    """The ICMP errors that came back from one UDP port: how many, and of the first its sender and what it said."""

    errors: int
    by: str | None = None
    icmp: str | None = None


@dataclass(frozen=True)
class Hop:
    """A router on the way: its address, and how many hops away it is, 1 to 30."""

    address: str
    distance: int


@dataclass(frozen=True)
class Observation:
    """One port, seen from both sides."""

    transport: Transport
    port: int
    sent: int | None = None  # probes sent: UDP datagrams, TCP connects
    reply: Reply | None = None
    by: str | None = None  # who refused, where the system tells
    icmp: str | None = None  # the ICMP error that refused, in words, where it was one and the system tells
    errors: int | None = None  # UDP: ICMP errors that came back
    answered: int | None = None  # probes whose proof came back
    at_interface: int | None = None  # probes that the server saw at its network interface
    at_socket: int | None = None  # probes that the server read from the port's socket
    unanswered: int | None = None  # UDP: probes of those that were not to be answered, as nobody confirmed their source
    receive_drops: int | None = None  # UDP packets, anybody's, that found the receive buffer of the port's socket full
    answers_sent: int | None = None  # answers that the server saw leave by its network interface
    place: Where | None = None  # TCP: how far the client's packets came, as the server's interface showed it
    connections: int | None = None  # TCP: connections that the server accepted there from this client
    accepted_before: bool = False  # TCP: it let this client in shortly before: for this control channel, or a check
    received: int | None = None  # TCP: bytes that came over its connection; None where none was made
    redirected_to: int | None = None  # the server's port at which this port's probes came in, where it is another one
    shown: str | None = None  # what a foreign answer showed of itself
    interceptor: Interceptor | None = None  # what that shows it to be
    plain: bool = False  # TCP: tried without the TLS that the port will carry, since the server has none
    unsendable: str | None = None  # what the client's own network said to a probe that it would not send
    untested: Reason | None = None  # why the server did not listen there, or the client did not try
    owner: str | None = None  # who holds the port, where it is busy and may be told
    only_small: bool = False  # UDP: it answered one small packet, and none that followed and was as large as a call's
    service: str | None = None  # where it was tried through the service that holds it, what that showed, if anything
    corroborated: bool = False  # the server saw that service get this client's probe, and say what the client got
    alive: bool = False  # UDP: that service, silent to the client, answers the server itself
