from __future__ import annotations

import pytest

from agent.core.address import Family, family_of, parse_address
from agent.core.errors import UsageError
from agent.core.plan import (
    ACME,
    CONTROL_PORTS,
    HTTPS,
    ICE_TCP,
    MEDIA,
    RTMP,
    TURN_TLS,
    Need,
    Plan,
    Protocol,
    Requirement,
    Transport,
    build_plan,
    protocol_of,
)
from agent.core.ports import PortRange, parse_ports

BUILT_IN = [
    "80/tcp required: Let's Encrypt certificates (HTTP-01)",
    "443/tcp required: HTTPS: haproxy hands on to the other services",
    "7881/tcp required: WebRTC over TCP, for clients that cannot use UDP",
    "443/udp recommended: TURN/UDP",
    "50000-60000/udp required: WebRTC media",
]


def shown(row: Requirement) -> str:
    return f"{row.ports}/{row.transport.value} {row.need.value}: {row.purpose}"


def rows(plan: Plan) -> list[str]:
    return list(map(shown, plan.requirements))


def test_the_built_in_plan() -> None:
    plan = build_plan("plugnmeet")
    assert rows(plan) == BUILT_IN
    assert sum(1 for _ in plan.ports(Transport.UDP)) == 10_002
    assert set(plan.ports(Transport.TCP)) == set(CONTROL_PORTS)


@pytest.mark.parametrize(
    ("addon", "added"),
    [
        ("rtmp", ["1935/tcp"]),
        ("whip", ["7885/udp"]),
        ("sip", ["5060-5061/tcp", "5060-5061/udp", "10000-20000/udp"]),
    ],
)
def test_add_ons_are_required_by_who_asks_for_them(addon: str, added: list[str]) -> None:
    new = [row for row in rows(build_plan("plugnmeet", [addon, addon])) if row not in BUILT_IN]
    assert [row.split(": ")[0] for row in new] == [f"{ports} required" for ports in added]


def test_a_plan_goes_by_transport_and_port() -> None:
    plan = build_plan("plugnmeet", ["whip", "sip", "rtmp"])
    keys = [(row.transport.value, row.ports) for row in plan.requirements]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("tcp", "udp", "expected"),
    [
        ("8443,80", None, ["80/tcp required: named with --tcp", "8443/tcp required: named with --tcp", *BUILT_IN[3:]]),
        (None, "443,1-5", [*BUILT_IN[:3], "1-5/udp required: named with --udp", "443/udp required: named with --udp"]),
        (None, "none", BUILT_IN[:3]),
        ("none", None, BUILT_IN[3:]),
        ("80", "none", ["80/tcp required: named with --tcp"]),
    ],
)
def test_own_ports_replace_the_built_in_ones(tcp: str | None, udp: str | None, expected: list[str]) -> None:
    own = [None if text is None else parse_ports(text) for text in (tcp, udp)]
    assert rows(build_plan("plugnmeet", (), *own)) == expected


@pytest.mark.parametrize(
    ("addon", "tcp", "udp", "planned", "brought"),
    [
        ("rtmp", "1900-2000", None, "tcp 1900-2000", "--with rtmp brings 1935"),
        ("whip", None, "7885", "udp 7885", "--with whip brings 7885"),
        ("sip", None, "20000-30000", "udp 20000-30000", "--with sip brings 10000-20000"),
        ("sip", "5061", None, "tcp 5061", "--with sip brings 5060-5061"),
    ],
)
def test_a_port_planned_twice(addon: str, tcp: str | None, udp: str | None, planned: str, brought: str) -> None:
    own = [None if text is None else parse_ports(text) for text in (tcp, udp)]
    with pytest.raises(UsageError) as raised:
        build_plan("plugnmeet", [addon], *own)
    assert planned in raised.value.what
    assert brought in raised.value.why


def test_a_port_of_the_other_transport_is_another_port() -> None:
    plan = build_plan("plugnmeet", ["rtmp"], parse_ports("443"), parse_ports("1935,443"))
    assert (list(plan.ports(Transport.TCP)), list(plan.ports(Transport.UDP))) == ([443, 1935], [443, 1935])


def test_a_plan_without_a_port() -> None:
    with pytest.raises(UsageError):
        build_plan("plugnmeet", (), (), ())
    assert rows(build_plan("plugnmeet", ["rtmp"], (), ())) == ["1935/tcp required: RTMP ingest"]


def test_a_plan_has_a_port_for_one_transport() -> None:
    plan = build_plan("plugnmeet")
    asked = [(Transport.TCP, 80), (Transport.UDP, 80), (Transport.UDP, 60000), (Transport.UDP, 60001)]
    assert [plan.has(*one) for one in asked] == [True, False, True, False]


@pytest.mark.parametrize(
    ("transport", "port", "protocol"),
    [
        (Transport.TCP, 80, Protocol.HTTP),
        (Transport.TCP, 443, Protocol.TLS),
        (Transport.TCP, 7881, Protocol.FRAMED_STUN),
        (Transport.TCP, 1935, Protocol.FRAMED_STUN),
        (Transport.UDP, 443, Protocol.STUN),
        (Transport.UDP, 80, Protocol.STUN),
    ],
)
def test_a_probe_speaks_what_its_port_carries(transport: Transport, port: int, protocol: Protocol) -> None:
    assert protocol_of(transport, port) is protocol


@pytest.mark.parametrize(
    ("transport", "port", "purpose", "protocol"),
    [
        (Transport.TCP, 8443, HTTPS, Protocol.TLS),
        (Transport.TCP, 8080, ACME, Protocol.HTTP),
        (Transport.TCP, 5349, TURN_TLS, Protocol.TLS),
        (Transport.TCP, 443, ICE_TCP, Protocol.FRAMED_STUN),
        (Transport.TCP, 443, "named with --tcp", Protocol.TLS),
        (Transport.UDP, 443, HTTPS, Protocol.STUN),
    ],
)
def test_what_a_port_is_for_says_more_than_its_number(
    transport: Transport, port: int, purpose: str, protocol: Protocol
) -> None:
    assert protocol_of(transport, port, purpose) is protocol


def test_a_plan_knows_the_row_of_a_port() -> None:
    plan = build_plan("plugnmeet")
    assert plan.row(Transport.UDP, 50001) is plan.requirements[-1]
    assert plan.row(Transport.TCP, 50001) is None


READ = (
    Requirement(Transport.TCP, PortRange(8443, 8443), HTTPS, Need.REQUIRED, "a file"),
    Requirement(Transport.TCP, PortRange(1940, 1940), RTMP, Need.RECOMMENDED, "a file"),
    Requirement(Transport.UDP, PortRange(9000, 11000), MEDIA, Need.REQUIRED, "a file"),
)


def test_a_plan_that_was_read() -> None:
    assert rows(build_plan("installed", read=READ)) == [
        "1940/tcp recommended: RTMP ingest", "8443/tcp required: HTTPS: haproxy hands on to the other services",
        "9000-11000/udp required: WebRTC media",
    ]  # fmt: skip


def test_an_add_on_is_needed_where_it_is_installed_and_takes_no_port_twice() -> None:
    plan = build_plan("installed", ["rtmp", "sip"], read=READ)
    assert [(shown(row), row.source) for row in plan.requirements if row.source] == [
        ("1940/tcp required: RTMP ingest", "a file"),
        ("8443/tcp required: HTTPS: haproxy hands on to the other services", "a file"),
        ("9000-11000/udp required: WebRTC media", "a file"),
    ]
    assert "11001-20000/udp required: SIP media" in rows(plan)
    assert not plan.has(Transport.TCP, 1935)


def test_own_ports_replace_those_that_were_read() -> None:
    assert rows(build_plan("installed", [], parse_ports("80"), (), read=READ)) == ["80/tcp required: named with --tcp"]


@pytest.mark.parametrize(
    ("text", "address", "family"),
    [
        ("192.0.2.1", "192.0.2.1", Family.IPV4),
        ("::ffff:192.0.2.1", "192.0.2.1", Family.IPV4),
        ("2001:db8::1", "2001:db8::1", Family.IPV6),
        ("fe80::1%eth0", "fe80::1", Family.IPV6),
    ],
)
def test_an_address_as_the_system_writes_it(text: str, address: str, family: Family) -> None:
    assert str(parse_address(text)) == address
    assert family_of(parse_address(text)) is family


@pytest.mark.parametrize("text", ["", "meet.example.com", "192.0.2", "192.0.2.1:80", "[::1]"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        parse_address(text)
