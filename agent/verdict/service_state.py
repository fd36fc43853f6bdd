"""Decide whether a port is blocked that was tested through the service that holds it (`server --live`).

What a service says or refuses is its own affair: only a probe that it never got, or an answer that was sent and never
arrived, counts.
"""

from __future__ import annotations

from ..core.observation import Observation, Reply, Where
from ..core.plan import Transport
from ..core.report import State
from ..sweep.loss import MAX_CHANCE
from .conditions import Cause, Conditions, foreign
from .place import locate
from .tcp_state import classify_tcp, locate_tcp

# The loss of round trips to assume where nothing measured more: one in five is a bad path.
UNMEASURED_LOSS = 0.2
# How the words begin of an ICMP error that says that nobody listens; by default firewalls send it too.
CLOSED = "port unreachable"


def blocked_service(port: Observation, conditions: Conditions) -> Cause | None:
    """Return what blocks a port that a service holds; None where it was not tested that way, or that is not certain."""
    if port.service is None or not port.sent or conditions.aborted or conditions.shut_out or not conditions.control:
        return None
    if port.transport is Transport.UDP:
        return _blocked_udp(port, conditions)
    # The service's kernel answers a SYN, and only a firewall answers by ICMP. A RST may be the service's, and so may
    # any answer, unless the server saw nothing arrive, from whatever address; or nothing after a SYN.
    certain = locate_tcp(port, conditions) is Where.BEFORE_SERVER
    return classify_tcp(port, conditions) if certain or port.reply in (Reply.NOTHING, Reply.UNREACHABLE) else None


def _blocked_udp(port: Observation, conditions: Conditions) -> Cause | None:
    if conditions.limit or conditions.capture_incomplete or port.at_interface is None:
        return None
    if port.reply is Reply.FOREIGN:
        return None if port.at_interface else foreign(port)
    if port.reply is Reply.UNREACHABLE:
        # By now it may be true that nobody listens there; any other error comes from a firewall.
        closed = not port.icmp or port.icmp.startswith(CLOSED)
        may_be_service = port.at_interface and (closed or port.by != conditions.address)
        return None if may_be_service else Cause(State.REJECTED, locate(port), port.by, icmp=port.icmp)
    # A service that got the probes may be silent on its own account, unless it answers others.
    tries = port.answers_sent or (port.at_interface if port.alive else 0) if port.at_interface else port.sent
    if chance_of_silence(tries or 0, conditions.loss) > MAX_CHANCE:
        return None
    return Cause(State.FILTERED, locate(port))


def chance_of_silence(tries: int, loss: float) -> float:
    """Return how probable it is that the path lost all probes of one UDP port; no canaries went along with them."""
    return max(loss, UNMEASURED_LOSS) ** tries
