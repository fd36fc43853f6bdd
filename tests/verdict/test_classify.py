from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.core.counters import Counters
from agent.core.observation import Interceptor, Observation, Reason, Reply, Where
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.core.report import BLOCKED, Evidence, Finding, State, Verdict
from agent.sweep.limit import Limit
from agent.sweep.loss import MAX_CHANCE
from agent.verdict.classify import (
    NO_TLS,
    ONLY_SMALL,
    Cause,
    Conditions,
    classify,
    judge,
    silent_by_chance,
    verdict_of,
    worst,
)

TCP, UDP = Transport.TCP, Transport.UDP
SURE = Conditions()


def seen(transport: Transport, reply: Reply | None = Reply.NOTHING, **rest: Any) -> Observation:
    return Observation(transport, 443, **{"sent": 4, "reply": reply, "answered": 0, **rest})


def unknown(reason: Reason, shown: str | None = None) -> Cause:
    return Cause(State.UNKNOWN, reason=reason, shown=shown)


OPEN = Cause(State.OPEN)
FILTERED = Cause(State.FILTERED, Where.UNKNOWN)
WHY = "host administratively prohibited (type 3, code 10)"
REFUSED = Cause(State.REJECTED, Where.UNKNOWN, "192.0.2.1", icmp=WHY)
HALF_WAY = Cause(State.FILTERED, Where.RETURN_PATH)
BUSY = Cause(State.UNTESTED, reason=Reason.BUSY, owner="haproxy (pid 812)")
UNREAL = Cause(State.INTERCEPTED, shown="took the connection, which the server never got, and said nothing")
FORWARDED = Cause(State.INTERCEPTED, shown="forwarded to the server's port 9", interceptor=Interceptor.FORWARDED)
ABORTED, NO_CONTROL, LOSSY = Conditions(aborted=True), Conditions(control=False), Conditions(conclusive=False)
SLOW = Limit(Reason.RATE_LIMIT, rate=300.0)
LIMITED, MET = Conditions(conclusive=False, limit=SLOW), Conditions(limit=SLOW)
SHUT_OUT = Conditions(shut_out=True)
MISSED = Conditions(counters=Counters(capture_drops=1))
GONE = Conditions(aborted=True, control=False, conclusive=False, loss=1.0, limit=SLOW, shut_out=True)


@pytest.mark.parametrize(
    ("situation", "port", "conditions", "cause"),
    [
        ("UDP answers", seen(UDP, Reply.PROOF), SURE, OPEN),
        ("TCP answers", seen(TCP, Reply.PROOF), SURE, OPEN),
        ("it answers, whatever went wrong after", seen(UDP, Reply.PROOF, redirected_to=9), GONE, OPEN),
        ("the port was held, and answers", seen(UDP, Reply.PROOF, untested=Reason.BUSY), SURE, OPEN),
        ("the port is held", seen(TCP, None, sent=None, untested=Reason.BUSY, owner="haproxy (pid 812)"), SURE, BUSY),
        ("the port is held, and the check ends early", replace(seen(UDP), untested=Reason.DENIED), GONE,
         Cause(State.UNTESTED, reason=Reason.DENIED)),
        ("a sample left it out, and the check ends early", seen(UDP, None, sent=None, untested=Reason.SAMPLED), GONE,
         Cause(State.UNTESTED, reason=Reason.SAMPLED)),
        ("the user interrupts", seen(UDP), ABORTED, unknown(Reason.ABORTED)),
        ("the user interrupts when the server is gone", seen(TCP, Reply.REFUSED), GONE, unknown(Reason.ABORTED)),
        ("the server goes away", seen(UDP), NO_CONTROL, unknown(Reason.NO_CONTROL)),
        ("the server goes away, then TCP refuses", seen(TCP, Reply.REFUSED), NO_CONTROL, unknown(Reason.NO_CONTROL)),
        ("it was never its turn", seen(UDP, None, sent=None), SURE, unknown(Reason.ABORTED)),
        ("the client's network lets nothing out", seen(TCP, sent=0, unsendable="Operation not permitted"), SURE,
         unknown(Reason.ABORTED, "this computer's own network says: Operation not permitted")),
        ("UDP comes in at another port", seen(UDP, redirected_to=9), SURE,
         FORWARDED),
        ("TCP comes in at another port", seen(TCP, Reply.FOREIGN, redirected_to=9), SURE,
         FORWARDED),
        ("UDP never comes", seen(UDP), SURE, FILTERED),
        ("UDP does not come, as far as was counted", seen(UDP, at_socket=0), SURE, FILTERED),
        ("UDP comes, its answers do not", seen(UDP, at_socket=3), SURE, HALF_WAY),
        ("UDP is lost on the way", seen(UDP), LOSSY, unknown(Reason.PATH_LOSS)),
        ("UDP met a limit on the way", seen(UDP), LIMITED, unknown(Reason.RATE_LIMIT)),
        ("a table of flows was full", seen(UDP), Conditions(conclusive=False, limit=Limit(Reason.FLOW_LIMIT)),
         unknown(Reason.FLOW_LIMIT)),
        ("a guard struck", seen(UDP), Conditions(conclusive=False, limit=Limit(Reason.SCAN_BLOCK)),
         unknown(Reason.SCAN_BLOCK)),
        ("UDP met a limit, and it was never its turn", seen(UDP, None, sent=None), LIMITED,
         unknown(Reason.RATE_LIMIT)),
        ("a limit was met, and the sweep is sure all the same", seen(UDP), MET, FILTERED),
        ("a limit stopped the control channel too", seen(UDP), replace(LIMITED, control=False),
         unknown(Reason.RATE_LIMIT)),
        ("a limit was met, and this computer shut out", seen(UDP), replace(LIMITED, shut_out=True),
         unknown(Reason.RATE_LIMIT)),
        ("a limit was met, and the port answers", seen(UDP, Reply.PROOF), LIMITED, OPEN),
        ("a limit was met, and the port is held", seen(UDP, None, sent=None, untested=Reason.DENIED), LIMITED,
         Cause(State.UNTESTED, reason=Reason.DENIED)),
        ("UDP's limit does not matter to TCP", seen(TCP), LIMITED, FILTERED),
        ("this computer is let in nowhere any more", seen(UDP), SHUT_OUT, unknown(Reason.SCAN_BLOCK)),
        ("and is told so", seen(UDP, Reply.UNREACHABLE, by="::1", errors=3), SHUT_OUT, unknown(Reason.SCAN_BLOCK)),
        ("nor to TCP", seen(TCP), SHUT_OUT, unknown(Reason.SCAN_BLOCK)),
        ("nor to the control channel", seen(UDP), replace(SHUT_OUT, control=False), unknown(Reason.SCAN_BLOCK)),
        ("let in nowhere, before it was its turn", seen(UDP, None, sent=None), SHUT_OUT, unknown(Reason.SCAN_BLOCK)),
        ("let in nowhere, but TCP was refused", seen(TCP, Reply.REFUSED), SHUT_OUT,
         Cause(State.REJECTED, Where.UNKNOWN)),
        ("let in nowhere, but somebody else answered", seen(TCP, Reply.FOREIGN, shown="SSH"), SHUT_OUT,
         Cause(State.INTERCEPTED, shown="SSH")),
        ("let in nowhere, but it had answered", seen(UDP, Reply.PROOF), SHUT_OUT, OPEN),
        ("TCP is refused, in whose name is not known", seen(TCP, Reply.REFUSED, by="192.0.2.1"), SURE,
         Cause(State.REJECTED, Where.UNKNOWN)),
        ("TCP is told why", seen(TCP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY), SURE, REFUSED),
        ("UDP is told why once", seen(UDP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY, errors=1), SURE, REFUSED),
        ("UDP is told why once on a lossy path", seen(UDP, Reply.UNREACHABLE, icmp=WHY, errors=1), LOSSY,
         unknown(Reason.PATH_LOSS)),
        ("UDP is told why twice on a lossy path", seen(UDP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY, errors=2),
         LOSSY, REFUSED),
        ("a limit told UDP why", seen(UDP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY, errors=2), LIMITED,
         unknown(Reason.RATE_LIMIT)),
        ("UDP is told why when the server is gone", seen(UDP, Reply.UNREACHABLE, errors=2), NO_CONTROL,
         unknown(Reason.NO_CONTROL)),
        ("UDP is told why, and answers", seen(UDP, Reply.PROOF, errors=2), SURE, OPEN),
        ("somebody else answers UDP", seen(UDP, Reply.FOREIGN, shown="an echo", interceptor=Interceptor.OTHER_SERVICE),
         LIMITED, Cause(State.INTERCEPTED, shown="an echo", interceptor=Interceptor.OTHER_SERVICE)),
        ("somebody else answers UDP when the server is gone", seen(UDP, Reply.FOREIGN, shown="an echo"), NO_CONTROL,
         unknown(Reason.NO_CONTROL)),
        ("TCP is told unreachable", seen(TCP, Reply.UNREACHABLE), SURE, Cause(State.REJECTED, Where.UNKNOWN)),
        ("UDP's loss does not matter to a refused TCP", seen(TCP, Reply.REFUSED), LOSSY,
         Cause(State.REJECTED, Where.UNKNOWN)),
        ("somebody else answers", seen(TCP, Reply.FOREIGN, shown="SSH-2.0"), SURE,
         Cause(State.INTERCEPTED, shown="SSH-2.0")),
        ("a kind of stranger answers",
         seen(TCP, Reply.FOREIGN, shown="404 Not Found", interceptor=Interceptor.OTHER_SERVICE), SURE,
         Cause(State.INTERCEPTED, shown="404 Not Found", interceptor=Interceptor.OTHER_SERVICE)),
        ("somebody connects and is mute",
         seen(TCP, Reply.MUTE, connections=0, at_socket=0, at_interface=0, place=Where.BEFORE_SERVER), SURE, UNREAL),
        ("somebody on the server's host connects and is mute",
         seen(TCP, Reply.MUTE, connections=0, at_socket=0, at_interface=3, place=Where.UNKNOWN), SURE, UNREAL),
        ("somebody connects and is mute, or what follows the SYN is stopped", seen(TCP, Reply.MUTE, connections=0,
         at_socket=0), SURE, FILTERED),
        ("somebody connects and is mute, or it came from another address", seen(TCP, Reply.MUTE, connections=0,
         at_socket=0, at_interface=0, place=Where.UNKNOWN), SURE, FILTERED),
        ("somebody connects and is mute, or the capture missed it", seen(TCP, Reply.MUTE, connections=0, at_socket=0,
         at_interface=0, place=Where.BEFORE_SERVER), MISSED, FILTERED),
        ("the server connects, what follows is stopped", seen(TCP, Reply.MUTE, connections=3, at_socket=0), SURE,
         FILTERED),
        ("the server connects and answers in vain", seen(TCP, Reply.MUTE, connections=3, at_socket=3), SURE, HALF_WAY),
        ("the server reads through a proxy, and answers in vain", seen(TCP, Reply.MUTE, connections=0, at_socket=3),
         SURE, HALF_WAY),
        ("without TLS the server connects, what follows is stopped", seen(TCP, Reply.MUTE, connections=3, plain=True),
         SURE, unknown(Reason.ABORTED, NO_TLS)),
        ("without TLS nothing connects", seen(TCP, connections=0, plain=True), SURE, FILTERED),
        ("mute, and the server could not be asked", seen(TCP, Reply.MUTE), SURE, FILTERED),
        ("TCP never comes", seen(TCP), SURE, FILTERED),
        ("TCP may be lost on the way", seen(TCP), Conditions(loss=0.5), unknown(Reason.PATH_LOSS)),
        ("TCP is not lost that often", seen(TCP), Conditions(loss=0.3), FILTERED),
    ],
)  # fmt: skip
def test_the_state_of_a_port(situation: str, port: Observation, conditions: Conditions, cause: Cause) -> None:
    assert classify(port, conditions) == cause


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
        found = judge(plan, observed(plan, p7=port, p1=SILENT, p2=SILENT), Conditions(chance=1e-6))
        assert [(one.where, one.evidence.chance) for one in found] == [
            (where, pytest.approx(0.2**5)),
            (Where.UNKNOWN, 1e-6),
        ]


CLOSED = seen(TCP, place=Where.SERVER_HOST)


@pytest.mark.parametrize(
    ("situation", "port", "conditions", "limited"),
    [
        ("silent like one that had let this client in", seen(TCP), Conditions(closed=(seen(TCP),)), True),
        ("as far", seen(TCP, place=Where.SERVER_HOST), Conditions(closed=(CLOSED,)), True),
        ("not as far", seen(TCP, place=Where.BEFORE_SERVER), Conditions(closed=(CLOSED,)), False),
        ("perhaps as far", seen(TCP, place=Where.SERVER_HOST), Conditions(closed=(seen(TCP),)), True),
        ("not silent", seen(TCP, Reply.UNREACHABLE, by="192.0.2.1"), Conditions(closed=(seen(TCP),)), False),
        ("refused alike", seen(TCP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY),
         Conditions(closed=(CLOSED, seen(TCP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY))), True),
        ("by another", seen(TCP, Reply.UNREACHABLE, by="192.0.2.2", icmp=WHY),
         Conditions(closed=(seen(TCP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY),)), False),
        ("in other words", seen(TCP, Reply.UNREACHABLE, by="192.0.2.1"),
         Conditions(closed=(seen(TCP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY),)), False),
        ("reset alike", seen(TCP, Reply.REFUSED), Conditions(closed=(seen(TCP, Reply.REFUSED),)), True),
        ("a connection stood first", seen(TCP, Reply.REFUSED, received=0),
         Conditions(closed=(seen(TCP, Reply.REFUSED),)), False),
        ("UDP", seen(UDP), Conditions(closed=(seen(TCP),)), False),
    ],
)  # fmt: skip
def test_what_is_stopped_as_a_port_that_let_this_client_in_may_be_limited(
    situation: str, port: Observation, conditions: Conditions, limited: bool
) -> None:
    cause = classify(port, conditions)
    assert (cause.state, cause.reason) == (State.UNKNOWN, Reason.RATE_LIMIT) if limited else cause.state in BLOCKED


def test_loss_rather_than_a_limit_explains_silence() -> None:
    lossy = Conditions(loss=0.5, closed=(seen(TCP),))
    assert classify(seen(TCP), lossy) == unknown(Reason.PATH_LOSS)


def test_a_limit_is_judged_by_the_ports_that_let_this_client_in() -> None:
    plan = Plan("mine", (row(TCP, 1, 5),))
    refused = seen(TCP, Reply.UNREACHABLE, by="192.0.2.1")
    ports = {
        1: seen(TCP, accepted_before=True),
        2: seen(TCP),
        3: refused,
        4: seen(TCP, Reply.MUTE, accepted_before=True, received=0, connections=3),
        5: seen(TCP, Reply.PROOF, accepted_before=True),
    }
    observations = {TCP: {port: replace(one, port=port) for port, one in ports.items()}, UDP: {}}
    found = ["tcp 1-2 unknown", "tcp 3 rejected", "tcp 4 filtered", "tcp 5 open"]
    assert [told(one) for one in judge(plan, observations, SURE)] == found
    observations[TCP][1] = replace(observations[TCP][1], sent=0, unsendable="not permitted")
    assert [told(one) for one in judge(plan, observations, SURE)] == ["tcp 1 unknown", "tcp 2 filtered", *found[1:]]
    observations[TCP][1] = replace(observations[TCP][1], sent=4, unsendable=None)
    closed = Conditions(closed=(refused,))
    assert [told(one) for one in judge(plan, observations, closed)] == ["tcp 1-3 unknown", *found[2:]]


@pytest.mark.parametrize(
    ("sent", "loss", "by_chance"),
    [(3, 0.0, False), (3, 0.31, False), (3, 0.33, True), (9, 0.6, False), (9, 0.7, True), (0, 0.0, True)],
)
def test_silence_that_loss_may_have_made(sent: int, loss: float, by_chance: bool) -> None:
    # Two SYNs a connect, each lost with that chance.
    assert silent_by_chance(seen(TCP, sent=sent), loss) is by_chance
    assert not silent_by_chance(seen(TCP, Reply.REFUSED, sent=sent), loss)


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
PLAN = Plan("mine", (row(TCP, 80, 80), row(UDP, 7, 7), row(UDP, 1, 6)))


def told(finding: Finding) -> str:
    return f"{finding.transport.value} {finding.ports} {finding.state.value}"


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ({}, ["udp 7 open", "udp 1-6 open"]),
        ({"p1": SILENT}, ["udp 7 open", "udp 1 filtered", "udp 2-6 open"]),
        ({"p6": SILENT, "p7": SILENT}, ["udp 7 filtered", "udp 1-5 open", "udp 6 filtered"]),
        ({"p3": SILENT, "p4": SILENT}, ["udp 7 open", "udp 1-2 open", "udp 3-4 filtered", "udp 5-6 open"]),
        (
            {"p3": SILENT, "p4": replace(SILENT, at_socket=1)},
            ["udp 7 open", "udp 1-2 open", "udp 3 filtered", "udp 4 filtered", "udp 5-6 open"],
        ),
        (
            {"p2": SILENT, "p3": replace(SILENT, untested=Reason.BUSY), "p4": SILENT},
            ["udp 7 open", "udp 1 open", "udp 2 filtered", "udp 3 untested", "udp 4 filtered", "udp 5-6 open"],
        ),
    ],
)
def test_ports_of_one_cause_are_one_finding_within_their_requirement(
    ports: dict[str, Observation], expected: list[str]
) -> None:
    findings = judge(PLAN, observed(PLAN, **ports), SURE)
    assert [told(one) for one in findings] == ["tcp 80 open", *expected]
    assert {(one.need, one.purpose) for one in findings} == {(Need.REQUIRED, "what for")}


def test_evidence_is_summed_and_what_was_not_measured_stays_so() -> None:
    ports = {"p1": replace(SILENT, at_socket=2), "p2": replace(SILENT, at_socket=1, sent=5)}
    blocked, open_ports = judge(PLAN, observed(PLAN, **ports), SURE)[2:]
    assert blocked.evidence == Evidence(9, None, 3, 0)
    assert open_ports.evidence == Evidence(4, None, None, 4)


def refused(errors: int, **rest: Any) -> Observation:
    return replace(SILENT, **{"reply": Reply.UNREACHABLE, "by": "192.0.2.1", "icmp": WHY, "errors": errors, **rest})


SAMPLED = Observation(UDP, 0, untested=Reason.SAMPLED)
HELD = Observation(UDP, 0, untested=Reason.BUSY)


@pytest.mark.parametrize(
    ("what", "ports", "expected"),
    [
        ("some of the silent told", {1: refused(3), 2: SILENT, 3: SILENT, 4: refused(1), 5: SILENT, 6: SILENT},
         ["udp 1-6 rejected"]),
        ("all tries of one told", {1: SILENT, 2: refused(4), 3: SILENT},
         ["udp 1 filtered", "udp 2 rejected", "udp 3 filtered", "udp 4-6 open"]),
        ("one told once", {1: SILENT, 2: refused(1), 3: SILENT},
         ["udp 1 filtered", "udp 2 rejected", "udp 3 filtered", "udp 4-6 open"]),
        ("all tries of each that told did, which no limit leaves", {1: SILENT, 2: refused(4), 3: SILENT, 4: refused(4)},
         ["udp 1 filtered", "udp 2 rejected", "udp 3 filtered", "udp 4 rejected", "udp 5-6 open"]),
        ("what is open parts them", {1: SILENT, 2: refused(1), 4: refused(1), 5: SILENT},
         ["udp 1 filtered", "udp 2 rejected", "udp 3 open", "udp 4 rejected", "udp 5 filtered", "udp 6 open"]),
        ("what came to the server is not refused", {1: refused(1), 2: replace(SILENT, at_socket=4), 3: refused(1)},
         ["udp 1 rejected", "udp 2 filtered", "udp 3 rejected", "udp 4-6 open"]),
        ("a sample leaves some out", {1: refused(1), 2: SAMPLED, 3: SILENT, 4: SAMPLED, 5: refused(1), 6: SAMPLED},
         ["udp 1 rejected", "udp 2 untested", "udp 3 rejected", "udp 4 untested", "udp 5 rejected", "udp 6 untested"]),
        ("a service holds some", {1: refused(1), 2: HELD, 3: SILENT, 4: HELD, 5: refused(1), 6: HELD},
         ["udp 1 rejected", "udp 2 untested", "udp 3 rejected", "udp 4 untested", "udp 5 rejected", "udp 6 untested"]),
    ],
)  # fmt: skip
def test_limited_errors_tell_of_their_neighbours(what: str, ports: dict[int, Observation], expected: list[str]) -> None:
    findings = judge(PLAN, observed(PLAN, **{f"p{port}": one for port, one in ports.items()}), SURE)
    assert [told(one) for one in findings] == ["tcp 80 open", "udp 7 open", *expected]
    assert {(one.by, one.icmp) for one in findings if one.state is State.REJECTED} == {("192.0.2.1", WHY)}
    told_of = sum(one.errors or 0 for one in ports.values())
    assert sum(one.evidence.errors or 0 for one in findings if one.state is State.REJECTED) == told_of


def test_what_came_in_is_no_part_of_a_refused_stretch() -> None:
    accepted_before = {"p1": refused(1), "p2": SILENT, "p3": refused(1)}
    ports = {name: replace(one, at_socket=4, answers_sent=4) for name, one in accepted_before.items()}
    findings = judge(PLAN, observed(PLAN, **ports), SURE)[2:5]
    assert [told(one) for one in findings] == ["udp 1 rejected", "udp 2 filtered", "udp 3 rejected"]
    assert {one.where for one in findings} == {Where.RETURN_PATH}


def test_refused_tcp_ports_tell_nothing_of_their_neighbours() -> None:
    plan = Plan("mine", (row(TCP, 1, 4),))
    observations = observed(plan)
    observations[TCP].update((port, seen(TCP, Reply.UNREACHABLE, by="192.0.2.1", icmp=WHY)) for port in (1, 4))
    observations[TCP].update((port, seen(TCP)) for port in (2, 3))
    ends = ["tcp 1 rejected", "tcp 2-3 filtered", "tcp 4 rejected"]
    observations[TCP] = {port: replace(one, port=port) for port, one in observations[TCP].items()}
    assert [told(one) for one in judge(plan, observations, SURE)] == ends


@pytest.mark.parametrize("chance", [None, MAX_CHANCE])
def test_the_chance_is_shared_out_among_what_silence_alone_says(chance: float | None) -> None:
    ports = {"p1": SILENT, "p2": SILENT, "p4": replace(SILENT, untested=Reason.BUSY), "p7": SILENT}
    findings = judge(PLAN, observed(PLAN, **ports), Conditions(chance=chance))
    shares = {told(one): one.evidence.chance for one in findings if one.evidence.chance is not None}
    each = MAX_CHANCE / 3
    expected = {} if chance is None else {"udp 7 filtered": each, "udp 1-2 filtered": 2 * each}
    assert shares == pytest.approx(expected)


def test_a_limit_on_small_probes_is_not_what_others_met() -> None:
    large = replace(SILENT, only_small=True)
    observations = observed(PLAN, p1=large)
    observations[TCP][80] = replace(seen(TCP), port=80)
    conditions = Conditions(limit=SLOW, unsure_of_large=Reason.RATE_LIMIT, closed=(seen(TCP),))
    findings = [one for one in judge(PLAN, observations, conditions) if one.state is State.UNKNOWN]
    assert [(told(one), one.reason, one.evidence.rate) for one in findings] == [
        ("tcp 80 unknown", Reason.RATE_LIMIT, None), ("udp 1 unknown", Reason.RATE_LIMIT, None)
    ]  # fmt: skip


def test_large_packets_have_a_chance_of_their_own() -> None:
    ports = {"p1": SILENT, "p2": replace(SILENT, only_small=True), "p3": replace(SILENT, only_small=True)}
    findings = judge(PLAN, observed(PLAN, **ports), Conditions(chance=MAX_CHANCE, chance_of_large=MAX_CHANCE / 2))
    silent = [one for one in findings if one.state is State.FILTERED]
    assert [(told(one), one.shown, one.evidence.chance) for one in silent] == [
        ("udp 1 filtered", None, MAX_CHANCE), ("udp 2-3 filtered", ONLY_SMALL, MAX_CHANCE / 2)
    ]  # fmt: skip


def test_ports_are_in_doubt_where_large_packets_could_not_tell() -> None:
    ports = {"p1": SILENT, "p2": replace(SILENT, only_small=True)}
    findings = judge(PLAN, observed(PLAN, **ports), Conditions(unsure_of_large=Reason.RATE_LIMIT))
    assert [(told(one), one.reason, one.shown) for one in findings if one.state is not State.OPEN] == [
        ("udp 1 filtered", None, None), ("udp 2 unknown", Reason.RATE_LIMIT, None)
    ]  # fmt: skip


CROWDED = replace(SURE, counters=Counters(listen_drops=1))
LATE = replace(SURE, counters=Counters(slow_turns=1))


@pytest.mark.parametrize(
    ("tried", "conditions", "state"),
    [
        *((Observation(TCP, 80, 4, reply, at_interface=came, received=0), CROWDED, State.UNKNOWN)
          for reply in (Reply.NOTHING, Reply.MUTE, Reply.REFUSED) for came in (None, 1)),
        (Observation(TCP, 80, 4, Reply.REFUSED), CROWDED, State.REJECTED),  # a SYN was: no queue does that
        (Observation(TCP, 80, 4, Reply.PROOF), CROWDED, State.OPEN),
        (Observation(TCP, 80, 4, Reply.FOREIGN), CROWDED, State.INTERCEPTED),
        (Observation(TCP, 80, 4, Reply.UNREACHABLE), CROWDED, State.REJECTED),
        (Observation(TCP, 80, 4, Reply.NOTHING, at_interface=0), CROWDED, State.FILTERED),  # it never came there
        (Observation(TCP, 80, 4, Reply.NOTHING, at_interface=0),
         replace(SURE, counters=Counters(listen_drops=1, capture_drops=1)), State.UNKNOWN),
        (Observation(TCP, 80, 4, Reply.NOTHING), replace(SURE, counters=Counters(listen_drops=0)), State.FILTERED),
        *((Observation(TCP, 80, 4, reply, at_interface=came, received=0), LATE, State.UNKNOWN)
          for reply in (Reply.MUTE, Reply.REFUSED) for came in (None, 1)),
        (Observation(TCP, 80, 4, Reply.NOTHING), LATE, State.FILTERED),  # its kernel answers a SYN, however busy it is
        (Observation(TCP, 80, 4, Reply.REFUSED), LATE, State.REJECTED),
        (Observation(TCP, 80, 4, Reply.MUTE), replace(SURE, counters=Counters(slow_turns=0)), State.FILTERED),
    ],
)  # fmt: skip
def test_a_tcp_port_that_a_flood_may_have_kept_from_answering(
    tried: Observation, conditions: Conditions, state: State
) -> None:
    cause = classify(tried, conditions)
    assert (cause.state, cause.reason) == (state, Reason.RATE_LIMIT if state is State.UNKNOWN else None)


def test_connections_that_found_no_room_are_evidence_where_tcp_is_silent() -> None:
    observations = observed(PLAN, p1=SILENT)
    observations[TCP][80] = Observation(TCP, 80, 4, Reply.NOTHING)
    findings = judge(PLAN, observations, Conditions(counters=Counters(0, 0, 0, 7, 2)))
    drops = {told(one): (one.evidence.listen_drops, one.evidence.slow_turns, one.evidence.capture_drops)
             for one in findings}  # fmt: skip
    assert drops["tcp 80 unknown"] == (7, 2, None)
    assert drops["udp 1 filtered"] == (None, None, 0)


def test_where_nothing_is_silent_there_is_no_chance() -> None:
    assert all(one.evidence.chance is None for one in judge(PLAN, observed(PLAN), Conditions(chance=MAX_CHANCE)))


@pytest.mark.parametrize(
    ("conclusive", "silent"),
    [(True, ["udp 1 filtered", "udp 3 filtered"]), (False, ["udp 1 unknown", "udp 3 unknown"])],
)
def test_what_the_servers_kernel_dropped_is_evidence_where_udp_is_silent(conclusive: bool, silent: list[str]) -> None:
    ports = {"p1": SILENT, "p3": SILENT, "p4": replace(SILENT, untested=Reason.BUSY)}
    observations = observed(PLAN, **ports, p5=replace(SILENT, redirected_to=9))
    observations[TCP][80] = Observation(TCP, 80, 4, Reply.NOTHING)
    findings = judge(PLAN, observations, Conditions(conclusive=conclusive, counters=Counters(0, 12)))
    dropped = {told(one): (one.evidence.conntrack_drops, one.evidence.receive_errors) for one in findings}
    assert dropped == {**dict.fromkeys(dropped, (None, None)), **dict.fromkeys(silent, (0, 12))}
    assert "tcp 80 filtered" in dropped


@pytest.mark.parametrize(
    ("limit", "rate", "flows", "seconds"),
    [
        (SLOW, 300.0, None, None),
        (Limit(Reason.FLOW_LIMIT, flows=3000, seconds=30.5), None, 3000, 30.5),
        (Limit(Reason.SCAN_BLOCK, rate=512.0, seconds=61.0), 512.0, None, 61.0),
    ],
)
def test_what_was_measured_of_a_limit_is_evidence_where_it_is_the_reason(
    limit: Limit, rate: float | None, flows: int | None, seconds: float | None
) -> None:
    ports = {"p1": SILENT, "p4": replace(SILENT, untested=Reason.BUSY)}
    findings = judge(PLAN, observed(PLAN, **ports), Conditions(conclusive=False, limit=limit))
    measured = {told(one): (one.evidence.rate, one.evidence.flows, one.evidence.seconds) for one in findings}
    assert measured == {**dict.fromkeys(measured, (None, None, None)), "udp 1 unknown": (rate, flows, seconds)}
    sure = judge(PLAN, observed(PLAN, **ports), Conditions(limit=limit))
    assert all((one.evidence.rate, one.evidence.flows, one.evidence.seconds) == (None,) * 3 for one in sure)


R, RECOMMENDED = Need.REQUIRED, Need.RECOMMENDED


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([(R, State.OPEN)], Verdict.PASS),
        ([(R, State.OPEN), (RECOMMENDED, State.FILTERED)], Verdict.PASS),
        ([(R, State.OPEN), (Need.OPTIONAL, State.UNKNOWN)], Verdict.PASS),
        ([(R, State.OPEN), (R, State.FILTERED)], Verdict.FAIL),
        ([(R, State.OPEN), (R, State.REJECTED)], Verdict.FAIL),
        ([(R, State.OPEN), (R, State.INTERCEPTED)], Verdict.FAIL),
        ([(R, State.UNKNOWN), (R, State.FILTERED)], Verdict.FAIL),
        ([(R, State.OPEN), (R, State.UNTESTED)], Verdict.INCONCLUSIVE),
        ([(R, State.OPEN), (R, State.UNKNOWN)], Verdict.INCONCLUSIVE),
        ([(RECOMMENDED, State.OPEN)], Verdict.INCONCLUSIVE),
        ([], Verdict.INCONCLUSIVE),
    ],
)
def test_the_verdict_of_findings(found: list[tuple[Need, State]], verdict: Verdict) -> None:
    findings = [Finding(UDP, PortRange(1, 1), need, "what for", state) for need, state in found]
    assert verdict_of(findings) is verdict


P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741


@pytest.mark.parametrize(
    ("verdicts", "verdict"), [([P], P), ([P, P], P), ([P, F], F), ([I, F], F), ([P, I], I), ([I], I), ([], I)]
)
def test_the_verdict_of_all_addresses_is_the_worst(verdicts: list[Verdict], verdict: Verdict) -> None:
    assert worst(verdicts) is verdict


@pytest.mark.parametrize(
    ("silent", "conditions", "where"),
    [
        (seen(UDP, at_interface=0, at_socket=0), SURE, Where.BEFORE_SERVER),
        (seen(UDP, at_interface=0, at_socket=0), MISSED, Where.UNKNOWN),
        (seen(UDP, at_interface=4, at_socket=0), MISSED, Where.SERVER_HOST),
        (seen(UDP, at_interface=4, at_socket=4, answers_sent=0), SURE, Where.SERVER_HOST),
        (seen(UDP, at_interface=4, at_socket=4, answers_sent=4), SURE, Where.RETURN_PATH),
        (seen(TCP, place=Where.BEFORE_SERVER, at_interface=0), SURE, Where.BEFORE_SERVER),
        (seen(TCP, place=Where.BEFORE_SERVER, at_interface=0), MISSED, Where.UNKNOWN),
        (seen(TCP, place=Where.SERVER_HOST, at_interface=3), MISSED, Where.SERVER_HOST),
        (seen(TCP, Reply.MUTE, place=Where.RETURN_PATH, at_interface=3, connections=3), SURE, Where.RETURN_PATH),
        (
            seen(TCP, Reply.MUTE, place=Where.RETURN_PATH, at_interface=3, connections=3, received=0),
            SURE,
            Where.RETURN_PATH,
        ),
        # A part of the answer came: what stops the rest may as well have stopped what asks for it.
        (
            seen(TCP, Reply.MUTE, place=Where.RETURN_PATH, at_interface=3, connections=3, received=9),
            SURE,
            Where.UNKNOWN,
        ),
        (
            seen(TCP, Reply.MUTE, place=Where.SERVER_HOST, at_interface=3, connections=0, received=0),
            SURE,
            Where.SERVER_HOST,
        ),
        (seen(TCP, Reply.MUTE, place=Where.UNKNOWN, at_interface=3, connections=1, received=0), SURE, Where.UNKNOWN),
        # The server's SYN came back, so that nothing but what followed it was stopped.
        (
            seen(TCP, Reply.MUTE, place=Where.RETURN_PATH, at_interface=3, connections=0, received=0),
            SURE,
            Where.BEFORE_SERVER,
        ),
        (seen(TCP, place=Where.RETURN_PATH, at_interface=3, connections=0), SURE, Where.RETURN_PATH),
        # Another client behind the same NAT was let in.
        (seen(TCP, place=Where.RETURN_PATH, at_interface=3, connections=1), SURE, Where.UNKNOWN),
        (seen(TCP), SURE, Where.UNKNOWN),
    ],
)
def test_how_far_a_silent_ports_packets_came(silent: Observation, conditions: Conditions, where: Where) -> None:
    assert classify(silent, conditions) == Cause(State.FILTERED, where)


@pytest.mark.parametrize(
    ("reply", "where", "named"),
    [
        (Reply.REFUSED, Where.SERVER_HOST, True),
        (Reply.REFUSED, None, False),
        (Reply.REFUSED, Where.RETURN_PATH, False),  # in whose place the server's SYN was stopped
        (Reply.REFUSED, Where.BEFORE_SERVER, False),  # in the server's name, by who is not the server
        (Reply.UNREACHABLE, Where.BEFORE_SERVER, True),
        (Reply.UNREACHABLE, Where.SERVER_HOST, True),
    ],
)
def test_who_refused_and_how_far_the_packets_came(reply: Reply, where: Where | None, named: bool) -> None:
    cause = classify(seen(TCP, reply, by="203.0.113.1", place=where, icmp="words"), SURE)
    assert cause == Cause(State.REJECTED, where or Where.UNKNOWN, "203.0.113.1" if named else None, icmp="words")


@pytest.mark.parametrize("transport", [TCP, UDP])
@pytest.mark.parametrize(
    ("at_interface", "by", "named"),
    [(0, "192.0.2.1", False), (3, "192.0.2.1", True), (0, "192.0.2.254", True)],
    ids=["a bridge's", "the server's", "a router's"],
)
def test_who_refuses_before_the_server_is_not_the_server(
    transport: Transport, at_interface: int, by: str, named: bool
) -> None:
    where = Where.SERVER_HOST if at_interface else Where.BEFORE_SERVER
    refused = seen(transport, Reply.UNREACHABLE, by=by, errors=3, at_interface=at_interface, at_socket=0)
    ports = {1: replace(refused, port=1, place=where if transport is TCP else None)}
    observations: dict[Transport, dict[int, Observation]] = {TCP: {}, UDP: {}, transport: ports}
    (found,) = judge(Plan("", (row(transport, 1, 1),)), observations, Conditions(address="192.0.2.1"))
    assert (found.state, found.where, found.by) == (State.REJECTED, where, by if named else None)


def test_who_is_reset_when_the_connection_stands_may_have_sent_nothing() -> None:
    reset = seen(TCP, Reply.REFUSED, by="192.0.2.1", place=Where.RETURN_PATH, connections=0, received=0)
    assert classify(reset, SURE) == Cause(State.REJECTED, Where.UNKNOWN)


def test_neighbours_are_judged_together_where_the_path_loses_probes() -> None:
    lost, came = (replace(SILENT, sent=3, at_interface=count, answers_sent=0) for count in (0, 2))
    ports = {"p1": came, "p2": lost, "p3": came}
    for loss, expected in ((0.0, ["udp 1 server-host", "udp 2 before-server", "udp 3 server-host"]),
                           (0.2, ["udp 1-3 server-host"])):  # fmt: skip
        findings = judge(PLAN, observed(PLAN, **ports), Conditions(loss=loss))
        blocked = [one for one in findings if one.state is State.FILTERED]
        assert [f"udp {one.ports} {one.where and one.where.value}" for one in blocked] == expected
    assert (blocked[0].evidence.at_interface, blocked[0].evidence.left) == (4, 0)


def test_answers_that_get_lost_do_not_hide_where_packets_are_stopped() -> None:
    """Nor does a client that is too busy to take them in."""
    plan = Plan("mine", (row(UDP, 1, 300),))
    came, lost = (replace(SILENT, at_interface=count, answers_sent=0) for count in (4, 0))
    answered = Observation(UDP, 0, 4, Reply.PROOF, answered=1, at_interface=4, at_socket=4)
    for at_interface, expected in ((4, "udp 151-200 before-server"), (2, "udp 153-200 before-server")):
        around = replace(answered, at_interface=at_interface)
        others = {f"p{port}": around for port in (*range(1, 101), *range(201, 301))}
        ports = {f"p{port}": came if port < 151 else lost for port in range(101, 201)}
        findings = judge(plan, observed(plan, **others, **ports), Conditions(loss=0.5))
        blocked = [f"udp {one.ports} {one.where.value}" for one in findings if one.where]
        assert expected in blocked
        assert blocked[0] == "udp 101-150 server-host"


@pytest.mark.parametrize(
    ("silent", "state"),
    [
        (replace(SILENT, receive_drops=1), State.UNKNOWN),
        (replace(SILENT, receive_drops=1, at_interface=4), State.UNKNOWN),
        (replace(SILENT, receive_drops=1, at_socket=4), State.FILTERED),  # it came through all the same
        (replace(SILENT, receive_drops=0), State.FILTERED),
    ],
)
def test_what_a_flood_at_the_port_explains_is_not_taken_for_a_firewall(silent: Observation, state: State) -> None:
    cause = classify(silent, SURE)
    assert (cause.state, cause.reason) == (state, Reason.RATE_LIMIT if state is State.UNKNOWN else None)


@pytest.mark.parametrize(
    ("silent", "state"),
    [
        (replace(SILENT, unanswered=4, at_socket=4), State.UNKNOWN),
        (replace(SILENT, unanswered=4, at_socket=4, reply=Reply.UNREACHABLE, errors=4), State.UNKNOWN),
        (replace(SILENT, unanswered=4), State.UNKNOWN),  # what it was asked first came a moment later
        (replace(SILENT, unanswered=1, at_socket=4), State.FILTERED),  # the others were answered
        (replace(SILENT, unanswered=0, at_socket=4), State.FILTERED),
        (replace(SILENT, unanswered=0, at_socket=0), State.FILTERED),
    ],
)
def test_what_was_not_to_be_answered_is_not_taken_for_a_firewall(silent: Observation, state: State) -> None:
    cause = classify(silent, SURE)
    assert (cause.state, cause.reason) == (state, Reason.NO_CONTROL if state is State.UNKNOWN else None)
