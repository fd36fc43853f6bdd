"""The report as people read it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import Family
from agent.core.observation import Interceptor, Reason, Where
from agent.core.plan import build_plan
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
from agent.output import text
from agent.output.style import Style
from agent.verdict.advice import advise
from agent.verdict.conclusion import verdict_of, worst
from agent.verdict.udp_state import ONLY_SMALL
from tests.core.values import ANY, FEW, REPORTS, texts

# Limits, by their numbers: who changes one changes it here too.
MAX_WIDTH = 80
MIN_WIDTH = 40

ASCII, UNICODE, COLOUR = Style(), Style(unicode=True), Style(unicode=True, colour=True)

OPEN = tuple(Finding(row.transport, row.ports, row.need, row.purpose, State.OPEN)
             for row in build_plan("plugnmeet").requirements)  # fmt: skip
HTTP, HTTPS, _, TURN, MEDIA = range(len(OPEN))


def but(number: int, state: State, ports: PortRange | None = None, **cause: Any) -> tuple[Finding, ...]:
    """Everything open, but for one row of the plan or some of its ports."""
    row = OPEN[number]
    hole = replace(row, ports=ports or row.ports, state=state, **cause)
    before = [replace(row, ports=PortRange(row.ports.first, hole.ports.first - 1))] if ports else []
    after = [replace(row, ports=PortRange(hole.ports.last + 1, row.ports.last))] if ports else []
    return (*OPEN[:number], *before, hole, *after, *OPEN[number + 1 :])


def checked(findings: tuple[Finding, ...], hole: int = 0, **rest: Any) -> Report:
    address = AddressReport(
        "203.0.113.10", Family.IPV4, verdict_of(findings), Control(443, True), Rtt(0.9, 1.0, 2.04), Loss(0.0, 0.0),
        findings, advise(findings, hole), **rest,
    )  # fmt: skip
    return Report("0.1.0", "2026-01-31T12:00:00Z", 2.51, "meet.example.com", "plugnmeet", address.verdict, (address,))


HOLE = checked(but(MEDIA, State.FILTERED, PortRange(53000, 53999), where=Where.UNKNOWN))
NO_SERVER = Problem("no-server", "No pnmcheck server found at 203.0.113.10: 443/tcp refused", "start it there first")
ADDRESSES = (AddressReport("203.0.113.10", Family.IPV4, Verdict.INCONCLUSIVE, error=NO_SERVER),)
FAILED = Report("0.1.0", "", 0.2, "meet.example.com", "", Verdict.INCONCLUSIVE, ADDRESSES, NO_SERVER)

PASS_TEXT = """\
PASS  meet.example.com: every required port is open

203.0.113.10 (IPv4)  PASS
  + 80, 443, 7881/tcp; 443, 50000-60000/udp: open
  control channel on 443/tcp with TLS, not paired; round trip 1.0 ms, 95 % under
  2.0 ms; no loss

10,005 ports in 2.5 s, plan plugnmeet, pnmcheck 0.1.0
"""

HOLE_TEXT = """\
FAIL  meet.example.com: 1,000 required ports are blocked

203.0.113.10 (IPv4)  FAIL
  x 53000-53999/udp: filtered (1,000 ports, WebRTC media)
    No answer came back; whether packets reach the server is not known. Audio
    and video fail at random: about 1 call in 10 uses a blocked port. Open
    53000-53999/udp in the server's firewall and in the provider's.
  + 80, 443, 7881/tcp; 443, 50000-52999, 54000-60000/udp: open
  control channel on 443/tcp with TLS, not paired; round trip 1.0 ms, 95 % under
  2.0 ms; no loss

10,005 ports in 2.5 s, plan plugnmeet, pnmcheck 0.1.0
"""

FAILED_TEXT = """\
INCONCLUSIVE  meet.example.com: the check could not run

203.0.113.10 (IPv4)  INCONCLUSIVE
  No pnmcheck server found at 203.0.113.10: 443/tcp refused
  What to do: start it there first

0 ports in 0.2 s, plan not known, pnmcheck 0.1.0
"""


def test_a_client_behind_a_nat_is_told_what_address_it_has() -> None:
    for local, mapped, told in (("10.0.0.5", "192.0.2.7", True), ("192.0.2.7", "192.0.2.7", False),
                                ("fe80::1%eth0", "fe80::1", False), (None, None, False)):  # fmt: skip
        shown = text.render(checked(OPEN, client=ClientAddress(local, mapped)), ASCII)
        assert ("the client is behind NAT, its address is 192.0.2.7" in shown) is told


def test_commands_are_shown_whole_however_narrow_the_terminal() -> None:
    command = "iptables -I INPUT 6 -p udp -m udp --dport 53000:53999 -j ACCEPT"
    (address,) = HOLE.addresses
    number = address.advice[0].finding
    advised = replace(address, advice=(Advice(number, "Open them.", (command, "bad\x1b[2J")),))
    shown = text.render(replace(HOLE, addresses=(advised,)), Style(width=40)).splitlines()
    assert f"      {command}" in shown
    assert "      bad?[2J" in shown


@pytest.mark.parametrize(("report", "expected"), [(checked(OPEN), PASS_TEXT), (HOLE, HOLE_TEXT), (FAILED, FAILED_TEXT)])
def test_a_report_in_plain_ascii(report: Report, expected: str) -> None:
    assert text.render(report, ASCII) == expected


NAMES = ("meet.example.com", "turn.example.com")
NAMES_TEXT = """\
PASS  meet.example.com, turn.example.com: every required port is open

The names lead somewhere.

203.0.113.10 (IPv4, meet.example.com, turn.example.com)  PASS
  + 80, 443, 7881/tcp; 443, 50000-60000/udp: open
"""


def test_several_names_are_told_with_what_they_lead_to() -> None:
    (address,) = checked(OPEN, names=NAMES).addresses
    report = replace(checked(OPEN), addresses=(address,), hosts=NAMES, notes=("The names lead somewhere.",))
    assert text.render(report, ASCII).startswith(NAMES_TEXT)
    assert text.render(replace(report, hosts=NAMES[:1], notes=()), ASCII) == PASS_TEXT  # as ever with one


@pytest.mark.parametrize(
    ("findings", "headline"),
    [
        (OPEN, "INCONCLUSIVE  meet.example.com: a name could not be checked"),
        (but(HTTP, State.UNTESTED), "INCONCLUSIVE  meet.example.com: 1 required port could not be checked"),
        (but(MEDIA, State.UNTESTED, PortRange(50001, 59999), reason=Reason.SAMPLED),
         "INCONCLUSIVE  meet.example.com: a name could not be checked, others only by a sample"),
        (but(HTTP, State.FILTERED), "FAIL  meet.example.com: 1 required port is blocked"),
    ],
)  # fmt: skip
def test_a_name_without_an_address_leaves_the_others_told(findings: tuple[Finding, ...], headline: str) -> None:
    made = checked(findings)
    verdict = worst((made.verdict, Verdict.INCONCLUSIVE))
    gone = Problem("name-not-found", "No address found for 'turn.example.com': no such name", "check the spelling")
    shown = text.render(replace(made, verdict=verdict, error=gone), Style(width=120))
    assert shown.startswith(f"{headline}\n\n  {gone.message}\n  What to do: {gone.hint}\n\n203.0.113.10 (IPv4)  ")


@pytest.mark.parametrize(
    ("findings", "lines"),
    [
        (
            but(HTTP, State.UNTESTED, reason=Reason.BUSY, owner="haproxy (pid 812)"),
            [
                "INCONCLUSIVE  meet.example.com: 1 required port could not be checked",
                "  ? 80/tcp: untested (Let's Encrypt certificates (HTTP-01))",
                "    haproxy (pid 812) uses it on the server. Stop that program during the check,",
            ],
        ),
        (
            but(HTTP, State.UNTESTED, reason=Reason.BUSY),
            ["    Another program on the server uses it. Stop that program during the check,"],
        ),
        (
            but(HTTPS, State.REJECTED, where=Where.UNKNOWN, by="203.0.113.1"),
            [
                "FAIL  meet.example.com: 1 required port is blocked",
                "  x 443/tcp: rejected (HTTPS: haproxy hands on to the other services)",
                "    The connection was refused by 203.0.113.1; whether packets reach the server",
            ],
        ),
        (
            but(HTTPS, State.REJECTED, where=Where.UNKNOWN, by="203.0.113.1", icmp="host unreachable (type 3, code 1)"),
            ["    Refused by 203.0.113.1: host unreachable (type 3, code 1); whether packets"],
        ),
        (
            but(HTTPS, State.REJECTED, where=Where.BEFORE_SERVER, icmp="port unreachable (type 3, code 3)"),
            ["    Refused: port unreachable (type 3, code 3); packets do not reach the server."],
        ),
        (
            but(HTTPS, State.FILTERED, where=Where.BEFORE_SERVER, evidence=Evidence(hops=1, last_hop="203.0.113.1")),
            [
                "    Packets do not reach the server; the last router that answers is",
                "    203.0.113.1, 1 hop away. Nobody can open the page or join a meeting. Blocked",
            ],
        ),
        (
            but(HTTPS, State.FILTERED, where=Where.BEFORE_SERVER, evidence=Evidence(hops=3, last_hop="2001:db8::1")),
            ["    2001:db8::1, 3 hops away. Nobody can open the page or join a meeting."],
        ),
        (
            but(MEDIA, State.FILTERED, where=Where.BEFORE_SERVER, shown=ONLY_SMALL),
            [
                "    A small packet was answered, a large one after it was not; large packets do",
                "    not reach the server. Audio and video fall back to TCP and work badly, or",
            ],
        ),
        (
            but(HTTP, State.INTERCEPTED, shown="HTTP/1.1 302 Found"),
            ["    Something other than the pnmcheck server answers: HTTP/1.1 302 Found. Let's"],
        ),
        (
            but(TURN, State.FILTERED, where=Where.RETURN_PATH),
            [
                "PASS  meet.example.com: every required port is open, a recommended one is not",
                "  x 443/udp: filtered (recommended: TURN/UDP)",
            ],
        ),
        (
            but(TURN, State.FILTERED, where=Where.RETURN_PATH, source="/opt/plugNmeet/livekit.yaml, turn.udp_port"),
            [
                "  x 443/udp: filtered (recommended: TURN/UDP; from /opt/plugNmeet/livekit.yaml,",
                "    turn.udp_port)",
            ],
        ),
        (
            but(MEDIA, State.UNKNOWN, reason=Reason.ABORTED),
            [
                "  ? 50000-60000/udp: unknown (10,001 ports, WebRTC media)",
                "    The check was interrupted. Run the check again.",
            ],
        ),
        (
            but(HTTP, State.UNKNOWN, reason=Reason.ABORTED, shown="Operation not permitted"),
            ["    The check could not get there: Operation not permitted. Fix that, or check"],
        ),
        (
            but(TURN, State.UNKNOWN, reason=Reason.NO_CONTROL, shown="nobody confirmed it"),
            ["    The server did not answer: nobody confirmed it. Check from another network."],
        ),
    ],
)
def test_a_finding_says_what_and_why(findings: tuple[Finding, ...], lines: list[str]) -> None:
    told = text.render(checked(findings), ASCII).splitlines()
    assert [line for line in lines if line not in told] == []


@pytest.mark.parametrize(
    ("interceptor", "sentence"),
    [
        (Interceptor.CAPTIVE_PORTAL, "A captive portal answers in the server's place: what it showed."),
        (Interceptor.HTTP_PROXY, "An HTTP proxy answers in the server's place: what it showed."),
        (Interceptor.TLS_MIDDLEBOX, "Something terminates TLS with its own certificate: what it showed."),
        (Interceptor.CDN, "A CDN answers in the server's place: what it showed."),
        (Interceptor.OTHER_SERVICE, "Another program answers: what it showed."),
        (Interceptor.FORWARDED, "It arrives at another port: what it showed."),
    ],
)
def test_every_stranger_has_its_sentence(interceptor: Interceptor, sentence: str) -> None:
    findings = but(HTTP, State.INTERCEPTED, shown="what it showed", interceptor=interceptor)
    assert sentence in " ".join(text.render(checked(findings), ASCII).split())


@pytest.mark.parametrize(
    ("reason", "measured", "sentence"),
    [
        (Reason.RATE_LIMIT, Evidence(rate=1234.4), "Something lets only about 1,234 packets per second pass. Check"),
        (Reason.RATE_LIMIT, Evidence(), "Something limits the number of packets per second. Check from"),
        (Reason.FLOW_LIMIT, Evidence(flows=3000, seconds=30.5),
         "A connection-tracking table on the path is full: after about 3,000 connections no new ones passed. Check"),
        (Reason.FLOW_LIMIT, Evidence(flows=0),
         "A connection-tracking table on the path is full: after about 0 connections no new ones passed. Check"),
        (Reason.FLOW_LIMIT, Evidence(), "A connection-tracking table on the path is full. Check from"),
        (Reason.SCAN_BLOCK, Evidence(rate=512.0, seconds=1061.2),
         "Something took the check for a port scan and blocked it for 1,061 s. Allow this"),
        (Reason.SCAN_BLOCK, Evidence(), "Something took the check for a port scan and blocked it. Allow this"),
        (Reason.PATH_LOSS, Evidence(rate=7.0, flows=7, seconds=7.0), "The path loses too many packets. Check again"),
    ],
)  # fmt: skip
def test_a_limit_is_told_with_what_was_measured_of_it(reason: Reason, measured: Evidence, sentence: str) -> None:
    told = text.render(checked(but(MEDIA, State.UNKNOWN, reason=reason, evidence=measured)), ASCII)
    assert sentence in " ".join(told.split())


def test_a_limit_of_connections_is_told() -> None:
    told = " ".join(text.render(checked(but(HTTP, State.UNKNOWN, reason=Reason.RATE_LIMIT)), ASCII).split())
    assert "Something seems to limit the number of connections from one computer. Wait a minute" in told


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_words(reason: Reason) -> None:
    told = text.render(checked(but(MEDIA, State.UNKNOWN, reason=reason)), ASCII)
    assert "50000-60000/udp: unknown" in told


def test_what_is_alike_is_said_once() -> None:
    cause: dict[str, Any] = {"state": State.FILTERED, "where": Where.UNKNOWN}
    holes = [replace(OPEN[MEDIA], ports=PortRange(port, port), **cause) for port in range(50000, 50100, 2)]
    told = text.render(checked((*OPEN[:MEDIA], *holes)), ASCII)
    assert told.count("filtered") == 1
    assert "50022/udp and 38 more runs: filtered (50 ports, WebRTC media)" in told.replace("\n    ", " ")


SAMPLED_TEXT = """\
INCONCLUSIVE  meet.example.com: none of 305 sampled required ports is blocked

203.0.113.10 (IPv4)  INCONCLUSIVE
  ? 9,699 UDP ports: untested (not in the sample, WebRTC media)
    Sampled: 303 of 10,002 UDP ports (3 %), all open. If 100 or more of these
    were blocked, 95 of 100 such samples would show it; fewer may stay hidden.
    Check without --sample to test all of them.
  + 80, 443, 7881/tcp; 303 UDP ports: open
  control channel on 443/tcp with TLS, not paired; round trip 1.0 ms, 95 % under
  2.0 ms; no loss

306 of 10,005 ports in 2.5 s, plan plugnmeet, pnmcheck 0.1.0
"""

SAMPLED_HOLE_TEXT = """\
FAIL  meet.example.com: at least 30 required ports are blocked

203.0.113.10 (IPv4)  FAIL
  x 30 ports within 53023-53986/udp: filtered (WebRTC media)
    No answer came back; whether packets reach the server is not known. Only a
    sample was checked: more ports may be blocked. Audio and video fail at
    random: about 1 call in 10 uses such a port. Open 53023-53986/udp in the
    server's firewall and in the provider's.
  ? 9,699 UDP ports: untested (not in the sample, WebRTC media)
    Sampled: 303 of 10,002 UDP ports (3 %), 273 open, 30 filtered. Check without
    --sample to test all of them.
  + 80, 443, 7881/tcp; 273 UDP ports: open
  control channel on 443/tcp with TLS, not paired; round trip 1.0 ms, 95 % under
  2.0 ms; no loss

306 of 10,005 ports in 2.5 s, plan plugnmeet, pnmcheck 0.1.0
"""


def sampled(blocked: range) -> tuple[Finding, ...]:
    """A sample of 302 ports, evenly spread, of which those in a range are blocked."""
    row, found = OPEN[MEDIA], list(OPEN[:MEDIA])
    tried = [50000 + number * 10000 // 301 for number in range(302)]
    for port, following in zip(tried, [*tried[1:], 60001]):
        shut: dict[str, Any] = {"state": State.FILTERED, "where": Where.UNKNOWN} if port in blocked else {}
        found.append(replace(row, ports=PortRange(port, port), **shut))
        if following > port + 1:
            rest = PortRange(port + 1, following - 1)
            found.append(replace(row, ports=rest, state=State.UNTESTED, reason=Reason.SAMPLED))
    return tuple(found)


ALL_OPEN = checked(sampled(range(0)), hole=100)


@pytest.mark.parametrize(
    ("report", "expected"),
    [(ALL_OPEN, SAMPLED_TEXT), (checked(sampled(range(53000, 54000)), hole=100), SAMPLED_HOLE_TEXT)],
    ids=["all open", "a hole"],
)
def test_a_sample_says_what_it_saw(report: Report, expected: str) -> None:
    assert text.render(report, ASCII) == expected


UNDETECTED = AddressReport("203.0.113.11", Family.IPV4, Verdict.INCONCLUSIVE, error=NO_SERVER)


@pytest.mark.parametrize(
    ("report", "meaning"),
    [
        (ALL_OPEN, "none of 305 sampled required ports is blocked"),
        (checked((*but(HTTP, State.UNTESTED, reason=Reason.BUSY)[:MEDIA], *sampled(range(0))[MEDIA:])),
         "1 required port could not be checked, others only by a sample"),
        (replace(ALL_OPEN, addresses=(*ALL_OPEN.addresses, UNDETECTED)),
         "an address could not be checked, others only by a sample"),
        (checked((*but(HTTP, State.FILTERED)[:MEDIA], *sampled(range(0))[MEDIA:])),
         "at least 1 required port is blocked"),
    ],
)  # fmt: skip
def test_the_headline_of_a_sample(report: Report, meaning: str) -> None:
    assert " ".join(text.headline(report, ASCII).split()).endswith(f": {meaning}")


def test_a_sample_of_a_few_ports() -> None:
    row = OPEN[MEDIA]
    first, last = (replace(row, ports=PortRange(port, port)) for port in (50000, 60000))
    rest = replace(row, ports=PortRange(50001, 59999), state=State.UNTESTED, reason=Reason.SAMPLED)
    told = text.render(checked((first, rest, last)), ASCII)
    assert "Sampled: 2 of 10,001 UDP ports (less than 1 %), all open." in told
    one = replace(rest, ports=PortRange(50001, 50001))
    assert "  ? 1 UDP port: untested (not in the sample, WebRTC media)\n" in text.render(checked((first, one)), ASCII)


def test_what_a_service_showed_is_told_beside_its_open_port() -> None:
    through = but(0, State.OPEN, through="301 Moved Permanently")
    lines = text.render(checked(through), ASCII).splitlines()
    place = next(number for number, line in enumerate(lines) if line.endswith(": open"))
    port = f"{through[0].ports.first}/{through[0].transport.value}"
    assert lines[place + 1] == f"    {port} through the service that uses it: 301 Moved Permanently."
    assert not any("through" in line for line in text.render(checked(but(0, State.OPEN)), ASCII).splitlines())


def test_what_was_not_measured_is_not_told() -> None:
    (address,) = HOLE.addresses
    told = text.render(replace(HOLE, addresses=(replace(address, rtt=Rtt(), loss=Loss(0.0, None)),)), ASCII)
    assert "round trip" not in told
    assert "loss" not in told
    lossy = replace(address, loss=Loss(0.05, 0.001))
    assert "loss 5.0% to the server, 0.1% back" in text.render(replace(HOLE, addresses=(lossy,)), ASCII)


def test_an_error_is_told_once_and_an_address_keeps_its_own() -> None:
    other = replace(NO_SERVER, message="Nothing there")
    told = text.render(replace(FAILED, error=other), ASCII)
    assert [told.count(message) for message in ("Nothing there", "No pnmcheck server found")] == [1, 1]
    assert told.count("What to do:") == 2
    assert text.render(replace(FAILED, addresses=()), ASCII).count("What to do:") == 1
    note = "This is the server's own computer."
    assert f"  {note}\n" in text.render(checked(OPEN, notes=(note,)), ASCII)


def test_marks_and_colours_are_for_terminals_that_have_them() -> None:
    assert "  ✗ 53000-53999/udp" in text.render(HOLE, UNICODE)
    assert "  ✓ 80, 443, 7881/tcp" in text.render(HOLE, UNICODE)
    coloured = text.render(HOLE, COLOUR)
    assert coloured.startswith("\x1b[31mFAIL\x1b[0m  ")
    assert "\x1b[32m✓\x1b[0m" in coloured
    assert SGR.sub("", coloured) == text.render(HOLE, UNICODE)


COMMAND = " " * 6  # so commands stand, and they are never wrapped
SGR = re.compile("\x1b\\[(?:0|1|31|32|33)m")


def assert_fits(report: Report, style: Style) -> None:
    plain = SGR.sub("", text.render(report, style))
    lines = plain.split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    assert [line for line in lines if len(line) > style.width and not line.startswith(COMMAND)] == []
    assert style.unicode or plain.isascii()


@pytest.mark.parametrize("style", [ASCII, UNICODE, COLOUR], ids=["ascii", "unicode", "colour"])
@FEW
@given(report=REPORTS)
def test_lines_fit_and_nothing_from_the_network_moves_the_cursor(style: Style, report: Report) -> None:
    assert_fits(report, style)


LONG = Problem("x" * 200, "é" * 2000, "\x1b[2J" * 500)


@pytest.mark.parametrize("width", [MIN_WIDTH, MAX_WIDTH])
@pytest.mark.parametrize(
    "report",
    [
        HOLE,
        FAILED,
        checked(but(TURN, State.FILTERED, where=Where.UNKNOWN)),
        checked(but(MEDIA, State.UNTESTED, reason=Reason.LIMIT)),
        ALL_OPEN,
        checked(sampled(range(53000, 54000))),
        replace(HOLE, version="v" * 200, host="h" * 255, plan="p" * 200),
        replace(HOLE, addresses=(replace(HOLE.addresses[0], address="fe80::1%".ljust(64, "e")),)),
        replace(HOLE, addresses=(replace(HOLE.addresses[0], address="fe80::1%\x1b[2J"),)),
        replace(FAILED, addresses=(replace(ADDRESSES[0], error=LONG),), error=LONG),
        checked(but(MEDIA, State.INTERCEPTED, shown="s" * 200, by="b" * 200), notes=("n" * 2000,)),
    ],
    ids=[
        "hole", "failed", "recommended", "untested", "sampled", "sampled hole", "long names", "long address",
        "odd address", "long errors", "long words",
    ],
)  # fmt: skip
def test_lines_fit_a_narrow_terminal_and_the_longest_words(report: Report, width: int) -> None:
    assert_fits(report, Style(width))


def test_a_long_name_leaves_room_for_the_verdict() -> None:
    told = text.headline(replace(HOLE, host="a" * 255), ASCII)
    assert len(told) == MAX_WIDTH
    assert told.endswith("...: 1,000 required ports are blocked")


@pytest.mark.parametrize(
    ("doing", "done", "total", "left", "line"),
    [
        ("looking up meet.example.com", 0, 0, None, "looking up meet.example.com"),
        ("UDP ports", 0, 10001, None, "UDP ports: 0 of 10,001 answered"),
        ("UDP ports", 9000, 10001, 2.4, "UDP ports: 9,000 of 10,001 answered, about 2 s left"),
        ("waiting", 0, 0, 0.1, "waiting, about 1 s left"),
    ],
)
def test_what_the_client_does_now(doing: str, done: int, total: int, left: float | None, line: str) -> None:
    assert text.render_progress(doing, done, total, left, ASCII) == line


@ANY
@given(texts(), st.integers(0, 65535), st.integers(0, 65535), st.none() | st.floats(0, 1e6), st.integers(40, 80))
def test_a_line_of_progress_never_wraps(doing: str, done: int, total: int, left: float | None, width: int) -> None:
    line = text.render_progress(doing, done, total, left, Style(width))
    assert len(line) < width
    assert line.isprintable()


def test_ports_scattered_by_a_limit_are_counted_and_not_listed() -> None:
    def one(port: int) -> Finding:
        if port % 2:
            return replace(OPEN[MEDIA], ports=PortRange(port, port))
        row = replace(OPEN[MEDIA], ports=PortRange(port, port))
        return replace(row, state=State.UNKNOWN, reason=Reason.FLOW_LIMIT)

    few, many = (tuple(map(one, range(50000, 50000 + 2 * runs))) for runs in (text.SCATTERED, text.SCATTERED + 1))
    counted = f"{text.SCATTERED + 1} UDP ports: "
    shown = text.render(checked(many), ASCII)
    assert f"{counted}unknown (WebRTC media)" in shown
    assert f"{counted}open" in shown
    assert "UDP ports: " not in text.render(checked(few), ASCII)
