"""The bytes of everything that is read by others: the report, the control channel, the server's lines, the stop list.

Programs of users and other versions of this one read them: a key's name, its place, and how a number is written stay.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Iterator

import pytest

from agent.core import report_json
from agent.core.address import Family
from agent.core.counters import Counters, KernelStatus
from agent.core.events import (
    ClientLost,
    ClientRefused,
    Event,
    EventsSuppressed,
    LeftRunning,
    Listening,
    Note,
    Notes,
    ReportReceived,
    ServerStopped,
    Service,
    ServiceKind,
    ServicesRestored,
    ServiceTransition,
    SessionStarted,
    Step,
    StopPlan,
    Unavailable,
)
from agent.core.observation import Interceptor, Reason, Where
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.core.report import (
    AddressReport,
    Advice,
    ClientAddress,
    Control,
    Evidence,
    Finding,
    Loss,
    Problem,
    Report,
    Rtt,
    State,
    Verdict,
)
from agent.output import event_json
from agent.protocol import messages
from agent.protocol.messages import (
    AskKernel,
    AskRows,
    AskService,
    BindPartition,
    Bye,
    Challenge,
    Hello,
    KernelReply,
    Message,
    PartitionBound,
    PortTable,
    Proof,
    Received,
    Refusal,
    ReportPart,
    Rows,
    ServiceReply,
    Welcome,
)
from agent.services.model import StopList, to_json

FOLDER = Path(__file__).parent / "goldens"
TCP, UDP = Transport.TCP, Transport.UDP
CLIENT = ipaddress.ip_address("192.0.2.1")
PROBLEM = Problem("no-server", "No server found", "start it")

FULL = Report(
    "0.1.0", "2026-01-31T12:00:00Z", 3.20049, "meet.example.com", "plugnmeet", Verdict.FAIL,
    (
        AddressReport(
            "203.0.113.10", Family.IPV4, Verdict.FAIL, Control(443, True, True), Rtt(1.0, 2.5, 3.0), Loss(0.0, 0.01),
            (
                Finding(TCP, PortRange(80, 80), Need.REQUIRED, "Let's Encrypt", State.INTERCEPTED, None, "198.51.100.1",
                        None, None, "200 OK, Server: squid", None,
                        Interceptor.HTTP_PROXY, source="haproxy.cfg"),
                Finding(UDP, PortRange(50000, 52999), Need.REQUIRED, "media", State.OPEN, through="livekit"),
                Finding(UDP, PortRange(53000, 53999), Need.REQUIRED, "media", State.FILTERED, Where.BEFORE_SERVER,
                        evidence=Evidence(4000, 0, 0, 0, 1e-12, 7, 0, 98.5, 2048, 2.5, 0, 1, 2, 3, "203.0.113.1", 4,
                                          5)),
                Finding(UDP, PortRange(54000, 54000), Need.REQUIRED, "media", State.REJECTED, Where.SERVER_HOST,
                        "192.0.2.9",
                        icmp="port unreachable (type 3, code 3)"),
                Finding(UDP, PortRange(54001, 54999), Need.OPTIONAL, "media", State.UNTESTED, reason=Reason.SAMPLED),
                Finding(UDP, PortRange(55000, 55000), Need.RECOMMENDED, "media", State.UNTESTED, reason=Reason.BUSY,
                        owner="haproxy (pid 812)"),
            ),
            (Advice(2, "Open them.", ("ufw allow 53000", "ufw reload")), Advice(3, "“Öffnen”", ())),
            ("a note",), PROBLEM,
            ClientAddress("10.0.0.5", "192.0.2.1"), ("203.0.113.10", "2001:db8::1"), ("meet.example.com",),
        ),
        AddressReport("2001:db8::1", Family.IPV6, Verdict.INCONCLUSIVE),
    ),
    PROBLEM, ("203.0.113.10", "2001:db8::1"), ("meet.example.com", "turn.example.com"), ("one leads elsewhere",),
)  # fmt: skip
EMPTY = Report("0.1.0", "2026-01-31T12:00:00Z", 3.0, "192.0.2.1", "mine", Verdict.PASS)

MESSAGES: tuple[Message, ...] = (
    Hello(3, "0.1.0", Family.IPV4), Hello(3, "0.1.0", Family.IPV6, "0123456789abcdef" * 2),
    Challenge("0123456789abcdef" * 2), Proof(""), Proof("ab" * 32),
    Welcome(3, "0.1.0", "0123456789abcdef", "ab" * 32, Plan("mine", (
        Requirement(UDP, PortRange(50000, 60000), "media", Need.REQUIRED, "livekit.yaml"),
        Requirement(TCP, PortRange(443, 443), "HTTPS", Need.OPTIONAL))), True, False, "192.0.2.1", True, None),
    Welcome(3, "0.1.0", "0123456789abcdef", None, Plan("", ()), False, True, "2001:db8::1", False, 7600,
            "cd" * 32, True),
    Refusal("order", "It came too early", "say hello"),
    *(AskRows(table, UDP, 50000) for table in PortTable),
    Rows((), None), Rows(((PortRange(1, 2), 3), (PortRange(4, 4), "busy")), 5),
    AskKernel(), AskKernel(("192.0.2.7", "2001:db8::7"), ("0123456789ab",)),
    KernelReply(KernelStatus()), KernelReply(KernelStatus(1, Counters(2, 3, 4, 5, 6), 7), ("192.0.2.7",)),
    BindPartition(1), PartitionBound(), AskService(TCP, 443, "0123456789abcdef", "ef" * 32),
    ServiceReply(False), ServiceReply(True, 512, "01" * 32, True, False, True),
    ReportPart("{\"a\":\"ü\"", False), ReportPart("}", True), Received(), Bye(),
)  # fmt: skip

HAPROXY = Service(
    ServiceKind.UNIT, "haproxy.service", ("haproxy.socket",), ((TCP, PortRange(80, 80)), (UDP, PortRange(443, 443))),
    ((TCP, 80), (UDP, 443)),
)  # fmt: skip
LISTENING = Listening(
    443, ((TCP, PortRange(443, 443)), (UDP, PortRange(50000, 60000))),
    (Unavailable(TCP, PortRange(80, 80), Reason.BUSY, "haproxy (pid 812)", None),
     Unavailable(UDP, PortRange(443, 443), Reason.DENIED, None, Family.IPV6)),
    True, (CLIENT,), 3600.0, "",
)  # fmt: skip
EVENTS: tuple[Event, ...] = (
    LISTENING,
    Listening(
        8443, (), (), False, (), 60.0, "no root", "key", False, "no nobody",
        (Requirement(UDP, PortRange(1, 2), "media", Need.REQUIRED, "livekit.yaml, rtc"),), ("a note",), True,
        (PortRange(50000, 60000),),
    ),
    Listening(443, (), (), True, (), 60.0, "", "key", True),
    Notes((Note("clock-unset", "No clock.", "Tokens.", "Set it.", ("timedatectl",)),), ("interfaces",), ("STUN",)),
    SessionStarted(CLIENT), ReportReceived(CLIENT, FULL), ClientRefused(CLIENT, PROBLEM), ClientLost(CLIENT),
    EventsSuppressed(12), ServerStopped("time is over"),
    StopPlan((HAPROXY,), (LeftRunning("ssh.service", ((TCP, PortRange(22, 22)),), "the way here"),), 600.0),
    ServiceTransition(Step.STOPPING, "haproxy.service"), ServiceTransition(Step.READY),
    ServiceTransition(Step.FAILED, "haproxy.service", "it failed"),
    ServicesRestored(("a.service",), ("b.service",)),
)  # fmt: skip
STOP_LIST = StopList(
    (HAPROXY, Service(ServiceKind.COMPOSE, "meet", ("livekit",)), Service(ServiceKind.CONTAINER, "redis")),
    812, "4711", 600.5,
)  # fmt: skip


def lines(name: str) -> Iterator[str]:
    """The lines that a golden has to be, as the program writes them today."""
    if name == "report":
        yield from map(report_json.encode, (FULL, EMPTY))
    elif name == "messages":
        yield from (messages.encode(message).decode("ascii").rstrip("\n") for message in MESSAGES)
    elif name == "events":
        yield from (json.dumps(event_json.to_json(event), separators=(",", ":")) for event in EVENTS)
    else:
        yield json.dumps(to_json(STOP_LIST))


@pytest.mark.parametrize("name", ["report", "messages", "events", "stop_list"])
def test_what_others_read_stays_as_it_is_to_the_byte(name: str) -> None:
    assert list(lines(name)) == (FOLDER / f"{name}.jsonl").read_text(encoding="ascii").splitlines()


def test_every_message_and_event_has_a_golden() -> None:
    assert {type(message) for message in MESSAGES} == set(messages.Message.__args__)  # type: ignore[attr-defined]
    assert {type(event) for event in EVENTS} == set(Event.__args__)  # type: ignore[attr-defined]
