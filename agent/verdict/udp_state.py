"""Decide the state of a UDP port that did not prove open: `intercepted`, `rejected`, `filtered` or `unknown`."""

from __future__ import annotations

from ..core.observation import Observation, Reason, Reply
from ..core.report import State
from .conditions import Cause, Conditions, foreign, unknown
from .place import locate

ONLY_SMALL = "a small packet was answered, and no large one that followed it"
NOT_CONFIRMED = "the probes came from an address that the control channel did not confirm"


def classify_udp(port: Observation, conditions: Conditions) -> Cause:
    """Return the state of a UDP port from which no proof came back.

    `filtered` is what remains when a foreign answer, an ICMP error, chance, a full receive buffer and the end of the
    check are ruled out: nothing came back, and nothing but a rule explains it.
    """
    if port.reply is Reply.FOREIGN:
        return foreign(port)
    if port.unanswered and port.unanswered >= (port.at_socket or 0):
        return unknown(Reason.NO_CONTROL, NOT_CONFIRMED)
    # Passes are a second apart: a brief problem of a router may refuse one probe while loss takes the others.
    if port.reply is Reply.UNREACHABLE and (conditions.conclusive or (port.errors or 0) > 1):
        return Cause(State.REJECTED, locate(port, conditions.capture_incomplete), port.by, icmp=port.icmp)
    if not conditions.conclusive:
        return unknown(Reason.PATH_LOSS)
    if port.receive_drops and not port.at_socket:
        # The probes arrived, but other traffic had filled the port's receive buffer: no firewall did that.
        return unknown(Reason.RATE_LIMIT)
    if not port.sent:
        return unknown(Reason.ABORTED)
    shown = ONLY_SMALL if port.only_small else None
    return Cause(State.FILTERED, locate(port, conditions.capture_incomplete), shown=shown)
