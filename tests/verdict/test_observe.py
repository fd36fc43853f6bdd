from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Mapping

import pytest

from agent.core.address import Family
from agent.core.observation import Interceptor, Observation, Reason, Refusal, Reply, Where
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.core.report import Loss, Rtt
from agent.sweep.limit import Limit
from agent.sweep.sample import Sample
from agent.sweep.sweep import Sweep
from agent.verdict.evidence import (
    CheckEvidence,
    ControlEvidence,
    FollowUp,
    ServerRecords,
    ServiceEvidence,
    TcpEvidence,
    UdpEvidence,
)
from agent.verdict.observe import anything_came, fell_silent, measure_loss, measure_rtt, observe

TCP, UDP = Transport.TCP, Transport.UDP
CONTROL = ControlEvidence("192.0.2.1", Family.IPV4, "192.0.2.1")
PLAN = Plan(
    "mine",
    (Requirement(TCP, PortRange(80, 81), "", Need.REQUIRED), Requirement(UDP, PortRange(1, 4), "", Need.REQUIRED)),
)


def observed(
    sweep: Sweep | None,
    server: ServerRecords | None = None,
    tcp: Mapping[int, Observation] | None = None,
    services: ServiceEvidence | None = None,
    **udp: Any,
) -> Mapping[Transport, Mapping[int, Observation]]:
    """What both sides know of each port, where they know no more than this."""
    sides = UdpEvidence([sweep] if sweep else [], **udp), TcpEvidence(tcp or {}), services or ServiceEvidence()
    return observe(CheckEvidence(PLAN, CONTROL, server or ServerRecords(), *sides))


def test_a_port_that_a_service_held_was_tried_through_it_whoever_has_it_now() -> None:
    seen = Observation(
        UDP, 4, 1, Reply.FOREIGN, at_interface=1, at_socket=1, answers_sent=1, service="STUN", corroborated=True
    )
    for untested in ({4: Reason.BUSY}, {}):
        server = ServerRecords(untested={TCP: {}, UDP: untested}, owners={TCP: {}, UDP: {4: "coturn"}})
        found = observed(NOTHING_SENT, server, services=ServiceEvidence(udp={4: seen}))[UDP]
        assert found[4] == replace(seen, untested=Reason.BUSY, owner=found[4].owner)
        assert found[3].service is None


def swept(sent: dict[int, int], answered: dict[int, int]) -> Sweep:
    """A sweep that has sent and heard as much."""
    sweep = Sweep(sent, random.Random(1), 0.02, 0.0)
    probes = {probe.port: probe.number for n in range(len(sent)) for probe in sweep.probes_to_send(n / 1000)}
    for port, answers in answered.items():
        if answers:
            sweep.on_answer(probes[port], 0.1)
    sweep.sent.update(sent)
    sweep.answered.update(answered)
    return sweep


NOTHING_SENT = swept({1: 0, 2: 0, 3: 0, 4: 0}, {})


def test_both_sides_of_each_port_are_joined() -> None:
    sweep = swept({1: 2, 2: 4, 3: 0}, {1: 1})  # the server does not listen on 4
    tcp = {80: Observation(TCP, 80, 1, Reply.PROOF, answered=1)}
    server = ServerRecords(
        untested={TCP: {81: Reason.BUSY}, UDP: {4: Reason.LIMIT}},
        sightings={TCP: {80: 1}, UDP: {1: 2, 2: 3}},
        at_interface={TCP: {80: 2}, UDP: {1: 2, 2: 4}},
        answers_sent={1: 1},
        places={80: Where.SERVER_HOST},
        redirected={TCP: {}, UDP: {2: 9}},
        connections={80: 5},
        accepted_before={80},
    )
    seen = observed(sweep, server, tcp)
    assert seen[TCP] == {
        80: Observation(
            TCP,
            80,
            1,
            Reply.PROOF,
            answered=1,
            at_interface=2,
            at_socket=1,
            connections=5,
            place=Where.SERVER_HOST,
            accepted_before=True,
        ),
        81: Observation(TCP, 81, connections=0, untested=Reason.BUSY),
    }
    assert seen[UDP] == {
        1: Observation(UDP, 1, 2, Reply.PROOF, answered=1, at_interface=2, at_socket=2, answers_sent=1),
        2: Observation(
            UDP, 2, 4, Reply.NOTHING, answered=0, at_interface=4, at_socket=3, answers_sent=0, redirected_to=9
        ),
        3: Observation(UDP, 3),
        4: Observation(UDP, 4, untested=Reason.LIMIT),
    }


def test_what_was_not_to_be_answered_was_not_lost() -> None:
    server = ServerRecords(sightings={TCP: None, UDP: {1: 4, 2: 2}}, unanswered={1: 2, 3: 9})
    assert measure_loss(swept({1: 4, 2: 2}, {1: 1, 2: 1}), server) == Loss(0.0, 0.5)


def test_what_the_server_told_of_parts_is_joined_by_their_ports() -> None:
    server = ServerRecords()
    first = ServerRecords(sightings={TCP: {80: 1}, UDP: {1: 2, 3: 9}}, at_interface={TCP: None, UDP: {1: 3, 3: 9}})
    first.redirected[UDP], first.receive_drops, first.answers_sent, first.unanswered = {1: 4, 3: 9}, {1: 1}, {1: 2}, {}
    server.add(first, {1, 2})
    second = ServerRecords(sightings={TCP: {80: 2}, UDP: {1: 7, 3: 4}}, at_interface={TCP: {80: 5}, UDP: None})
    second.redirected[TCP], second.answers_sent, second.unanswered = {80: 81}, {1: 7, 3: 4}, {3: 1}
    server.add(second, {3, 4})
    assert server.sightings == {TCP: {80: 2}, UDP: {1: 2, 3: 4}}
    assert server.at_interface == {TCP: {80: 5}, UDP: {1: 3}}
    assert server.redirected == {TCP: {80: 81}, UDP: {1: 4}}
    assert (server.receive_drops, server.answers_sent, server.unanswered) == ({1: 1}, {1: 2, 3: 4}, {3: 1})


def test_what_answers_no_large_packet_is_taken_back() -> None:
    first, second = swept({1: 1, 2: 1, 3: 1, 4: 3}, {1: 1, 2: 1, 3: 1}), swept({1: 1, 2: 5, 3: 5}, {1: 1})
    second.done = True
    before = ServerRecords(
        sightings={UDP: {1: 1, 2: 1, 3: 1}}, at_interface={UDP: {1: 1, 2: 1, 3: 1}}, answers_sent={2: 1}
    )
    after = ServerRecords(
        sightings={UDP: {1: 2, 2: 4, 3: 1}}, at_interface={UDP: {1: 2, 2: 4, 3: 1}}, answers_sent={2: 4}
    )
    before.receive_drops, after.receive_drops = {1: 1, 2: 1}, {1: 1, 2: 6}
    before.unanswered, after.unanswered = {2: 1}, {2: 3}
    followed = FollowUp(second, after.udp_since(before))
    seen = observed(first, unsendable={3: "not permitted"}, follow_ups=[followed])[UDP]
    assert seen == {
        1: Observation(UDP, 1, 1, Reply.PROOF, answered=1),
        2: Observation(
            UDP, 2, 5, Reply.NOTHING, answered=0, at_interface=3, at_socket=3, unanswered=2, receive_drops=5,
            answers_sent=3, only_small=True,
        ),
        3: Observation(UDP, 3, unsendable="not permitted", only_small=True),
        4: Observation(UDP, 4, 3, Reply.NOTHING, answered=0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("done", "conclusive", "limit", "unsure", "silent"),
    [
        (True, True, None, None, {2, 3, 4}),
        (True, True, Limit(Reason.RATE_LIMIT, rate=100.0), None, {2, 3, 4}),
        (True, True, Limit(Reason.SCAN_BLOCK), Reason.SCAN_BLOCK, {2, 3}),
        (False, True, None, Reason.PATH_LOSS, {2, 3}),
        (True, False, None, Reason.PATH_LOSS, {2, 3}),
        (True, False, Limit(Reason.RATE_LIMIT, rate=100.0), Reason.RATE_LIMIT, {2, 3}),
    ],
)
def test_where_large_packets_could_not_tell_ports_are_doubtful_that_were_asked_often(
    done: bool, conclusive: bool, limit: Limit | None, unsure: Reason | None, silent: set[int]
) -> None:
    second = swept({1: 5, 2: 3, 3: 2, 4: 2}, {1: 1})
    second.done, second.conclusive, second._recovery.limit = done, conclusive, limit
    followed = FollowUp(second, ServerRecords(), frozenset((1, 3)))
    assert followed.unsure is unsure
    assert set(followed.silent) == silent


def test_what_came_back_besides_proof_says_nothing_of_a_port_that_proved_open() -> None:
    refusal, service = Refusal(2, "192.0.2.1", "port unreachable"), Interceptor.OTHER_SERVICE
    sweep = swept({1: 3, 2: 3, 3: 3, 4: 3}, {1: 1})
    refusals, foreign = {1: refusal, 2: refusal, 3: refusal}, {1: "an echo", 3: "an echo", 4: ""}
    seen = observed(sweep, refusals=refusals, foreign=foreign)[UDP]
    assert seen == {
        1: Observation(UDP, 1, 3, Reply.PROOF, answered=1),
        2: Observation(UDP, 2, 3, Reply.UNREACHABLE, "192.0.2.1", "port unreachable", 2, 0),
        3: Observation(UDP, 3, 3, Reply.FOREIGN, errors=2, answered=0, shown="an echo", interceptor=service),
        4: Observation(UDP, 4, 3, Reply.FOREIGN, answered=0, shown="", interceptor=service),
    }


def test_what_the_server_could_not_tell_is_not_measured() -> None:
    seen = observed(swept({1: 1, 2: 1, 3: 1, 4: 1}, {}))
    assert seen[UDP][1] == Observation(UDP, 1, 1, Reply.NOTHING, answered=0)
    assert observed(None)[UDP][1] == Observation(UDP, 1)


def test_what_the_clients_network_would_not_send_was_not_sent() -> None:
    sweep = swept({1: 4, 2: 4, 3: 4, 4: 4}, {2: 1})
    seen = observed(sweep, unsendable={1: "not permitted", 2: "not permitted"})[UDP]
    assert seen[1] == Observation(UDP, 1, unsendable="not permitted")
    assert seen[2].reply is Reply.PROOF  # later it was


def test_packets_for_a_port_in_use_are_told_where_they_arrived() -> None:
    server = ServerRecords(untested={TCP: {}, UDP: {1: Reason.BUSY, 2: Reason.BUSY}}, busy_at_interface={1: 2, 2: 0})
    seen = observed(swept({3: 1}, {3: 1}), server)[UDP]
    assert [seen[port].at_interface for port in (1, 2, 4)] == [2, 0, None]
    assert seen[1].untested is Reason.BUSY


def test_what_a_sample_left_out_was_not_tried() -> None:
    server = ServerRecords(untested={TCP: {}, UDP: {2: Reason.BUSY}})
    seen = observed(swept({3: 1}, {3: 1}), server, sample=Sample(frozenset((3,)), frozenset((1, 2, 4)), 1))[UDP]
    assert [seen[port].untested for port in (1, 2, 3, 4)] == [Reason.SAMPLED, Reason.BUSY, None, Reason.SAMPLED]
    assert seen[1] == Observation(UDP, 1, untested=Reason.SAMPLED)


MUTE = ServerRecords(sightings={TCP: {}, UDP: {}})


@pytest.mark.parametrize(
    ("sweep", "reply", "server", "came"),
    [
        (None, None, ServerRecords(), False),
        (NOTHING_SENT, Reply.NOTHING, MUTE, False),
        (NOTHING_SENT, Reply.UNREACHABLE, MUTE, False),
        (NOTHING_SENT, Reply.REFUSED, MUTE, True),
        (NOTHING_SENT, Reply.FOREIGN, MUTE, True),
        (swept({1: 1}, {1: 1}), Reply.NOTHING, MUTE, True),
        (NOTHING_SENT, Reply.NOTHING, ServerRecords(sightings={TCP: None, UDP: {1: 1}}), True),
    ],
)
def test_whether_anything_came(sweep: Sweep | None, reply: Reply | None, server: ServerRecords, came: bool) -> None:
    assert anything_came(sweep, {80: Observation(TCP, 80, reply=reply)}, server) is came


FIVE_TIMES = {1: 5, 2: 5, 3: 5, 4: 5}


@pytest.mark.parametrize(
    ("situation", "sent", "answered", "sightings", "silent"),
    [
        ("the answers alone are stopped", FIVE_TIMES, {}, {1: 5, 2: 5, 3: 5, 4: 5}, False),
        ("and the path loses much", FIVE_TIMES, {}, {1: 3, 2: 2}, False),
        ("a guard struck after the first probes", FIVE_TIMES, {}, {1: 1, 2: 1, 3: 1}, True),
        ("so it did where one port was seen", FIVE_TIMES, {}, {4: 2}, True),
        ("one was seen as often as not", FIVE_TIMES, {}, {4: 3}, False),
        ("nothing came at all: that may be the rules", FIVE_TIMES, {}, {}, False),
        ("a port that answers tells of the path", FIVE_TIMES, {3: 1}, {1: 1, 2: 1, 3: 1}, False),
        ("the server could not tell", FIVE_TIMES, {}, None, False),
        ("it was sent to ports that were not asked", {1: 2}, {}, {1: 2, 9: 4}, False),
        ("nothing was sent", {1: 0}, {}, {}, False),
    ],
)
def test_whether_probes_came_at_first_and_later_no_more(
    situation: str, sent: dict[int, int], answered: dict[int, int], sightings: dict[int, int] | None, silent: bool
) -> None:
    server = ServerRecords(sightings={TCP: {80: 1}, UDP: sightings})
    assert fell_silent(swept(sent, answered), server) is silent


def test_without_a_sweep_nothing_fell_silent() -> None:
    assert not fell_silent(None, ServerRecords(sightings={TCP: {}, UDP: {1: 1}}))


@pytest.mark.parametrize(
    ("sent", "sightings", "answered", "loss"),
    [
        ({1: 10, 2: 10}, {1: 10, 2: 10}, {1: 10, 2: 10}, Loss(0.0, 0.0)),
        ({1: 10, 2: 10}, {1: 10, 2: 8}, {1: 9, 2: 6}, Loss(0.1, 0.1667)),
        ({1: 10, 2: 99}, {1: 8, 2: 50}, {1: 8}, Loss(0.2, 0.0)),  # a blocked port says nothing of the path
        ({1: 10}, {1: 12}, {1: 10}, Loss(0.0, 0.1667)),  # doubled on the way
        ({1: 10}, {}, {1: 10}, Loss(1.0, None)),
        ({1: 10}, {}, {}, Loss(None, None)),
    ],
)
def test_loss_is_measured_by_ports_proven_open(
    sent: dict[int, int], sightings: dict[int, int], answered: dict[int, int], loss: Loss
) -> None:
    assert measure_loss(swept(sent, answered), ServerRecords(sightings={TCP: None, UDP: sightings})) == loss


@pytest.mark.parametrize("limit", [Limit(Reason.RATE_LIMIT, rate=300.0), Limit(Reason.SCAN_BLOCK)])
def test_what_a_limit_stopped_is_no_loss_of_the_path(limit: Limit) -> None:
    sweep = swept({1: 10}, {1: 5})
    assert measure_loss(sweep, replace(MUTE)) == Loss(1.0, None)
    sweep._recovery.limit = limit
    assert measure_loss(sweep, replace(MUTE)) == Loss()


def test_loss_without_both_sides_is_not_measured() -> None:
    assert measure_loss(None, replace(MUTE)) == Loss()
    assert measure_loss(swept({1: 1}, {1: 1}), ServerRecords()) == Loss()


@pytest.mark.parametrize(
    ("seconds", "rtt"),
    [
        ([], Rtt()),
        ([0.002], Rtt(2.0, 2.0, 2.0)),
        ([0.003, 0.001], Rtt(1.0, 2.0, 3.0)),
        ([n / 1000 for n in range(1, 101)], Rtt(1.0, 50.5, 96.0)),
    ],
)
def test_round_trips_in_milliseconds(seconds: list[float], rtt: Rtt) -> None:
    assert measure_rtt(seconds) == rtt
