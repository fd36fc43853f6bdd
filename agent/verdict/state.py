"""Decide the state of one port from its observation: the rules that UDP and TCP share, the strongest evidence first."""

from __future__ import annotations

from ..core.observation import Interceptor, Observation, Reason, Reply
from ..core.plan import Transport
from ..core.report import State
from .conditions import Cause, Conditions, unknown
from .service_state import blocked_service
from .tcp_state import classify_tcp
from .udp_state import classify_udp


def classify(port: Observation, conditions: Conditions) -> Cause:
    """Return the state of a port, with its cause.

    `open`: our proof came back. `untested`: the server could not listen there. `unknown`: something about the whole
    check makes silence prove nothing. `intercepted`: the probe came in at another port. The rest depends on the
    transport: see udp_state and tcp_state.
    """
    if port.reply is Reply.PROOF:
        return Cause(State.OPEN)
    if port.corroborated:
        return Cause(State.OPEN, through=port.service)
    if port.untested:
        return blocked_service(port, conditions) or Cause(State.UNTESTED, reason=port.untested, owner=port.owner)
    inconclusive = _inconclusive(port, conditions)
    if inconclusive:
        return inconclusive
    if port.redirected_to:
        shown = f"forwarded to the server's port {port.redirected_to}"
        return Cause(State.INTERCEPTED, shown=shown, interceptor=Interceptor.FORWARDED)
    return classify_tcp(port, conditions) if port.transport is Transport.TCP else classify_udp(port, conditions)


def _inconclusive(port: Observation, conditions: Conditions) -> Cause | None:
    """Return why the check as a whole can say nothing about a port; None where it can."""
    if conditions.aborted:
        return unknown(Reason.ABORTED)
    needs_passes = port.transport is Transport.UDP and port.reply is not Reply.FOREIGN  # a foreign answer is certain
    if needs_passes and not conditions.conclusive and conditions.limit:
        return unknown(conditions.limit.reason)
    # What shuts a client out may well refuse UDP by ICMP; TCP ports were tried before the sweep that provoked it.
    may_be_ban = (None, Reply.NOTHING, *([Reply.UNREACHABLE] if port.transport is Transport.UDP else []))
    if conditions.shut_out and port.reply in may_be_ban:
        return unknown(Reason.SCAN_BLOCK)
    if not conditions.control:
        return unknown(Reason.NO_CONTROL)
    if port.unsendable and not port.sent:
        return unknown(Reason.ABORTED, f"this computer's own network says: {port.unsendable}")
    if port.only_small and conditions.unsure_of_large:
        return unknown(conditions.unsure_of_large)
    return None
