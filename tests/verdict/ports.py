"""Observations and conditions that the tests of this room share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agent.core.counters import Counters
from agent.core.observation import Observation, Reason, Reply, Where
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.core.report import State
from agent.sweep.limit import Limit
from agent.verdict.conditions import Cause, Conditions

TCP, UDP = Transport.TCP, Transport.UDP
SURE = Conditions()


def seen(transport: Transport, reply: Reply | None = Reply.NOTHING, **rest: Any) -> Observation:
    return Observation(transport, 443, **{"sent": 4, "reply": reply, "answered": 0, **rest})


def unknown(reason: Reason, shown: str | None = None) -> Cause:
    return Cause(State.UNKNOWN, reason=reason, shown=shown)


OPEN = Cause(State.OPEN)
FILTERED = Cause(State.FILTERED, Where.UNKNOWN)
WHY = "host administratively prohibited (type 3, code 10)"
HALF_WAY = Cause(State.FILTERED, Where.RETURN_PATH)
BUSY = Cause(State.UNTESTED, reason=Reason.BUSY, owner="haproxy (pid 812)")
UNREAL = Cause(State.INTERCEPTED, shown="it accepted the connection, which never reached the server, and sent nothing")
ABORTED, NO_CONTROL, LOSSY = Conditions(aborted=True), Conditions(control=False), Conditions(conclusive=False)
SLOW = Limit(Reason.RATE_LIMIT, rate=300.0)
LIMITED, MET = Conditions(conclusive=False, limit=SLOW), Conditions(limit=SLOW)
SHUT_OUT = Conditions(shut_out=True)
MISSED = Conditions(counters=Counters(capture_drops=1))
GONE = Conditions(aborted=True, control=False, conclusive=False, loss=1.0, limit=SLOW, shut_out=True)


def row(transport: Transport, first: int, last: int, need: Need = Need.REQUIRED) -> Requirement:
    return Requirement(transport, PortRange(first, last), "what for", need)


def observed(plan: Plan, **udp: Observation) -> dict[Transport, dict[int, Observation]]:
    """Every port answers, but for UDP ports that are given by their numbers."""
    return {
        transport: {
            port: replace(udp.get(f"p{port}", Observation(transport, port, 1, Reply.PROOF, answered=1)), port=port)
            for port in plan.ports(transport)
        }
        for transport in Transport
    }


SILENT = Observation(UDP, 0, 4, Reply.NOTHING, answered=0, at_socket=0)
