"""Ports that were tested through the service that holds them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.counters import Counters
from agent.core.observation import Observation, Reason, Reply, Where
from agent.core.plan import Plan, Transport
from agent.core.report import State
from agent.verdict.conditions import Cause, Conditions
from agent.verdict.findings import build_findings
from agent.verdict.state import classify
from tests.verdict.ports import (
    ABORTED,
    BUSY,
    FILTERED,
    GONE,
    HALF_WAY,
    MET,
    MISSED,
    NO_CONTROL,
    OPEN,
    SHUT_OUT,
    SILENT,
    SURE,
    TCP,
    UDP,
    UNREAL,
    WHY,
    observed,
    row,
    seen,
    unknown,
)

THROUGH = "404 Not Found"
FULL, SLOW_SERVER = (Conditions(counters=Counters(**{name: 1})) for name in ("listen_drops", "slow_turns"))
NEVER_CAME, HOST_STOPS, NOT_BACK = (
    {"place": where, "at_interface": came, "at_socket": 0, "connections": 0}
    for where, came in ((Where.BEFORE_SERVER, 0), (Where.SERVER_HOST, 3), (Where.RETURN_PATH, 3))
)
SOMEBODY = {"place": Where.UNKNOWN, "at_interface": 0, "at_socket": 0, "connections": 0}
STOPPED = Cause(State.FILTERED, Where.BEFORE_SERVER)
BY_ROUTER = {"by": "192.0.2.1", "icmp": WHY, "errors": 1}
SERVER = Conditions(address="198.51.100.1")


def through(transport: Transport, reply: Reply, **rest: Any) -> Observation:
    """A port that haproxy holds, and that was tried all the same."""
    held = {"untested": Reason.BUSY, "owner": "haproxy (pid 812)", "service": ""}
    return seen(transport, reply, **{**held, "sent": 5 if transport is UDP else 3, **rest})


@pytest.mark.parametrize(
    ("situation", "port", "conditions", "cause"),
    [
        ("the server vouches for what it answered", through(TCP, Reply.FOREIGN, service=THROUGH, corroborated=True),
         SURE, Cause(State.OPEN, through=THROUGH)),
        ("whatever went wrong after", through(UDP, Reply.FOREIGN, service=THROUGH, corroborated=True), GONE,
         Cause(State.OPEN, through=THROUGH)),
        ("it was given up meanwhile", through(TCP, Reply.PROOF), SURE, OPEN),
        # What services say and refuse is theirs, as long as it may have been they.
        ("it answered, by another address or way", through(TCP, Reply.FOREIGN, **SOMEBODY, received=9), SURE, BUSY),
        ("it answered what another asked", through(TCP, Reply.FOREIGN, **NOT_BACK, received=9), SURE, BUSY),
        ("it was mute", through(TCP, Reply.MUTE, place=Where.UNKNOWN, at_interface=3, received=0), SURE, BUSY),
        ("it refused", through(TCP, Reply.REFUSED, **HOST_STOPS), SURE, BUSY),
        ("the connection was reset", through(TCP, Reply.REFUSED, **NOT_BACK, received=0), SURE, BUSY),
        ("the watch missed some, and somebody answered", through(TCP, Reply.FOREIGN, **NEVER_CAME), MISSED, BUSY),
        ("somebody answered", through(TCP, Reply.FOREIGN, **NEVER_CAME, shown="SSH-2.0"), SURE,
         Cause(State.INTERCEPTED, shown="SSH-2.0")),
        ("somebody took it", through(TCP, Reply.MUTE, **NEVER_CAME, received=0), SURE, UNREAL),
        ("somebody refused", through(TCP, Reply.REFUSED, **NEVER_CAME), SURE,
         Cause(State.REJECTED, Where.BEFORE_SERVER)),
        ("it never came", through(TCP, Reply.NOTHING, **NEVER_CAME), SURE, STOPPED),
        ("it never came, as far as was watched", through(TCP, Reply.NOTHING, **NEVER_CAME), MISSED, FILTERED),
        ("it came, or another did", through(TCP, Reply.NOTHING, **SOMEBODY), SURE, FILTERED),
        ("the host stops it", through(TCP, Reply.NOTHING, **HOST_STOPS), SURE,
         Cause(State.FILTERED, Where.SERVER_HOST)),
        ("it does not come back", through(TCP, Reply.NOTHING, **NOT_BACK), SURE, HALF_WAY),
        ("no data comes", through(TCP, Reply.MUTE, **NOT_BACK, received=0), SURE, STOPPED),
        ("no data comes, and we were slow", through(TCP, Reply.MUTE, **NOT_BACK, received=0), SLOW_SERVER, STOPPED),
        ("there was no room", through(TCP, Reply.NOTHING, **HOST_STOPS), FULL, unknown(Reason.RATE_LIMIT)),
        ("a firewall says so", through(TCP, Reply.UNREACHABLE, **HOST_STOPS, by="198.51.100.1", icmp=WHY), SURE,
         Cause(State.REJECTED, Where.SERVER_HOST, "198.51.100.1", icmp=WHY)),
        ("loss", through(TCP, Reply.NOTHING, **NEVER_CAME), Conditions(loss=0.5), unknown(Reason.PATH_LOSS)),
        *((f"the check ended early, of {transport.value}", through(transport, Reply.NOTHING, **NEVER_CAME), conditions,
           BUSY) for transport in Transport for conditions in (ABORTED, NO_CONTROL, SHUT_OUT)),
        ("nothing was sent", through(TCP, Reply.NOTHING, sent=0, unsendable="not permitted"), SURE, BUSY),
        ("UDP never comes", through(UDP, Reply.NOTHING, at_interface=0), SURE, STOPPED),
        ("UDP may be lost", through(UDP, Reply.NOTHING, at_interface=0), Conditions(loss=0.3), BUSY),
        ("UDP was hardly tried", through(UDP, Reply.NOTHING, at_interface=0, sent=4), SURE, BUSY),
        ("UDP met a limit", through(UDP, Reply.NOTHING, at_interface=0), MET, BUSY),
        ("UDP was not watched well", through(UDP, Reply.NOTHING, at_interface=0), MISSED, BUSY),
        ("UDP was not watched", through(UDP, Reply.NOTHING, at_interface=None), SURE, BUSY),
        ("UDP comes, and the service is silent", through(UDP, Reply.NOTHING, at_interface=5, answers_sent=0), SURE,
         BUSY),
        ("UDP comes, and answers do not", through(UDP, Reply.NOTHING, at_interface=5, answers_sent=5, at_socket=5),
         SURE, HALF_WAY),
        ("UDP comes to a service that answers others", through(UDP, Reply.NOTHING, at_interface=5, alive=True), SURE,
         Cause(State.FILTERED, Where.SERVER_HOST)),
        ("some UDP comes to a service that answers others", through(UDP, Reply.NOTHING, at_interface=4, alive=True),
         SURE, BUSY),
        ("UDP comes, and one answer does not", through(UDP, Reply.NOTHING, at_interface=5, answers_sent=1), SURE, BUSY),
        ("somebody answers UDP", through(UDP, Reply.FOREIGN, at_interface=0, shown="an echo"), SURE,
         Cause(State.INTERCEPTED, shown="an echo")),
        ("somebody answers UDP that came", through(UDP, Reply.FOREIGN, at_interface=1, shown="an echo"), SURE, BUSY),
        ("UDP is refused on the way", through(UDP, Reply.UNREACHABLE, at_interface=0, **BY_ROUTER), SERVER,
         Cause(State.REJECTED, Where.BEFORE_SERVER, "192.0.2.1", icmp=WHY)),
        ("UDP is refused by a router, and comes", through(UDP, Reply.UNREACHABLE, at_interface=2, **BY_ROUTER), SERVER,
         BUSY),
        ("UDP is refused by the host's rules",
         through(UDP, Reply.UNREACHABLE, at_interface=5, by=SERVER.address, icmp=WHY), SERVER,
         Cause(State.REJECTED, Where.SERVER_HOST, SERVER.address, icmp=WHY)),
        *(("UDP is refused as where nobody listens",
           through(UDP, Reply.UNREACHABLE, at_interface=5, by=SERVER.address, icmp=words), SERVER, BUSY)
          for words in (None, "port unreachable (type 3, code 3)")),
    ],
)  # fmt: skip
def test_a_port_that_was_tried_through_its_service(
    situation: str, port: Observation, conditions: Conditions, cause: Cause
) -> None:
    assert classify(port, conditions) == cause


def test_what_loss_may_have_done_to_a_service_is_its_own() -> None:
    plan = Plan("mine", (row(UDP, 7, 7), row(UDP, 1, 2)))
    never = through(UDP, Reply.NOTHING, at_interface=0)
    back = through(UDP, Reply.NOTHING, at_interface=5, at_socket=5, answers_sent=5, sent=6)
    for port, where in ((never, Where.BEFORE_SERVER), (back, Where.RETURN_PATH)):
        found = build_findings(plan, observed(plan, p7=port, p1=SILENT, p2=SILENT), Conditions(chance=1e-6))
        assert [(one.where, one.evidence.chance) for one in found] == [
            (where, pytest.approx(0.2**5)),
            (Where.UNKNOWN, 1e-6),
        ]
