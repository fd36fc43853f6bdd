from __future__ import annotations

from typing import Any, Callable

import pytest

from agent.core.observation import UNTESTED_REASONS, Interceptor, Reason, Where
from agent.core.plan import MEDIA, Need, Transport
from agent.core.ports import PortRange
from agent.core.report import Evidence, Finding, State
from agent.verdict.advice import advise
from agent.verdict.udp_state import NOT_CONFIRMED

TCP, UDP = Transport.TCP, Transport.UDP


def finding(ports: str, state: State, purpose: str = "what for", need: Need = Need.REQUIRED, **rest: Any) -> Finding:
    run, _, transport = ports.partition("/")
    first, _, last = run.partition("-")
    return Finding(Transport(transport), PortRange(int(first), int(last or first)), need, purpose, state, **rest)


def media(ports: str, state: State, **rest: Any) -> Finding:
    return finding(f"{ports}/udp", state, MEDIA, **rest)


OPEN_IT = "Open {} in the server's firewall and in the provider's."


def test_packets_for_some_of_the_ports_in_use_arrive() -> None:
    found = [media(ports, State.UNTESTED, reason=Reason.BUSY, evidence=Evidence(at_interface=came))
             for ports, came in (("50001", 2), ("50003-50004", 0), ("50006", 1))]  # fmt: skip
    (advice,) = advise(found)
    assert advice.text.startswith("Packets to 2 of these 3 ranges reached the server's network interface. A call")


@pytest.mark.parametrize(
    ("found", "texts"),
    [
        (finding("443/tcp", State.OPEN), ()),
        (finding("443/tcp", State.FILTERED), ("Nobody can open the page", OPEN_IT.format("443/tcp"))),
        (finding("80/tcp", State.REJECTED), ("Let's Encrypt", OPEN_IT.format("80/tcp"))),
        (finding("7881/tcp", State.FILTERED),
         ("Users whose network blocks UDP cannot join", OPEN_IT.format("7881/tcp"))),
        (finding("1935/tcp", State.FILTERED), ("RTMP", OPEN_IT.format("1935/tcp"))),
        (finding("7885/udp", State.FILTERED), ("WHIP", OPEN_IT.format("7885/udp"))),
        (finding("5060-5061/udp", State.FILTERED, "SIP signalling"),
         ("This does not work: SIP signalling.", OPEN_IT.format("5060-5061/udp"))),
        (finding("443/udp", State.FILTERED, need=Need.RECOMMENDED), ("TURN", "Better open 443/udp")),
        (finding("443/tcp", State.FILTERED, where=Where.RETURN_PATH), ("Allow the answers from 443/tcp out",)),
        (finding("443/tcp", State.FILTERED, where=Where.BEFORE_SERVER),
         ("Blocked before the server, probably by the provider's firewall: open 443/tcp there.", "shows the commands")),
        (finding("443/udp", State.REJECTED, need=Need.RECOMMENDED, where=Where.SERVER_HOST),
         ("Better open 443/udp in the server's own firewall.", "terminal shows the commands")),
        (finding("80/tcp", State.INTERCEPTED, shown="SSH"), ("Let's Encrypt", "Find out what answers")),
        (finding("80/tcp", State.UNTESTED, reason=Reason.BUSY), ("Stop that program",)),
        (media("50007", State.UNTESTED, reason=Reason.BUSY), ("A call uses its ports while it lasts",)),
        (media("50007", State.UNTESTED, reason=Reason.BUSY, evidence=Evidence(at_interface=2)),
         ("Packets to these ports reached the server's network interface. A call uses its ports while it lasts",)),
        (media("50007", State.UNTESTED, reason=Reason.BUSY, evidence=Evidence(at_interface=0)),
         ("Packets to these ports did not reach the server's network interface. A call",)),
        (finding("80/tcp", State.UNTESTED, reason=Reason.DENIED), ("sudo",)),
        (finding("80/tcp", State.UNTESTED, reason=Reason.LIMIT), ("ulimit -n",)),
        (finding("5060/udp", State.UNTESTED, reason=Reason.SAMPLED), ("Check without --sample to test all of them.",)),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.RATE_LIMIT), ("Wait a minute", "`ufw limit`")),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.PATH_LOSS), ("from another network, or later",)),
        (media("50000-60000", State.UNKNOWN, reason=Reason.RATE_LIMIT), ("`client HOST --sample 300 --rate 50`",)),
        (media("50000-60000", State.UNKNOWN, reason=Reason.FLOW_LIMIT),
         ("a larger router", "`client HOST --sample 300`")),
        (media("50000-60000", State.UNKNOWN, reason=Reason.SCAN_BLOCK),
         ("fail2ban", "Allow this computer", "`client HOST --sample 100 --rate 10`")),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.SCAN_BLOCK), ("Allow this computer",)),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.NO_CONTROL), ("start it again and repeat",)),
        (finding("443/udp", State.UNKNOWN, reason=Reason.NO_CONTROL, shown=NOT_CONFIRMED), ("another network",)),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.ABORTED), ("Run the check again",)),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.ABORTED, shown="not permitted"), ("from another computer",)),
        (media("50000-60000", State.FILTERED),
         ("fall back to TCP", "Open 50000-60000/udp", "this one may block UDP")),
        (media("50000-60000", State.FILTERED, where=Where.BEFORE_SERVER, shown="x"),
         ("fall back to TCP", "a small MTU")),
        (media("50000-60000", State.FILTERED, where=Where.RETURN_PATH), ("fall back to TCP", "Allow the answers")),
    ],
)  # fmt: skip
def test_advice_for_a_finding_alone(found: Finding, texts: tuple[str, ...]) -> None:
    advice = advise([found])
    assert [one.finding for one in advice] == ([0] if texts else [])
    assert all(text in advice[0].text for text in texts)
    if found.state in (State.UNTESTED, State.UNKNOWN):
        assert "cannot" not in advice[0].text  # nobody knows that


@pytest.mark.parametrize(
    ("interceptor", "text"),
    [
        (Interceptor.CAPTIVE_PORTAL, "Log in to this network"),
        (Interceptor.HTTP_PROXY, "users behind such a proxy"),
        (Interceptor.TLS_MIDDLEBOX, "have its operator exempt the server"),
        (Interceptor.CDN, "Point the DNS record at the server itself"),
        (Interceptor.OTHER_SERVICE, "Stop that program, or fix the port forwarding"),
        (Interceptor.FORWARDED, "the same port of the server"),
        (None, "Find out what answers"),
    ],
)
def test_every_stranger_has_its_advice(interceptor: Interceptor | None, text: str) -> None:
    (advice,) = advise([finding("443/tcp", State.INTERCEPTED, shown="x", interceptor=interceptor)])
    assert text in advice.text


def test_where_it_stops_is_not_for_a_client_alone_to_say() -> None:
    for where, elsewhere in ((Where.SERVER_HOST, False), (Where.BEFORE_SERVER, True), (None, True)):
        all_media = [media("50000-60000", State.FILTERED, where=where)]
        assert ("this one may block UDP" in advise(all_media)[0].text) is elsewhere
        here = advise(all_media, here=True)[0].text
        assert "fall back to TCP" in here
        assert "pen 50000" not in here


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_advice(reason: Reason) -> None:
    state = State.UNTESTED if reason in (*UNTESTED_REASONS, Reason.SAMPLED) else State.UNKNOWN
    (advice,) = advise([media("50000", state, reason=reason)])
    assert advice.text


@pytest.mark.parametrize(
    ("blocked", "share"),
    [(1, "1 call in 10,001 uses"), (1000, "1 call in 10 uses"), (2500, "1 call in 4 uses"),
     (5000, "49% of calls use"), (7501, "75% of calls use"), (9999, "99% of calls use")],
)  # fmt: skip
def test_how_often_users_meet_a_hole(blocked: int, share: str) -> None:
    found = [media(f"50000-{49999 + blocked}", State.FILTERED), media(f"{50000 + blocked}-60000", State.OPEN)]
    (advice,) = advise(found)
    assert f"fail at random: about {share} a blocked port." in advice.text


def test_findings_of_one_cause_get_one_piece_of_advice() -> None:
    found = [
        finding("443/tcp", State.OPEN),
        media("50000", State.FILTERED),
        media("50001-50009", State.OPEN),
        media("50010-50019", State.FILTERED),
        media("50020-50039", State.OPEN),
        finding("443/udp", State.UNTESTED, reason=Reason.BUSY),
    ]
    advice = advise(found)
    assert [one.finding for one in advice] == [1, 5]
    assert "1 call in 4" in advice[0].text  # 11 of 40
    assert "50000, 50010-50019/udp" in advice[0].text


def sampled(first: int, last: int, blocked: Callable[[int], bool], **rest: Any) -> list[Finding]:
    """Every fifth port was tried."""
    return [
        media(f"{port}", State.FILTERED, **rest) if tried and blocked(port)
        else media(f"{port}", State.OPEN) if tried
        else media(f"{port}-{port + 3}", State.UNTESTED, reason=Reason.SAMPLED)
        for five in range(first, last, 5) for port, tried in ((five, True), (five + 1, False))
    ] + [media(f"{last}", State.FILTERED if blocked(last) else State.OPEN)]  # fmt: skip


ALL_OPEN = sampled(50000, 50500, lambda port: False)


@pytest.mark.parametrize(
    ("found", "hole", "text"),
    [
        (ALL_OPEN, 16, "If 16 or more of these were blocked, 95 of 100 such samples would show it;"),
        ([*ALL_OPEN, finding("443/tcp", State.FILTERED)], 16, "If 16 or more of these"),
        (ALL_OPEN, 400, "If 400 or more of these"),
        (ALL_OPEN, 401, "So few ports say almost nothing about the others."),
        (ALL_OPEN, 0, "So few ports say almost nothing about the others."),
        ([*ALL_OPEN, finding("5060/udp", State.UNKNOWN, reason=Reason.ABORTED)], 16, ""),
        ([*ALL_OPEN, finding("5060/udp", State.FILTERED)], 16, ""),
    ],
)
def test_what_a_sample_tells_of_the_rest(found: list[Finding], hole: int, text: str) -> None:
    advice = {one.finding: one.text for one in advise(found, hole)}[1]
    assert advice.startswith(text)
    assert advice.endswith("Check without --sample to test all of them.")
    assert ("If " in advice, "So few" in advice) == (text[:2] == "If", text[:2] == "So")


def test_how_far_a_hole_reaches_that_a_sample_found_is_not_known() -> None:
    (rest, hole) = advise(sampled(50000, 50500, lambda port: 50200 <= port < 50250), 16)
    assert (rest.finding, rest.text) == (1, "Check without --sample to test all of them.")
    assert hole.text == (
        "Only a sample was checked: more ports may be blocked. Audio and video fail at random: about 1 call in 10 uses "
        "such a port. Open 50200-50245/udp in the server's firewall and in the provider's."
    )
    (_, answers) = advise(sampled(50000, 50500, lambda port: port in (50200, 50300), where=Where.RETURN_PATH), 16)
    assert "Only a sample" in answers.text
    assert "Allow the answers from 50200, 50300/udp out" in answers.text


def test_a_sample_that_is_all_blocked() -> None:
    advice = advise(sampled(50000, 50500, lambda port: True), 16)[0].text
    assert "fall back to TCP" in advice
    assert "Open 50000-50500/udp" in advice


def test_what_was_tried_whole_beside_a_sample_is_known() -> None:
    advice = advise([finding("443/udp", State.FILTERED, need=Need.RECOMMENDED), *ALL_OPEN], 16)
    assert "Only a sample" not in advice[0].text
