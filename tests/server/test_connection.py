"""Connections to the server, driven by bytes: whatever comes in, in whatever pieces."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import report_json
from agent.core.address import Family
from agent.core.counters import Counters, KernelStatus
from agent.core.events import ClientLost, ClientRefused, ReportReceived, SessionStarted
from agent.core.plan import Transport
from agent.core.ports import PortRange
from agent.core.report import Problem, Report, Verdict
from agent.protocol import framing, http_proof, pairing, stun
from agent.protocol import messages as control
from agent.protocol.messages import (
    AskKernel,
    AskRows,
    AskService,
    BindPartition,
    Bye,
    Challenge,
    Hello,
    KernelReply,
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
from agent.server import packet_observer
from agent.server.commands import AskLocalStun, CatchUp
from agent.server.packet_observer import Progress
from tests.core.values import ANY
from tests.server.memory import (
    CLIENT,
    HELLO,
    PLAN,
    STRANGER,
    TRANSACTION,
    Conversation,
    MemoryServer,
    answers,
    lines,
    make_session,
    probe,
    say,
    seen_udp,
)

# Limits, by their numbers: who changes one changes it here too.
HELLO_SECONDS = 10.0
IDLE_SECONDS = 300.0
MAX_HELLO = 2048
SESSION_SECONDS = 1800.0
MAX_SESSIONS = 64
MAX_UNPAIRED = 16

REPORT = Report("0.1.0", "2026-01-31T12:00:00Z", 3.2, "meet.example.com", "mine", Verdict.PASS)


def talk(server: MemoryServer, port: int = 80) -> Conversation:
    return server.connect(port=port)


def begun(server: MemoryServer) -> Conversation:
    conversation = talk(server)
    say(conversation, HELLO)
    server.take_events()
    return conversation


def byte_by_byte(conversation: Conversation, data: bytes) -> bytes:
    """What is sent until the conversation ends."""
    sent = b""
    for at in range(len(data)):
        if not conversation.closing:
            sent += conversation.receive(data[at : at + 1], 1.0)
    return sent


WAYS: list[Callable[[Conversation, bytes], bytes]] = [lambda one, data: one.receive(data, 1.0), byte_by_byte]
ways = pytest.mark.parametrize("receive", WAYS, ids=["whole", "byte by byte"])


@ways
def test_a_whole_check(receive: Callable[[Conversation, bytes], bytes]) -> None:
    server = MemoryServer(kernel=[KernelStatus(7600, Counters(5, 70)), KernelStatus(0, Counters(9, 70))])
    conversation = talk(server)
    (welcome,) = answers(receive(conversation, lines(HELLO)))
    (session,) = server.sessions.values()
    assert welcome == Welcome(
        control.PROTOCOL,
        "0.1.0",
        session.id,
        session.key.decode(),
        PLAN,
        tls=True,
        wildcard_bind=True,
        client=str(CLIENT),
        capture=False,
        flows=7600,
    )
    assert conversation.has_session
    server.probe(probe(session), (CLIENT, 40000), Transport.UDP, 50000)
    rows = answers(receive(conversation, lines(AskRows(PortTable.SIGHTINGS, Transport.UDP, 1))))
    assert rows == [Rows(((PortRange(50000, 50000), 1),), None)]
    server.probe(probe(session), (STRANGER, 40000), Transport.UDP, 50000)
    pong = KernelReply(KernelStatus(0, Counters(4, 0)), (str(STRANGER),))
    assert answers(receive(conversation, lines(AskKernel()))) == [pong]
    assert answers(receive(conversation, lines(AskKernel(pong.other_sources)))) == [KernelReply(KernelStatus())]
    assert server.probe(probe(session), (STRANGER, 40000), Transport.UDP, 50000)
    for part in control.report_parts(report_json.encode(REPORT).ljust(control.MAX_REPORT_PART + 50)):
        assert answers(receive(conversation, lines(part))) == [Received()]
        assert not conversation.closing
    assert answers(receive(conversation, lines(Bye()))) == [Bye()]
    assert conversation.closing
    conversation.closed()
    assert server.take_events() == [SessionStarted(CLIENT), ReportReceived(CLIENT, REPORT)]
    assert server.sessions == {}


def test_a_session_ends_with_its_connection() -> None:
    server = MemoryServer()
    conversation = begun(server)
    conversation.closed()
    conversation.closed()
    assert server.sessions == {}
    assert server.take_events() == [ClientLost(CLIENT)]
    talk(server).closed()
    assert server.take_events() == []


def test_a_stranger_says_little_and_a_session_ends() -> None:
    conversation = talk(MemoryServer())
    hello = lines(HELLO)
    padded = hello.replace(b'"0.1.0"', b'"0.1.0"' + b" " * (MAX_HELLO + 1 - len(hello)))
    assert conversation.receive(padded[:-1], 1.0) == b""
    assert not conversation.closing
    conversation.receive(b"\n", 1.0)
    assert conversation.has_session
    conversation.receive(b" " * (framing.MAX_LINE - 100), SESSION_SECONDS - 5.0)
    assert not conversation.closing
    conversation.receive(lines(AskKernel()), SESSION_SECONDS - 5.0)
    assert conversation.deadline == SESSION_SECONDS
    long = talk(MemoryServer())
    assert long.receive(b"{" * (MAX_HELLO + 1), 1.0) == b""
    assert long.closing


def test_a_client_gets_longer_with_every_line_that_it_says() -> None:
    conversation = talk(MemoryServer())
    assert conversation.deadline == HELLO_SECONDS
    conversation.receive(lines(HELLO)[:-1], 5.0)
    assert conversation.deadline == HELLO_SECONDS
    conversation.receive(b"\n", 6.0)
    assert conversation.deadline == 6.0 + IDLE_SECONDS


@pytest.mark.parametrize(
    ("start", "message", "code"),
    [
        ([], Hello(7, "7.0", Family.IPV4), "version"),
        ([], AskRows(PortTable.SIGHTINGS, Transport.UDP, 1), "order"),
        ([], AskKernel(), "order"),
        ([], Bye(), "order"),
        ([HELLO], HELLO, "order"),
        ([HELLO], Received(), "order"),
        ([HELLO], KernelReply(KernelStatus()), "order"),
        ([HELLO], ReportPart("no report", last=True), "report"),
        ([HELLO], ReportPart(report_json.encode(REPORT).replace("/1", "/2"), last=True), "report"),
    ],
)
def test_a_refusal_is_told_on_both_sides_and_ends_it(
    start: list[control.Message], message: control.Message, code: str
) -> None:
    server = MemoryServer()
    conversation = talk(server)
    for earlier in start:
        say(conversation, earlier)
    (refusal,) = say(conversation, message)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, bool(refusal.message), bool(refusal.hint)) == (code, True, True)
    assert conversation.closing
    event = server.take_events()[-1]
    assert isinstance(event, ClientRefused)
    assert (event.client, vars(event.problem)) == (CLIENT, vars(refusal))


@pytest.mark.parametrize(("number", "secret"), [(MAX_SESSIONS, "0" * 64), (MAX_UNPAIRED, None)])
def test_more_checks_than_there_is_room_for(number: int, secret: str | None) -> None:
    server = MemoryServer()
    for _ in range(number):
        make_session(server, secret)
    (refusal,) = say(talk(server), HELLO)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.message.partition(" ")[0]) == ("crowded", str(number))
    assert len(server.sessions) == number


def test_a_client_is_told_that_services_go_on_running() -> None:
    for live in (False, True):
        server = MemoryServer(live=live)
        (welcome,) = say(talk(server), HELLO)
        assert isinstance(welcome, Welcome)
        assert welcome.live is live
    (refusal,) = say(talk(server), HELLO)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.hint) == ("crowded", "try again in a minute")


def test_each_partition_is_bound_once_and_released_with_the_report_or_the_connection() -> None:
    server = MemoryServer(live=True)
    server.set_ports(partitions={50000: 0, 50001: 1})
    conversation = begun(server)
    assert server.partitions == []
    assert say(conversation, BindPartition(0)) == say(conversation, BindPartition(1)) == [PartitionBound()]
    assert server.partitions == [0, 1]
    assert say(conversation, ReportPart(report_json.encode(REPORT), last=True)) == [Received()]
    assert server.partitions == [0, 1, None]
    conversation.closed()
    assert server.partitions == [0, 1, None, None]
    for takes in ((1, 0), (0, 0), (1, 1)):
        conversation = begun(server)
        (bound,), (refusal,) = (say(conversation, BindPartition(part)) for part in takes)
        assert bound == PartitionBound()
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.hint, conversation.closing) == ("crowded", "try again in a minute", True)
        conversation.closed()
        assert server.partitions[-2:] == [takes[0], None]


def test_partitions_are_bound_thirty_times_at_once_and_then_now_and_again() -> None:
    server = MemoryServer(live=True)
    server.set_ports(partitions={50000: 0})

    def bind(now: float) -> control.Message:
        conversation = begun(server)
        (answer,) = answers(conversation.receive(lines(BindPartition(0)), now))
        conversation.closed()
        return answer

    assert [bind(1.0) for _ in range(31)].count(PartitionBound()) == 30
    assert isinstance(bind(2.0), Refusal)
    assert bind(4.0) == PartitionBound()
    assert server.partitions.count(0) == 31


def test_where_there_are_no_partitions_none_is_bound() -> None:
    server = MemoryServer()
    (refusal,) = say(begun(server), BindPartition(0))
    assert isinstance(refusal, Refusal)
    assert server.partitions == []


def silent_service(server: MemoryServer, conversation: Conversation) -> AskService:
    """A question about a service that a probe of this session's came to, and that did not answer."""
    server.set_ports(served={Transport.UDP: {50000: "turn"}})
    (session,) = server.sessions.values()
    mark = stun.make_transaction(0, bytes(8))
    data = stun.encode_request(stun.Request(session.id, mark, 50000), session.key)
    server.core.packet(seen_udp(data), leaves=False, interface="eth0")
    return AskService(Transport.UDP, 50000, mark.hex())


def test_an_answer_waits_for_the_service_of_this_machine_while_others_are_answered() -> None:
    server = MemoryServer(capture=True, live=True)
    conversation = begun(server)
    question = silent_service(server, conversation)
    catch_up, *_ = server.core.received(conversation.number, lines(question), 1.0)
    assert isinstance(catch_up, CatchUp)
    (ask,) = server.core.on_result(catch_up, None, 1.0)
    assert isinstance(ask, AskLocalStun)
    assert ask.port == 50000
    assert [type(answer) for answer in say(talk(server), HELLO)] == [Refusal]  # another client need not wait
    assert server.core.on_result(catch_up, None, 1.0) == []  # which nothing waits for any more
    server.perform(server.core.on_result(ask, True, 1.1))
    (service,) = answers(server.take_sent(conversation.number))
    assert isinstance(service, ServiceReply)
    assert (service.arrived, service.alive) == (True, True)


@pytest.mark.parametrize("ends", ["impatient", "closed"])
def test_a_result_that_comes_too_late_is_nobodys(ends: str) -> None:
    server = MemoryServer(capture=True, live=True)
    conversation = begun(server)
    (catch_up,) = server.core.received(conversation.number, lines(silent_service(server, conversation)), 1.0)
    assert isinstance(catch_up, CatchUp)
    if ends == "closed":
        conversation.closed()
    else:
        (refusal,) = say(conversation, AskKernel())
        assert isinstance(refusal, Refusal)
        assert (refusal.code, conversation.closing) == ("order", True)
    assert server.core.on_result(catch_up, None, 1.1) == []


def test_a_client_asks_what_services_were_seen_to_answer() -> None:
    conversation = begun(MemoryServer())
    assert say(conversation, AskService(Transport.TCP, 80, "0123456789abcdef")) == [ServiceReply(False)]


def test_a_session_hands_over_one_report() -> None:
    server = MemoryServer()
    conversation = begun(server)
    part = ReportPart(report_json.encode(REPORT), last=True)
    assert say(conversation, part) == [Received()]
    (refusal,) = say(conversation, part)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, "second report" in refusal.message) == ("order", True)
    assert [type(event) for event in server.take_events()] == [ReportReceived, ClientRefused]


KEY, CERTIFICATE = "of twenty characters or more", b"a certificate"


class Paired:
    """A client's end of a conversation that has a key.

    `seen` is the certificate that it saw, `heard` the hello that reached the server.
    """

    def __init__(
        self,
        server: MemoryServer,
        key: str = KEY,
        seen: bytes = CERTIFICATE,
        heard: Callable[[Hello], Hello] = lambda one: one,
    ) -> None:
        self.conversation = talk(server)
        self.conversation.show(CERTIFICATE)
        hello = replace(HELLO, nonce="1" * 32)
        (challenge,) = say(self.conversation, heard(hello))
        assert isinstance(challenge, Challenge)
        self.challenge = challenge
        self.keys = control.session_keys(key, hello, challenge)
        self.seals = pairing.RecordAuthenticator(self.keys.client, self.keys.server)
        self.proof = self.seals.sign(control.encode(Proof(pairing.fingerprint(seen))))

    def send(self, line: bytes) -> control.Message:
        """A line, sealed or not, and its answer, which has to be sealed."""
        return control.decode(self.seals.verify(self.conversation.receive(line, 1.0)[:-1]))

    def say(self, message: control.Message) -> control.Message:
        return self.send(self.seals.sign(control.encode(message)))


def paired_server() -> MemoryServer:
    return MemoryServer(key=KEY)


def test_a_paired_session_has_a_secret_that_was_never_sent() -> None:
    server = paired_server()
    client = Paired(server)
    assert not client.conversation.has_session
    welcome = client.send(client.proof)
    (session,) = server.sessions.values()
    assert session.paired
    assert session.key.decode() == client.keys.secret
    assert isinstance(welcome, Welcome)
    assert (welcome.session, welcome.secret) == (session.id, None)
    assert welcome.certificate == pairing.fingerprint(CERTIFICATE)
    assert client.say(AskKernel()) == KernelReply(KernelStatus())
    assert client.say(ReportPart(report_json.encode(REPORT), last=True)) == Received()
    assert client.say(Bye()) == Bye()
    assert client.conversation.closing


def test_every_session_of_a_key_has_another_secret() -> None:
    server = paired_server()
    for _ in range(2):
        client = Paired(server)
        client.send(client.proof)
    assert len({session.key for session in server.sessions.values()}) == 2


@pytest.mark.parametrize("message", [HELLO, AskKernel(), Proof("")])
def test_without_the_key_nothing_is_told_but_that_it_is_needed(message: control.Message) -> None:
    server = paired_server()
    sent = talk(server).receive(lines(message), 1.0)
    (refusal,) = answers(sent)
    assert isinstance(refusal, Refusal)
    assert refusal.code == ("key-needed" if message == HELLO else "order")
    assert server.sessions == {}
    assert len(sent) < 300


@pytest.mark.parametrize("forged", ["another key", "not sealed", "sealed twice", "another's session"])
def test_a_proof_that_proves_nothing(forged: str) -> None:
    server = paired_server()
    client = Paired(server, "another key of twenty characters" if forged == "another key" else KEY)
    line = {
        "another key": client.proof,
        "not sealed": control.encode(Proof(pairing.fingerprint(CERTIFICATE))),
        "sealed twice": client.seals.sign(control.encode(Proof(pairing.fingerprint(CERTIFICATE)))),
        "another's session": Paired(server).proof,
    }[forged]
    (refusal,) = answers(client.conversation.receive(line, 1.0))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "wrong-key"
    assert client.conversation.closing
    assert server.sessions == {}


def test_a_line_put_into_a_paired_channel_ends_it() -> None:
    server = paired_server()
    client = Paired(server)
    client.send(client.proof)
    refusal = client.send(lines(AskKernel()))  # under seal: the client can open it
    assert isinstance(refusal, Refusal)
    assert (refusal.code, "changes their messages" in refusal.message) == (control.INTERCEPTED, True)
    assert client.conversation.closing


@pytest.mark.parametrize("change", [{"family": Family.IPV6}, {"nonce": "2" * 32}, {"program": "0.1.1"}])
def test_a_hello_that_was_changed_on_the_way_proves_nothing(change: dict[str, Any]) -> None:
    server = paired_server()
    client = Paired(server, heard=lambda hello: replace(hello, **change))
    (refusal,) = answers(client.conversation.receive(client.proof, 1.0))
    assert isinstance(refusal, Refusal)
    assert (refusal.code, server.sessions) == ("wrong-key", {})


@pytest.mark.parametrize("seen", [b"another's certificate", b""])
def test_somebody_in_the_middle_is_told_to_both(seen: bytes) -> None:
    server = paired_server()
    client = Paired(server, seen=seen)
    refusal = client.send(client.proof)  # under seal: the one in the middle cannot have made it
    assert isinstance(refusal, Refusal)
    assert refusal.code == control.INTERCEPTED
    assert pairing.fingerprint(CERTIFICATE)[:16] in refusal.message
    assert (pairing.fingerprint(seen)[:16] or "no certificate") in refusal.message
    assert client.conversation.closing
    assert server.sessions == {}
    assert server.take_events() == [ClientRefused(CLIENT, Problem(refusal.code, refusal.message, refusal.hint))]


def test_a_client_with_a_key_at_a_server_without_one() -> None:
    (refusal,) = say(talk(MemoryServer()), replace(HELLO, nonce="1" * 32))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "no-key"


def test_two_lines_at_a_time_are_refused_under_seal() -> None:
    client = Paired(paired_server())
    refusal = client.send(client.proof * 2)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "order"


@pytest.mark.parametrize("text", ["x" * control.MAX_REPORT_PART, "xy", ""], ids=["full parts", "crumbs", "nothing"])
def test_a_report_too_long_is_refused_by_what_it_takes_to_keep(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(control, "MAX_REPORT", 2 * control.MAX_REPORT_PART)
    conversation = begun(MemoryServer())
    parts, each = 0, 8 + (sys.getsizeof(text) if text else 0)  # a list's place for it, and the text; there is one ""
    while say(conversation, ReportPart(text, last=False)) == [Received()]:
        parts += 1
        assert parts * each <= 2 * control.MAX_REPORT
    assert conversation.closing
    assert len(text) < control.MAX_REPORT_PART or parts >= 1


def test_the_longest_report_that_a_client_sends_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_REPORT", 2 * control.MAX_REPORT_PART)
    server = MemoryServer()
    conversation = begun(server)
    for part in control.report_parts(report_json.encode(REPORT).ljust(control.MAX_REPORT)):
        assert say(conversation, part) == [Received()]
    conversation.closed()  # without a goodbye: the check is finished all the same
    assert server.take_events() == [ReportReceived(CLIENT, REPORT)]


@pytest.mark.parametrize("junk", [b"\xff" * 20, b"ssh", b"{}\n", b"{" + bytes(framing.MAX_LINE), b"\x04\xff", b"\n"])
def test_junk_is_answered_with_the_end(junk: bytes) -> None:
    server = MemoryServer()
    conversation = talk(server)
    assert conversation.receive(junk, 1.0) == b""
    assert conversation.closing
    assert server.take_events() == []


def test_tls_that_nobody_took_off_gets_an_alert() -> None:
    conversation = talk(MemoryServer())
    alert = conversation.receive(bytes.fromhex("160301020001"), 1.0)
    assert (alert[0], alert[5]) == (0x15, 2)  # RFC 8446, section 6: an alert, and a fatal one
    assert int.from_bytes(alert[3:5], "big") == len(alert) - 5
    assert conversation.closing


def acme(server: MemoryServer, port: int) -> tuple[bytes, str]:
    """A request for a proof, and the proof."""
    session = make_session(server)
    token = http_proof.make_token(session.id, port, "0" * 16, session.key)
    return http_proof.encode_request("meet.example.com", token), http_proof.make_proof(token, b"DER", session.key)


@ways
def test_http_for_a_clients_token(receive: Callable[[Conversation, bytes], bytes]) -> None:
    server = MemoryServer()
    request, proof = acme(server, 80)
    conversation = talk(server, 80)
    conversation.show(b"DER")
    assert receive(conversation, request) == http_proof.encode_answer(proof)
    assert conversation.closing


@ways
@pytest.mark.parametrize("fault", ["another page", "another port", "another method", "no end"])
def test_http_for_strangers_is_a_404(receive: Callable[[Conversation, bytes], bytes], fault: str) -> None:
    server = MemoryServer()
    request = {
        "another page": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "another port": acme(server, 81)[0],
        "another method": b"POST" + acme(server, 80)[0][3:],
        "no end": b"GET /" + b"x" * (http_proof.MAX_REQUEST + 1),
    }[fault]
    conversation = talk(server, 80)
    assert receive(conversation, request).startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert conversation.closing


@ways
def test_framed_stun_is_answered_frame_by_frame(receive: Callable[[Conversation, bytes], bytes]) -> None:
    server = MemoryServer()
    session = make_session(server)
    conversation = talk(server, 80)
    request = framing.frame(probe(session, 80, number=1))  # the same again: a connection proves who sent it
    sent = receive(conversation, request + framing.frame(b"") + request)
    packets = framing.Frames(stun.MAX_BYTES).feed(sent)
    assert [stun.is_answer(packet, TRANSACTION, session.key) for packet in packets] == [True, True]
    assert not conversation.closing
    assert receive(conversation, framing.frame(probe(session, 81))) == b""


@pytest.mark.parametrize("questions", [2, 1000])
def test_questions_that_do_not_wait_for_their_answers_are_refused(questions: int) -> None:
    # One piece full of them would keep the server busy for seconds.
    server = MemoryServer()
    conversation = begun(server)
    (refusal,) = say(conversation, *[AskRows(PortTable.SIGHTINGS, Transport.UDP, 1)] * questions)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "order"
    assert conversation.closing


SAID = [lines(message) for message in (
    HELLO, AskRows(PortTable.SIGHTINGS, Transport.UDP, 1), AskKernel(), ReportPart("{", False), Bye(),
)]  # fmt: skip
SPEECHES = st.lists(
    st.sampled_from([*SAID, framing.frame(bytes(20)), b"GET / HTTP/1.1\r\n"]) | st.binary(min_size=1, max_size=10),
    min_size=1, max_size=6,
)  # fmt: skip


@ANY
@given(SPEECHES)
def test_nothing_that_is_said_raises_or_leaves_a_session_behind(pieces: list[bytes]) -> None:
    server = MemoryServer()
    conversation = talk(server)
    for piece in pieces:
        if not conversation.closing:
            conversation.receive(piece, 1.0)
    conversation.closed()
    assert server.sessions == {}


def test_what_is_read_and_written_is_noted_whether_anybody_understands_it_or_not() -> None:
    server = MemoryServer()
    session = server.open(CLIENT, Family.IPV4)
    assert session
    conversation = talk(server)
    flow = session.observer._flows[80, 40000] = packet_observer._Flow(0)
    server.core.on_progress(conversation.number, Progress.READ)
    assert flow.progress == Progress.READ
    server.core.on_progress(conversation.number, Progress.WRITTEN)
    assert flow.progress == Progress.READ | Progress.WRITTEN
