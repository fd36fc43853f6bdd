from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.address import Family
from agent.core.observation import Reason, Where
from agent.core.plan import MEDIA
from agent.core.report import AddressReport, Finding, State, Verdict
from agent.firewall import common_mistakes
from agent.firewall.model import FirewallManagers, RuleAction, UfwStatus
from tests.firewall.test_fixes import blocking_rule, ufw_rule
from tests.verdict.test_advice import finding, media

OPEN, FILTERED, REJECTED = State.OPEN, State.FILTERED, State.REJECTED
NONE, UFW = FirewallManagers(), FirewallManagers(ufw=UfwStatus())
ORACLE = replace(
    blocking_rule("443/udp", action=RuleAction.REJECT), text="-A INPUT -j REJECT --reject-with icmp-host-prohibited"
)  # fmt: skip


def test_oracles_reject() -> None:
    assert "`ufw allow` does not help" in str(common_mistakes.oracle_reject([ORACLE], UFW))
    assert "`iptables -A` does not help" in str(common_mistakes.oracle_reject([ORACLE], NONE))
    for other in (
        replace(ORACLE, action=RuleAction.DROP),
        replace(ORACLE, text="-A INPUT -j REJECT --reject-with icmp-port-unreachable"),
        replace(ORACLE, location=replace(ORACLE.location, path=("INPUT", "ufw-reject-input"))),
        replace(ORACLE, location=replace(ORACLE.location, number=None)),
    ):
        assert common_mistakes.oracle_reject([other], UFW) is None


def test_ufws_order() -> None:
    assert "first rule" in str(common_mistakes.ufw_order([ufw_rule("443/udp")], UFW))
    assert common_mistakes.ufw_order([ufw_rule("443/udp")], NONE) is None
    assert common_mistakes.ufw_order([blocking_rule("443/udp", number=None)], UFW) is None


def test_dockers_bypass() -> None:
    published = blocking_rule("443/tcp", "PREROUTING DOCKER", table="nat", action=RuleAction.REDIRECT)
    assert "bypasses ufw" in str(common_mistakes.docker_bypass([published], UFW))
    assert (
        common_mistakes.docker_bypass([replace(published, action=RuleAction.DROP), blocking_rule("443/tcp")], UFW)
        is None
    )


def address(family: Family, *findings: Finding) -> AddressReport:
    text = {Family.IPV4: "203.0.113.10", Family.IPV6: "2001:db8::10"}[family]
    return AddressReport(text, family, Verdict.FAIL, findings=findings)


def test_ipv6_that_was_forgotten() -> None:
    ipv4 = address(Family.IPV4, finding("443/tcp", OPEN), finding("80/tcp", FILTERED), media("50000-60000", OPEN))
    ipv6 = address(Family.IPV6, finding("443/tcp", REJECTED), finding("80/tcp", FILTERED),
                   media("50000-52999", OPEN), media("53000-60000", FILTERED))  # fmt: skip
    sentence = common_mistakes.forgotten_ipv6(ipv6, [ipv4, ipv6])
    assert sentence is not None
    assert "forgotten: 443/tcp and 53000-60000/udp are open for IPv4" in sentence
    assert common_mistakes.forgotten_ipv6(ipv4, [ipv4, ipv6]) is None
    assert common_mistakes.forgotten_ipv6(ipv6, [ipv6]) is None
    assert common_mistakes.forgotten_ipv6(address(Family.IPV4, finding("443/tcp", FILTERED)), [ipv4]) is None


@pytest.mark.parametrize(
    ("findings", "only"),
    [
        ([finding("443/tcp", OPEN), media("50000-60000", FILTERED, where=Where.BEFORE_SERVER)], True),
        ([finding("443/tcp", OPEN), media("50000-60000", REJECTED, where=Where.UNKNOWN)], True),
        ([finding("443/tcp", OPEN), finding("80/tcp", State.UNTESTED), media("50000-60000", FILTERED)], True),
        ([finding("443/tcp", OPEN), media("50000-60000", FILTERED, where=Where.SERVER_HOST)], False),
        ([finding("443/tcp", OPEN), media("50000", OPEN), media("50001-60000", FILTERED)], False),
        ([finding("443/tcp", OPEN), media("50000-60000", FILTERED, shown="small ones pass")], False),
        ([finding("443/tcp", FILTERED), media("50000-60000", FILTERED)], False),
        ([media("50000-60000", FILTERED)], False),
        ([finding("443/tcp", OPEN)], False),
    ],
)
def test_a_rule_for_tcp_alone(findings: list[Finding], only: bool) -> None:
    assert (common_mistakes.only_tcp(findings) is not None) is only


def of_media(whole: tuple[int, int], *open_runs: tuple[int, int]) -> list[Finding]:
    """A range of which these parts are open, and the others blocked."""
    found, at = [], whole[0]
    for first, last in open_runs:
        found += [media(f"{at}-{first - 1}", FILTERED)] if first > at else []
        found.append(media(f"{first}-{last}", OPEN))
        at = last + 1
    return found + ([media(f"{at}-{whole[1]}", FILTERED)] if at <= whole[1] else [])


LIVEKIT = (50000, 60000)


@pytest.mark.parametrize(
    ("open_runs", "off"),
    [
        ([(50000, 59999)], "50000-59999/udp"),
        ([(50001, 60000)], "50001-60000/udp"),
        ([(50001, 59999)], "50001-59999/udp"),
        ([(50002, 60000)], None),
        ([(50000, 54999), (55001, 60000)], None),
        ([(50000, 60000)], None),
        ([], None),
    ],
)
def test_a_range_that_is_off_by_one(open_runs: list[tuple[int, int]], off: str | None) -> None:
    found = list(common_mistakes.off_by_one(of_media(LIVEKIT, *open_runs)))
    assert [purpose for purpose, _ in found] == ([MEDIA] if off else [])
    assert all(f"{off} is open, 50000-60000/udp is needed" in text for _, text in found)


@pytest.mark.parametrize(
    ("whole", "open_runs", "name"),
    [
        (LIVEKIT, [(50000, 50100)], "50000-50100, the sample configuration of LiveKit"),
        (LIVEKIT, [(50000, 50059)], "Microsoft Teams"),
        (LIVEKIT, [(50000, 57000)], "40000-57000, OpenVidu"),
        (LIVEKIT, [(50000, 50000)], "Kurento"),
        (LIVEKIT, [(55000, 55000)], "Only 55000/udp is open"),
        (LIVEKIT, [(55000, 55001)], None),
        (LIVEKIT, [(50000, 50100), (60000, 60000)], None),
        ((10000, 20000), [(10000, 10000)], "Jitsi"),
        ((10000, 20000), [(16384, 20000)], "16384-32768, FreeSWITCH"),
        ((40000, 65000), [(49152, 65000)], "coturn"),
        ((30000, 50000), [(40000, 49999)], "40000-49999, mediasoup"),
        ((50000, 50050), [(50000, 50000)], None),  # too few to be a range that another product has
        (LIVEKIT, [(50000, 60000)], None),
    ],
)
def test_another_products_range(whole: tuple[int, int], open_runs: list[tuple[int, int]], name: str | None) -> None:
    found = list(common_mistakes.other_range(of_media(whole, *open_runs)))
    assert len(found) == (name is not None)
    assert all(str(name) in text and f"{whole[0]}-{whole[1]}/udp is needed" in text for _, text in found)


def test_what_was_not_all_tried_is_like_nothing() -> None:
    half = [media("50000", OPEN), media("50001-59999", State.UNTESTED, reason=Reason.SAMPLED), media("60000", FILTERED)]
    apart = [media("50000-50200", OPEN), media("59999-60000", FILTERED)]
    for findings in (half, apart, [finding("1-1000/tcp", OPEN)]):
        assert [*common_mistakes.off_by_one(findings), *common_mistakes.other_range(findings)] == []
