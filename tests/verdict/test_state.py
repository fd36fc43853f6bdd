"""The state of a port, of UDP and TCP."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.counters import Counters
from agent.core.observation import Interceptor, Observation, Reason, Reply, Where
from agent.core.report import BLOCKED, State
from agent.sweep.limit import Limit
from agent.verdict.conditions import Cause, Conditions
from agent.verdict.state import classify
from agent.verdict.tcp_state import NO_TLS, silent_by_chance
from tests.verdict.ports import (
    ABORTED,
    BUSY,
    FILTERED,
    GONE,
    HALF_WAY,
    LIMITED,
    LOSSY,
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
    seen,
    unknown,
)

REFUSED = Cause(State.REJECTED, Where.UNKNOWN, "192.0.2.1", icmp=WHY)
FORWARDED = Cause(State.INTERCEPTED, shown="forwarded to the server's port 9", interceptor=Interceptor.FORWARDED)


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


@pytest.mark.parametrize(
    ("sent", "loss", "by_chance"),
    [(3, 0.0, False), (3, 0.31, False), (3, 0.33, True), (9, 0.6, False), (9, 0.7, True), (0, 0.0, True)],
)
def test_silence_that_loss_may_have_made(sent: int, loss: float, by_chance: bool) -> None:
    # Two SYNs a connect, each lost with that chance.
    assert silent_by_chance(seen(TCP, sent=sent), loss) is by_chance
    assert not silent_by_chance(seen(TCP, Reply.REFUSED, sent=sent), loss)


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


def test_who_is_reset_when_the_connection_stands_may_have_sent_nothing() -> None:
    reset = seen(TCP, Reply.REFUSED, by="192.0.2.1", place=Where.RETURN_PATH, connections=0, received=0)
    assert classify(reset, SURE) == Cause(State.REJECTED, Where.UNKNOWN)


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
