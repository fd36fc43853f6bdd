from __future__ import annotations

from dataclasses import replace

from agent.core.observation import Hop, Where
from agent.core.plan import Need, Transport
from agent.core.ports import PortRange
from agent.core.report import Evidence, Finding, State
from agent.verdict.last_hop import ports_to_trace, with_last_hops

TCP, UDP = Transport.TCP, Transport.UDP


def finding(transport: Transport, port: int, state: State, where: Where | None) -> Finding:
    return Finding(transport, PortRange(port, port + 9), Need.REQUIRED, "", state, where, evidence=Evidence(sent=30))


FINDINGS = (
    finding(TCP, 80, State.REJECTED, Where.BEFORE_SERVER),
    finding(UDP, 100, State.OPEN, None),
    finding(UDP, 200, State.FILTERED, Where.SERVER_HOST),
    finding(UDP, 300, State.FILTERED, Where.BEFORE_SERVER),
    finding(UDP, 400, State.FILTERED, Where.BEFORE_SERVER),
    finding(TCP, 500, State.FILTERED, Where.BEFORE_SERVER),
)


def test_one_port_of_each_transport_that_is_stopped_before_the_server_is_walked_to() -> None:
    assert ports_to_trace(FINDINGS) == {UDP: 300, TCP: 500}
    assert ports_to_trace(FINDINGS[:3]) == {}
    assert ports_to_trace([replace(FINDINGS[3], shown="small packets pass")]) == {}


def test_the_last_hop_is_evidence_of_what_was_walked_towards() -> None:
    seen = with_last_hops(FINDINGS, {UDP: Hop("192.0.2.1", 3), TCP: None})
    told = Evidence(sent=30, hops=3, last_hop="192.0.2.1")
    assert [one.evidence for one in seen] == [*[Evidence(sent=30)] * 3, told, *[Evidence(sent=30)] * 2]
    assert with_last_hops(FINDINGS, {}) == FINDINGS
