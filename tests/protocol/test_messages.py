from __future__ import annotations

import json
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import Family
from agent.core.counters import Counters, KernelStatus
from agent.core.errors import DecodeError
from agent.core.observation import UNTESTED_REASONS
from agent.core.plan import ADDONS, Need, Plan, Requirement, Transport, build_plan
from agent.core.ports import PortRange
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
from tests.core.values import ADDRESSES, ANY, COUNTS, PORTS, disjoint_runs, plans, texts

# Limits, by their numbers: who changes one changes it here too.
HIGHEST = 65_535

SESSION, SECRET = "0123456789abcdef", "0123456789abcdef" * 4
HEX = st.text("0123456789abcdef", min_size=16, max_size=16)
FINGERPRINTS = st.just("") | HEX.map(lambda text: text * 4)
PLAN = Plan("mine", (Requirement(Transport.UDP, PortRange(50000, 60000), "media", Need.REQUIRED),))
HELLO = Hello(messages.PROTOCOL, "0.1.0", Family.IPV4, SESSION * 2)
WELCOME = Welcome(messages.PROTOCOL, "0.1.0", SESSION, SECRET, PLAN, True, True, "192.0.2.1", True, 7600)


def twice(text: str) -> str:
    return text * 2


@st.composite
def pages(draw: st.DrawFn) -> Rows:
    value = st.integers(0, 10**9) | st.sampled_from([reason.value for reason in UNTESTED_REASONS])
    return Rows(tuple((run, draw(value)) for run in draw(disjoint_runs())), None)


ELSEWHERE = st.lists(ADDRESSES.map(str), max_size=64).map(tuple)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, st.just(messages.PROTOCOL), texts(), st.sampled_from(Family), st.none() | HEX.map(twice)),
    st.builds(Challenge, HEX.map(twice)),
    st.builds(Proof, FINGERPRINTS),
    st.builds(Welcome, st.just(messages.PROTOCOL), texts(), HEX, st.none() | HEX.map(lambda text: text * 4), plans(),
              st.booleans(), st.booleans(), ADDRESSES.map(str), st.booleans(), COUNTS, FINGERPRINTS, st.booleans()),
    st.builds(Refusal, texts(), texts(500), texts(500)),
    st.builds(AskRows, st.sampled_from(PortTable), st.sampled_from(Transport), PORTS),
    pages(),
    st.builds(AskKernel, ELSEWHERE, st.lists(HEX.map(lambda text: text[:12])).map(tuple)),
    st.builds(KernelReply, st.builds(KernelStatus, COUNTS, st.builds(Counters, COUNTS, COUNTS),
                                     st.none() | st.integers(1, 1_000_000_000)), ELSEWHERE),
    st.builds(BindPartition, st.integers(0, 1)),
    st.just(PartitionBound()),
    st.builds(AskService, st.sampled_from(Transport), PORTS, HEX | HEX.map(lambda text: text * 4), FINGERPRINTS),
    st.builds(ServiceReply, st.booleans(), st.integers(0, 512), FINGERPRINTS, st.booleans(),
              st.none() | st.booleans(), st.booleans()),
    st.builds(ReportPart, texts(), st.booleans()),
    st.just(Received()),
    st.just(Bye()),
)  # fmt: skip


@ANY
@given(MESSAGES)
def test_every_message_round_trips_as_one_line(message: Message) -> None:
    line = messages.encode(message)
    assert line.find(b"\n") == len(line) - 1
    assert messages.decode(line[:-1]) == message


def full_page(value: int | str) -> Rows:
    first = HIGHEST - 2 * 1_500 - 1
    rows = tuple((PortRange(port, port + 1), value) for port in range(first, first + 2 * 1_500, 2))
    return Rows(rows, HIGHEST)


def runs_of_own(first: int) -> list[PortRange]:
    """As many as somebody can name, with as many digits as there are, clear of the add-ons' ports."""
    return [PortRange(port, port + 10) for port in range(first, first + 20 * 500, 20)]


@pytest.mark.parametrize(
    "message",
    [
        Welcome(messages.PROTOCOL, "9" * 200, SESSION, SECRET,
                build_plan("plugnmeet", sorted(ADDONS), runs_of_own(30000), runs_of_own(40000)),
                False, False, "2001:db8::1", False, 1_000_000_000),
        full_page(10**9),
        full_page("w" * 20),
        ReportPart('"' * 24_576, last=False),
        ReportPart("\\" * 24_576, last=False),
    ],
    ids=["the longest plan", "a full page of counts", "a full page of words", "all quotes", "all backslashes"],
)  # fmt: skip
def test_the_longest_messages_fit_into_a_line(message: Message) -> None:
    line = messages.encode(message)
    assert 65_536 // 2 < len(line) <= 65_536  # the first: else it would not be the longest
    assert messages.decode(line[:-1]) == message


def test_a_report_goes_in_parts_and_comes_whole() -> None:
    for text in ("x", "x" * 24_576, "xy" * 24_576, '"' * 4_194_304):
        parts = messages.report_parts(text)
        assert "".join(part.text for part in parts) == text
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
        assert max(len(messages.encode(part)) for part in parts) <= 65_536
    assert messages.report_parts("x" * (4_194_305)) == []


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'"hello"',
        b"{}",
        b'{"type":null}',
        b'{"type":"shutdown"}',
        b'{"type":"__class__"}',
        b'{"type":"bye"} {}',
        b'{"type":"bye","type":"bye"}',
        b'{"type":"bye","more":{"twice":1,"twice":1}}',
        b'{"type":"bye","number":NaN}',
        b'{"type":"bye","number":-Infinity}',
        b'{"type":"bye","number":' + b"1" * 30 + b"}",
        b'{"type":"bye","deep":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"type":"bye","deep":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
        b'{"type":"b\xffe"}',
        '{"type":"bye"}'.encode("utf-16-le"),
        b"\xef\xbb\xbf" + b'{"type":"bye"}',
        b'{"type":"report","text":"\\ud800","last":true}',
        b'{"type":"report","text":"' + b"x" * (24_577) + b'","last":true}',
        b'{"type":"report","text":"","last":1}',
        b'{"type":"hello","protocol":1.0,"program":"x","family":"ipv4"}',
        b'{"type":"hello","protocol":true,"program":"x","family":"ipv4"}',
        b'{"type":"hello","protocol":3,"program":5,"family":"ipv4"}',
        b'{"type":"hello","protocol":3,"program":"x","family":"ipx"}',
        b'{"type":"hello","protocol":3,"program":"x","family":["ipv4"]}',
    ],
)
def test_a_line_that_is_no_message(line: bytes) -> None:
    with pytest.raises(DecodeError):
        messages.decode(line)


def changed(message: Message, change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(messages.encode(message))
    change(value)
    return json.dumps(value).encode()


def set_to(*path: Any) -> Callable[[dict[str, Any]], object]:
    """Put the last of these at the place that the others name."""
    *way, key, new = path

    def change(value: Any) -> None:
        for step in way:
            value = value[step]
        value[key] = new

    return change


ROW = ["udp", 50000, 60000, "media", "required"]
REQUIREMENTS = "plan", "requirements"


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (AskRows(PortTable.SIGHTINGS, Transport.UDP, 1), set_to("start", -1)),
        (AskRows(PortTable.SIGHTINGS, Transport.UDP, 1), set_to("start", 0)),
        (AskRows(PortTable.SIGHTINGS, Transport.UDP, 1), set_to("start", 65536)),
        (AskRows(PortTable.SIGHTINGS, Transport.UDP, 1), set_to("start", "1")),
        (AskRows(PortTable.SIGHTINGS, Transport.UDP, 1), set_to("about", "processes")),
        (AskRows(PortTable.SIGHTINGS, Transport.UDP, 1), set_to("transport", "UDP")),
        (AskRows(PortTable.SIGHTINGS, Transport.UDP, 1), lambda value: value.pop("start")),
        (WELCOME, set_to("session", SESSION.upper())),
        (WELCOME, set_to("session", SESSION + "\n")),
        (WELCOME, set_to("secret", SECRET[:-1])),
        (WELCOME, set_to("secret", 5)),
        (WELCOME, set_to("certificate", SECRET[:-1])),
        (WELCOME, set_to("certificate", None)),
        (HELLO, set_to("nonce", SECRET[:-1])),
        (HELLO, set_to("nonce", "")),
        (HELLO, lambda value: value.pop("nonce")),
        (Challenge(SESSION * 2), set_to("nonce", None)),
        (Challenge(SESSION * 2), set_to("nonce", SESSION)),
        (Proof(SECRET), set_to("certificate", SECRET.upper())),
        (WELCOME, set_to("tls", None)),
        (WELCOME, set_to("flows", -1)),
        (WELCOME, set_to("flows", 1_000_000_001)),
        (WELCOME, set_to("flows", True)),
        (WELCOME, lambda value: value.pop("flows")),
        (WELCOME, set_to("plan", [])),
        (WELCOME, set_to("plan", "requirements", {})),
        (WELCOME, set_to(*REQUIREMENTS, [ROW, ROW])),
        (WELCOME, set_to(*REQUIREMENTS, [["udp", 60000, 60001, "", "optional"], ["udp", 1, 60000, "", "optional"]])),
        (WELCOME, set_to(*REQUIREMENTS, [["udp", port, port, "", "optional"] for port in range(1, 1102)])),
        (WELCOME, set_to(*REQUIREMENTS, 0, ROW[:4])),
        (WELCOME, set_to(*REQUIREMENTS, 0, [*ROW, 1])),
        (WELCOME, set_to(*REQUIREMENTS, 0, 0, "sctp")),
        (WELCOME, set_to(*REQUIREMENTS, 0, 1, -1)),
        (WELCOME, set_to(*REQUIREMENTS, 0, 1, 60001)),
        (WELCOME, set_to(*REQUIREMENTS, 0, 2, 10**19)),
        (WELCOME, set_to(*REQUIREMENTS, 0, 3, "x" * 201)),
        (WELCOME, set_to(*REQUIREMENTS, 0, 4, "wanted")),
        (Rows((), None), set_to("rows", [[2, 2, 1], [1, 1, 1]])),
        (Rows((), None), set_to("rows", [[1, 5, 1], [4, 8, 1]])),
        (Rows((), None), set_to("rows", [[5, 1, 1]])),
        (Rows((), None), set_to("rows", [[1, 1, -1]])),
        (Rows((), None), set_to("rows", [[1, 1, 1.5]])),
        (Rows((), None), set_to("rows", [[1, 1, "x" * 101]])),
        (Rows((), None), set_to("rows", [[1, 1]])),
        (Rows((), None), set_to("rows", [[port, port, 1] for port in range(1, 1_502)])),
        (Rows((), None), set_to("next", 5)),
        (KernelReply(KernelStatus(0)), set_to("free_flows", -1)),
        (KernelReply(KernelStatus()), set_to("rate", 0)),
        (KernelReply(KernelStatus()), set_to("conntrack_drops", -1)),
        (KernelReply(KernelStatus()), set_to("conntrack_drops", 1_000_000_001)),
        (KernelReply(KernelStatus()), set_to("receive_errors", 1.0)),
        (KernelReply(KernelStatus()), lambda value: value.pop("receive_errors")),
        (KernelReply(KernelStatus()), set_to("elsewhere", ["192.0.2.1"] * (65))),
        (KernelReply(KernelStatus()), set_to("elsewhere", ["192.0.2.256"])),
        (BindPartition(0), set_to("part", 2)),
        (BindPartition(0), set_to("part", -1)),
        (AskService(Transport.TCP, 80, SESSION), set_to("mark", SESSION[1:])),
        (AskService(Transport.TCP, 80, SESSION), set_to("mark", SESSION * 5)),
        (AskService(Transport.TCP, 80, SESSION), set_to("port", 0)),
        (AskService(Transport.TCP, 80, SESSION), set_to("certificate", SESSION)),
        (AskService(Transport.TCP, 80, SESSION), lambda value: value.pop("certificate")),
        (ServiceReply(True), set_to("on_disk", 0)),
        (ServiceReply(True), set_to("alive", None)),
        (ServiceReply(True), set_to("size", 513)),
        (ServiceReply(True), set_to("digest", SESSION)),
        (ServiceReply(True), set_to("closed", 1)),
        (WELCOME, lambda value: value.pop("live")),
        (KernelReply(KernelStatus()), lambda value: value.pop("elsewhere")),
        (AskKernel(), set_to("mine", ["meet.example"])),
        (AskKernel(), set_to("mine", [1])),
        (AskKernel(), set_to("nonces", ["0123456789ab"] * (65))),
        (AskKernel(), set_to("nonces", ["0123456789a"])),
        (AskKernel(), set_to("nonces", ["0123456789aB"])),
        (full_page(1), set_to("next", 60000)),
        (full_page(1), set_to("next", HIGHEST + 1)),
    ],
)
def test_a_message_with_a_field_gone_wrong(message: Message, change: Callable[[dict[str, Any]], object]) -> None:
    assert messages.decode(changed(message, lambda value: None)) == message
    with pytest.raises(DecodeError):
        messages.decode(changed(message, change))


def test_a_key_that_is_not_known_is_no_error() -> None:
    assert messages.decode(changed(WELCOME, set_to("motd", {"text": "hi"}))) == WELCOME


def test_another_protocol_is_told_whatever_else_it_says() -> None:
    hello = messages.decode(b'{"type":"hello","protocol":7,"program":"7.0"}')
    assert hello == Hello(7, "7.0", Family.IPV4)
    refusal = messages.decode(b'{"type":"welcome","protocol":7,"program":"7.0"}')
    assert isinstance(refusal, Refusal)
    assert refusal.code == "version"
    assert "server speaks protocol 7 (pnmcheck 7.0)" in refusal.message
    assert "client speaks protocol 3" in refusal.message
    assert "same pnmcheck.pyz" in refusal.hint


def test_the_refusal_of_a_version_can_be_sent_whoever_is_refused() -> None:
    refusal = messages.version_refusal(1, "s" * 200, 10**9, "c" * 200)
    assert messages.decode(messages.encode(refusal)[:-1]) == refusal
