"""The addresses that LiveKit offers, by what STUN servers, the DNS and clients tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.config.model import Installed
from agent.core.address import Address, Family
from agent.core.events import Notes
from agent.core.report import AddressReport, Control, Verdict
from agent.preflight import evaluate
from agent.preflight.addresses import advertised_addresses, domain_names, stun_servers
from agent.preflight.model import Machine, OutsideAnswers
from tests.preflight.values import (
    ETH1,
    GOOD,
    INSTALLED,
    LAN,
    NOW,
    OTHER,
    PRIVATE,
    PUBLIC,
    PUBLIC6,
    REPORT,
    V4,
    V6,
    codes,
    only,
)

SERVERS = ("stun.example:3478", "other.example:19302")
ASKED = OutsideAnswers((V4, V6), SERVERS, (), {V4: PUBLIC}, True, {})
MACHINE = Machine(NOW, (ETH1,), outgoing_addresses=(PUBLIC6, PRIVATE))


def outside_notes(outside: OutsideAnswers, installed: Installed = INSTALLED) -> Notes:
    return evaluate.check_outside(outside, MACHINE, installed)


def test_the_names_that_are_looked_up() -> None:
    machine = Machine(certificates=(GOOD, replace(GOOD, names=("*.example", "a", "b", "c"))))
    assert domain_names(machine, INSTALLED) == ("turn.example", "meet.example", "a", "b")
    assert domain_names(Machine(), Installed(())) == ()


def test_the_stun_servers_of_a_configuration() -> None:
    assert stun_servers(INSTALLED) == (
        "global.stun.twilio.com:3478", "stun.l.google.com:19302", "stun1.l.google.com:19302",
    )  # fmt: skip
    assert stun_servers(replace(INSTALLED, stun_servers=("stun.example:3478",))) == ("stun.example:3478",)
    assert stun_servers(replace(INSTALLED, use_external_ip=False)) == ()


@pytest.mark.parametrize(
    ("outside", "code", "words"),
    [
        (ASKED, "", ""),
        (replace(ASKED, egress={V4: PUBLIC, V6: PUBLIC6}), "", ""),
        (replace(ASKED, egress={V6: PUBLIC6}, routes=(V6,)), "", ""),
        (replace(ASKED, unresolved=SERVERS[:1]), "", ""),
        (replace(ASKED, egress={}), "stun-blocked", "does not start"),
        (replace(ASKED, egress={}, routes=(V6,)), "stun-blocked", "does not start"),
        (replace(ASKED, egress={V6: PUBLIC6}), "stun-blocked", "no public IPv4 address"),
        (replace(ASKED, egress={}, unresolved=SERVERS), "stun-unresolved", "does not start"),
    ],
)
def test_the_stun_servers_that_livekit_asks(outside: OutsideAnswers, code: str, words: str) -> None:
    notes = outside_notes(outside)
    assert codes(notes) == [code] * bool(code)
    assert ("STUN" in notes.fine) is not bool(code)
    if code:
        assert words in notes.problems[0].breaks
        assert (" over IPv4" in notes.problems[0].what) is ("IPv4" in words)
        assert all(server in notes.problems[0].what for server in SERVERS)


def test_a_server_without_a_route_to_the_internet() -> None:
    assert outside_notes(replace(ASKED, routes=(), egress={})).unknown == (
        "STUN (this server has no route to the Internet)",
    )
    assert outside_notes(OutsideAnswers()) == Notes()


@pytest.mark.parametrize(
    ("installed", "egress", "found"),
    [
        (replace(INSTALLED, node_ip=("203.0.113.7",)), {V4: PUBLIC}, []),
        (replace(INSTALLED, node_ip=("203.0.113.9",)), {V4: PUBLIC}, ["node-ip-ignored"]),
        (replace(INSTALLED, node_ip=("2001:db8::7",)), {V4: PUBLIC}, []),
        (replace(INSTALLED, node_ip=("10.0.0.5",)), {V4: PUBLIC}, ["node-ip-ignored"]),
        (replace(LAN, node_ip=("10.0.0.5",)), None, ["node-ip-private"]),
        (replace(LAN, node_ip=("203.0.113.9", "2001:db8::7")), None, []),
    ],
)
def test_the_address_that_livekit_is_told(
    installed: Installed, egress: dict[Family, Address] | None, found: list[str]
) -> None:
    notes = outside_notes(replace(ASKED, egress=egress), installed)
    assert codes(notes) == found
    assert ("node_ip" in notes.fine) is not bool(found)


def test_nothing_is_said_of_an_address_that_is_not_known() -> None:
    told = replace(INSTALLED, node_ip=("203.0.113.9",))
    assert codes(outside_notes(replace(ASKED, egress={}), told)) == ["stun-blocked"]
    assert advertised_addresses(None, ASKED) == {}
    assert advertised_addresses(told, OutsideAnswers()) == {}
    assert advertised_addresses(replace(told, use_external_ip=False), OutsideAnswers()) == {V4: OTHER}


def test_hairpin() -> None:
    assert "hairpin" in outside_notes(ASKED).fine
    assert outside_notes(replace(ASKED, hairpin=None)).unknown == ("hairpin (no UDP port was free to test it)",)
    assert outside_notes(replace(ASKED, egress={}, hairpin=None)).unknown == ()
    note = only(outside_notes(replace(ASKED, hairpin=False)))
    assert (note.code, note.commands) == (
        "no-hairpin", ("iptables -t nat -A OUTPUT -d 203.0.113.7 -j DNAT --to-destination 10.0.0.5",)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "installed", "told"),
    [
        ((PUBLIC,), INSTALLED, "fine"),
        ((PRIVATE,), INSTALLED, "fine"),  # one of its own
        ((OTHER,), INSTALLED, "The A record of turn.example is 203.0.113.9, but LiveKit offers 203.0.113.7"),
        ((PUBLIC, OTHER), INSTALLED, "The A record of turn.example is 203.0.113.9, but LiveKit offers 203.0.113.7"),
        (
            (PUBLIC6,),
            INSTALLED,
            "The AAAA record of turn.example is 2001:db8::7, which is not an address of this server.",
        ),
        ((PUBLIC6,), replace(INSTALLED, ipv4_only=(80, 443)), "haproxy accepts only IPv4 at 80, 443/tcp"),
        ((PUBLIC, PUBLIC6), replace(INSTALLED, ipv4_only=(443,)), "haproxy accepts only IPv4 at 443/tcp"),
        (None, INSTALLED, "no answer"),
    ],
)
def test_where_a_name_leads(found: tuple[Address, ...] | None, installed: Installed, told: str) -> None:
    notes = outside_notes(replace(ASKED, dns_records={"turn.example": found}), installed)
    name = "DNS of turn.example"
    if told == "fine":
        assert (notes.problems, name in notes.fine) == ((), True)
    elif found is None:
        assert notes.unknown == (f"{name} ({told})",)
    else:
        assert told in only(notes).what
        assert (f"node_ip to {OTHER}." in only(notes).fix) is (OTHER in found)


def test_where_a_name_leads_while_livekits_address_is_not_known() -> None:
    notes = outside_notes(OutsideAnswers(dns_records={"turn.example": (OTHER,)}), LAN)
    assert notes == Notes(unknown=("DNS of turn.example (it is unknown whether it leads to this server)",))


def dialled(address: str) -> AddressReport:
    family = V6 if ":" in address else V4
    return AddressReport(address, family, Verdict.PASS, Control(443, True, False))


@pytest.mark.parametrize(
    ("address", "wrong"),
    [("203.0.113.7", False), ("203.0.113.9", True), ("10.0.0.5", False), ("127.0.0.1", False), ("2001:db8::9", False)],
)
def test_an_address_that_was_dialled_and_is_not_offered(address: str, wrong: bool) -> None:
    notes = evaluate.check_report(replace(REPORT, addresses=(dialled(address),)), NOW + 10, {V4: PUBLIC})
    assert [note.code for note in notes] == ["advertised-elsewhere"] * wrong
