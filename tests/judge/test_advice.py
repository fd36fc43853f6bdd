from __future__ import annotations

from typing import Any

import pytest

from agent.judge.advice import advise
from agent.model.observation import Reason
from agent.model.plan import MEDIA, Need, Transport
from agent.model.ports import PortRange
from agent.model.report import Finding, State, Where

TCP, UDP = Transport.TCP, Transport.UDP


def finding(ports: str, state: State, purpose: str = "what for", need: Need = Need.REQUIRED, **rest: Any) -> Finding:
    run, _, transport = ports.partition("/")
    first, _, last = run.partition("-")
    return Finding(Transport(transport), PortRange(int(first), int(last or first)), need, purpose, state, **rest)


def media(ports: str, state: State, **rest: Any) -> Finding:
    return finding(f"{ports}/udp", state, MEDIA, **rest)


OPEN_IT = "Open {} in the server's firewall and in the provider's."


@pytest.mark.parametrize(
    ("found", "texts"),
    [
        (finding("443/tcp", State.OPEN), ()),
        (finding("443/tcp", State.FILTERED), ("Nobody can open the page", OPEN_IT.format("443/tcp"))),
        (finding("80/tcp", State.REJECTED), ("Let's Encrypt", OPEN_IT.format("80/tcp"))),
        (finding("7881/tcp", State.FILTERED), ("network blocks UDP cannot join", OPEN_IT.format("7881/tcp"))),
        (finding("1935/tcp", State.FILTERED), ("RTMP", OPEN_IT.format("1935/tcp"))),
        (finding("7885/udp", State.FILTERED), ("WHIP", OPEN_IT.format("7885/udp"))),
        (finding("5060-5061/udp", State.FILTERED, "SIP signalling"),
         ("does not work: SIP signalling.", OPEN_IT.format("5060-5061/udp"))),
        (finding("443/udp", State.FILTERED, need=Need.RECOMMENDED), ("TURN", "Better open 443/udp")),
        (finding("443/tcp", State.FILTERED, where=Where.RETURN_PATH), ("The packets arrive", "let the answers")),
        (finding("80/tcp", State.INTERCEPTED, shown="SSH"), ("Let's Encrypt", "Find out who answers")),
        (finding("80/tcp", State.UNTESTED, reason=Reason.BUSY), ("Stop that program",)),
        (finding("80/tcp", State.UNTESTED, reason=Reason.DENIED), ("sudo",)),
        (finding("80/tcp", State.UNTESTED, reason=Reason.LIMIT), ("ulimit -n",)),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.PATH_LOSS), ("from another network, or later",)),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.NO_CONTROL), ("start it again and repeat",)),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.ABORTED), ("Run it again",)),
        (finding("80/tcp", State.UNKNOWN, reason=Reason.ABORTED, shown="not permitted"), ("from another computer",)),
        (media("50000-60000", State.FILTERED),
         ("fall back to TCP", "Open 50000-60000/udp", "this one may block UDP")),
        (media("50000-60000", State.FILTERED, where=Where.RETURN_PATH), ("fall back to TCP", "The packets arrive")),
    ],
)  # fmt: skip
def test_advice_for_a_finding_alone(found: Finding, texts: tuple[str, ...]) -> None:
    advice = advise([found])
    assert [one.finding for one in advice] == ([0] if texts else [])
    assert all(text in advice[0].text for text in texts)
    if found.state in (State.UNTESTED, State.UNKNOWN):
        assert "cannot" not in advice[0].text  # nobody knows that


@pytest.mark.parametrize(
    ("blocked", "share"),
    [(1, "one time in 10,001"), (1000, "one time in 10"), (2500, "one time in 4"),
     (5000, "49% of the time"), (7501, "75% of the time"),
     (9999, "99% of the time")],
)  # fmt: skip
def test_how_often_users_meet_a_hole(blocked: int, share: str) -> None:
    found = [media(f"50000-{49999 + blocked}", State.FILTERED), media(f"{50000 + blocked}-60000", State.OPEN)]
    (advice,) = advise(found)
    assert f"fail at random: the server draws one of these ports {share}." in advice.text


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
    assert "one time in 4" in advice[0].text  # 11 of 40
    assert "50000, 50010-50019/udp" in advice[0].text
