"""Decide the state of a TCP port that did not prove open: `rejected`, `intercepted`, `filtered` or `unknown`."""

from __future__ import annotations

from ..core.observation import Observation, Reason, Reply, Where
from ..core.report import State
from ..sweep.loss import MAX_CHANCE
from .conditions import Cause, Conditions, foreign, unknown

# SYNs that the kernel sends at least for each connect that is waited for: at once, and after a second (RFC 6298).
SYNS = 2

NO_TLS = "without openssl the server speaks no TLS, and other traffic did not pass"


def classify_tcp(port: Observation, conditions: Conditions) -> Cause:
    """Return the state of a TCP port from which no proof came back.

    `filtered` is what remains when a limit, a flood, a refusal, a foreign answer and chance are ruled out.
    """
    if not port.sent:
        return unknown(Reason.ABORTED)
    if port.plain and port.connections:
        # Connections pass; what stops plain text there may well let TLS pass, which users will send.
        return unknown(Reason.ABORTED, NO_TLS)
    if _is_crowded_out(port, conditions):
        return unknown(Reason.RATE_LIMIT)
    if _is_limited(port, conditions) and not silent_by_chance(port, conditions.loss):
        return unknown(Reason.RATE_LIMIT)
    if port.reply in (Reply.REFUSED, Reply.UNREACHABLE):
        return _rejected(port, conditions)
    if port.reply is Reply.FOREIGN:
        return foreign(port)
    if port.reply is Reply.MUTE and not port.at_socket and _is_intercepted(port, conditions):
        return Cause(
            State.INTERCEPTED, shown="it accepted the connection, which never reached the server, and sent nothing"
        )
    if silent_by_chance(port, conditions.loss):
        return unknown(Reason.PATH_LOSS)
    return Cause(State.FILTERED, locate_tcp(port, conditions))


def _rejected(port: Observation, conditions: Conditions) -> Cause:
    where = locate_tcp(port, conditions)
    # A RST carries the server's address, whoever sent it: its own host did where the packets came that far.
    sender_known = port.reply is Reply.UNREACHABLE or where is Where.SERVER_HOST
    return Cause(State.REJECTED, where, port.by if sender_known else None, icmp=port.icmp)


def silent_by_chance(port: Observation, loss: float) -> bool:
    """Return whether loss alone may have silenced a TCP port; then it needs more connects."""
    return port.reply is Reply.NOTHING and loss ** (SYNS * (port.sent or 0)) > MAX_CHANCE


def is_stopped(port: Observation) -> bool:
    """Return whether no connection to a TCP port came about, however often it was tried."""
    refused = port.reply in (Reply.NOTHING, Reply.UNREACHABLE, Reply.REFUSED)
    return bool(port.sent) and port.received is None and refused


def _is_limited(port: Observation, conditions: Conditions) -> bool:
    """Return whether a port is stopped like one that had accepted this client: one limit may stop both."""
    return is_stopped(port) and any(
        (port.reply, port.by, port.icmp) == (closed.reply, closed.by, closed.icmp)
        and closed.place in (None, port.place)
        for closed in conditions.closed
    )


def _is_crowded_out(port: Observation, conditions: Conditions) -> bool:
    """Return whether a port may be open, and the server had no room or no time for its connection.

    In a flood of connections the kernel drops the SYN, or the packet after it, which leaves the port mute; or it
    resets a connection that stood, as the server does when it gives one up. Neither refuses a SYN. A server that
    reads its sockets late leaves connections mute that its kernel accepted.
    """
    counters = conditions.counters
    cut = port.reply is Reply.MUTE or (port.reply is Reply.REFUSED and port.received is not None)
    dropped = bool(counters.listen_drops) and (cut or port.reply is Reply.NOTHING)
    arrived = port.at_interface != 0 or conditions.capture_incomplete
    late = bool(counters.slow_turns) and cut and port.service is None  # a service is a program of its own
    return arrived and (dropped or late)


def _is_intercepted(port: Observation, conditions: Conditions) -> bool:
    """Return whether something accepted a connection that the server never got: before its host, or on it.

    A rule that drops what follows the SYN makes a port just as mute; then the SYN reached the server's host, and the
    rest did not, or in vain.
    """
    if port.at_interface:
        return port.connections == 0 and port.place is Where.UNKNOWN
    return port.at_interface == 0 and locate_tcp(port, conditions) is Where.BEFORE_SERVER


def locate_tcp(port: Observation, conditions: Conditions) -> Where:
    """Return how far the packets to a TCP port came."""
    if port.place is None:
        return Where.RETURN_PATH if port.at_socket else Where.UNKNOWN
    missed = conditions.capture_incomplete and not port.at_interface
    # Connections of another client behind the same address.
    of_others = port.reply is Reply.NOTHING and bool(port.connections)
    if missed or of_others or (port.place is Where.RETURN_PATH and port.received):  # either way may stop the rest
        return Where.UNKNOWN
    if port.place is Where.RETURN_PATH and port.received == 0 and not port.connections:
        # The server's SYN-ACK came back, and what the client sent then did not arrive. A client that was reset may
        # have sent nothing.
        return Where.BEFORE_SERVER if port.reply is Reply.MUTE else Where.UNKNOWN
    return port.place
