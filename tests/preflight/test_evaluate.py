"""What is amiss at the server itself, by what it and others tell."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from agent.config.model import Installed
from agent.core.address import Address, Family
from agent.core.notes import Note, Notes
from agent.core.plan import MEDIA, Need, Plan, Requirement, Transport, build_plan
from agent.core.ports import PortRange
from agent.core.report import AddressReport, Control, Report, Verdict
from agent.preflight import evaluate
from agent.preflight.addresses import advertised_addresses, domain_names, stun_servers
from agent.preflight.model import Certificate, Machine, OutsideAnswers
from agent.system.interfaces import Interface

PLAN = build_plan("plugnmeet")
DAY, NOW = 86_400, 1_800_000_000
PUBLIC, OTHER, PRIVATE, DOCKER, PUBLIC6 = map(
    ipaddress.ip_address, ("203.0.113.7", "203.0.113.9", "10.0.0.5", "172.17.0.1", "2001:db8::7")
)
ETH0, ETH1 = Interface("eth0", (PUBLIC,)), Interface("eth1", (PRIVATE,))
BRIDGE = Interface("docker0", (DOCKER,))
LENT, EPHEMERAL = "ports lent to outgoing connections", PortRange(32768, 60999)
CERTIFICATES = ((443, "/etc/haproxy/ssl/"),)
GOOD = Certificate("/etc/haproxy/ssl/meet.pem", NOW + 60 * DAY, ("meet.example", "turn.example"))
INSTALLED = Installed((), use_external_ip=True, turn_domain="turn.example", certificates=CERTIFICATES)


def codes(notes: Notes) -> list[str]:
    return [one.code for one in notes.problems]


def looked(
    machine: Machine, installed: Installed | None = None, plan: Plan = PLAN
) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """What is amiss, in order, and unknown."""
    notes = evaluate.check_machine(machine, plan, installed)
    return codes(notes), notes.fine, notes.unknown


def only(notes: Notes | tuple[Note, ...]) -> Note:
    (note,) = notes.problems if isinstance(notes, Notes) else notes
    return note


def test_of_a_machine_that_tells_nothing_nothing_is_said() -> None:
    assert looked(Machine()) == ([], (), (LENT, "clock"))
    assert looked(Machine(), INSTALLED) == (
        ["certificate-name"], (), (LENT, "clock", "interfaces"),
    )  # fmt: skip


def test_all_in_order() -> None:
    machine = Machine(
        NOW, (ETH0,), EPHEMERAL, frozenset(range(50000, 60001)), 212_992, 262_144, True, (GOOD,), (PUBLIC,)
    )
    everything = (LENT, "connection tracking's size", "clock", "interfaces", "certificates")
    assert looked(machine, INSTALLED) == ([], everything, ())


@pytest.mark.parametrize(
    ("reserved", "plan", "which", "command"),
    [
        (frozenset(), PLAN, "50000-60000/udp", "50000-60000"),
        (frozenset({8080}), PLAN, "50000-60000/udp", "8080,50000-60000"),
        (frozenset(range(50000, 59000)), PLAN, "59000-60000/udp", "50000-60000"),
        (frozenset(), build_plan("plugnmeet", udp=(PortRange(60500, 62000),)), "60500-60999/udp", "60500-60999"),
    ],
)
def test_lent_ports_are_reserved_beside_those_that_are(
    reserved: frozenset[int], plan: Plan, which: str, command: str
) -> None:
    note = only(evaluate.check_machine(Machine(ephemeral_ports=EPHEMERAL, reserved_ports=reserved), plan, None))
    assert which in note.what
    assert note.commands[0] == f"sysctl -w net.ipv4.ip_local_reserved_ports={command}"
    assert f"net.ipv4.ip_local_reserved_ports = {command}'" in note.commands[1]


@pytest.mark.parametrize(("lent", "reserved"), [(None, frozenset()), (EPHEMERAL, None)])
def test_lent_ports_that_are_not_known(lent: PortRange | None, reserved: frozenset[int] | None) -> None:
    assert LENT in looked(Machine(ephemeral_ports=lent, reserved_ports=reserved))[2]


def test_ports_that_are_lent_below_the_plan() -> None:
    assert LENT in looked(Machine(ephemeral_ports=PortRange(32768, 49999), reserved_ports=frozenset()))[1]


@pytest.mark.parametrize(("most", "amiss"), [(7_680, True), (10_001, True), (10_002, False), (262_144, False)])
def test_connection_tracking_with_fewer_entries_than_ports(most: int, amiss: bool) -> None:
    notes = evaluate.check_machine(Machine(conntrack_max=most), PLAN, None)
    assert codes(notes) == (["conntrack-size"] if amiss else [])
    if amiss:
        assert only(notes).commands[0] == "sysctl -w net.netfilter.nf_conntrack_max=65536"


def mux(source: str | None) -> Installed:
    return Installed((Requirement(Transport.UDP, PortRange(7882, 7882), MEDIA, Need.REQUIRED, source),))


@pytest.mark.parametrize(
    ("most", "source", "found"),
    [
        (2_499_999, "livekit.yaml, rtc.udp_port", "amiss"),
        (2_500_000, "livekit.yaml, rtc.udp_port", "fine"),
        (None, "livekit.yaml, rtc.udp_port", "unknown"),
        (212_992, "livekit.yaml, rtc.port_range_start", ""),
        (212_992, None, ""),
    ],
)
def test_the_receive_buffer_counts_where_all_share_one_port(most: int | None, source: str | None, found: str) -> None:
    amiss, fine, unknown = looked(Machine(max_receive_buffer=most), mux(source))
    told = {
        "amiss": "receive-buffer" in amiss,
        "fine": "receive buffers" in fine,
        "unknown": "receive buffers" in unknown,
    }
    assert [name for name, true in told.items() if true] == ([found] if found else [])


@pytest.mark.parametrize(
    ("clock", "why", "expected"),
    [
        (True, {}, ([], ("clock",), (LENT,))),
        (False, {}, (["clock-unset"], (), (LENT,))),
        (None, {"clock": "there is no timedatectl here"}, ([], (), (LENT, "clock (there is no timedatectl here)"))),
    ],
)
def test_the_clock(clock: bool | None, why: dict[str, str], expected: object) -> None:
    assert looked(Machine(clock_synchronized=clock, errors=why)) == expected


LAN = replace(INSTALLED, use_external_ip=False, certificates=())


@pytest.mark.parametrize(
    ("interfaces", "outgoing", "installed", "named"),
    [
        ((ETH0, BRIDGE), (PUBLIC,), INSTALLED, "docker0 (172.17.0.1)"),
        ((ETH0, ETH1, BRIDGE), (PUBLIC,), LAN, "eth1 (10.0.0.5), docker0 (172.17.0.1)"),
        ((ETH1, BRIDGE), (PRIVATE,), LAN, "docker0 (172.17.0.1)"),
        ((ETH1, Interface("wg0", (ipaddress.ip_address("10.8.0.1"),))), (PRIVATE,), INSTALLED, "wg0 (10.8.0.1)"),
        (
            (ETH1, Interface("eth2", (ipaddress.ip_address("192.168.1.5"),))),
            (PRIVATE,),
            LAN,
            "",
        ),  # two networks of users
        ((ETH0, Interface("eth1", (OTHER,))), (PUBLIC,), INSTALLED, ""),
        ((Interface("eth0", (PRIVATE, PUBLIC6)),), (PRIVATE, PUBLIC6), INSTALLED, ""),
        ((ETH0, BRIDGE), (), INSTALLED, ""),  # no way out: which of them is the right one?
    ],
)
def test_interfaces_that_nobody_outside_reaches(
    interfaces: tuple[Interface, ...], outgoing: tuple[Address, ...], installed: Installed, named: str
) -> None:
    notes = evaluate.check_machine(
        Machine(NOW, interfaces, outgoing_addresses=outgoing, certificates=(GOOD,)), PLAN, installed
    )
    if not named:
        assert (codes(notes), "interfaces" in notes.fine) == ([], True)
        return
    note = only(notes)
    assert (note.code, f"of {named} to" in note.what) == ("extra-interfaces", True)
    assert f"includes: [{interfaces[0].name}]`" in note.fix


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ((("eth0", "docker0"), ()), "docker0 (172.17.0.1) to"),
        ((("eth0",), ("eth0",)), ""),
        (((), ("docker0", "eth1")), ""),
        (((), ("docker0",)), "eth1 (10.0.0.5) to"),
    ],
)
def test_interfaces_that_livekit_is_told_to_use(told: tuple[tuple[str, ...], tuple[str, ...]], named: str) -> None:
    machine = Machine(NOW, (ETH0, ETH1, BRIDGE), outgoing_addresses=(PUBLIC,), certificates=(GOOD,))
    notes = evaluate.check_machine(machine, PLAN, replace(INSTALLED, interfaces=told))
    assert [f"of {named}" in one.what for one in notes.problems] == [True] * bool(named)
    picks = replace(INSTALLED, addresses_filtered=True)
    assert "interfaces (LiveKit's configuration chooses addresses itself)" in looked(machine, picks)[2]


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (-1, "has expired"),
        (0, "has expired"),
        (3600, "expires in 0 days"),
        (DAY, "expires in 1 day."),
        (14 * DAY - 1, "expires in 13 days"),
        (14 * DAY, ""),
    ],
)
def test_a_certificate_near_its_end(left: int, words: str) -> None:
    machine = Machine(NOW, certificates=(replace(GOOD, until=NOW + left),))
    notes = [
        one for one in evaluate.check_machine(machine, PLAN, INSTALLED).problems if one.code == "certificate-expiry"
    ]
    assert [words in one.what for one in notes] == [True] * bool(words)


@pytest.mark.parametrize(
    ("names", "wanted", "amiss"),
    [
        (("turn.example",), "turn.example", False),
        (("Turn.Example",), "turn.example.", False),
        (("*.example",), "turn.example", False),
        (("*.example",), "a.turn.example", True),
        (("*.example",), "example", True),
        (("meet.example",), "turn.example", True),
        ((), "turn.example", True),
        ((), None, False),
    ],
)
def test_for_whom_a_certificate_is(names: tuple[str, ...], wanted: str | None, amiss: bool) -> None:
    machine = Machine(NOW, certificates=(replace(GOOD, names=names),))
    told = looked(machine, replace(INSTALLED, turn_domain=wanted))
    assert told[0] == ["certificate-name"] * amiss
    assert ("certificates" in told[1]) is not amiss


def test_a_certificate_that_cannot_be_read_is_not_known() -> None:
    machine = Machine(
        NOW, errors={"/etc/haproxy/ssl/other.pem": "it holds no certificate that can be read", "clock": "none"}
    )
    assert (
        "certificates (/etc/haproxy/ssl/other.pem: it holds no certificate that can be read)"
        in looked(machine, INSTALLED)[2]
    )
    expired = replace(machine, certificates=(replace(GOOD, until=0),))
    assert looked(expired, INSTALLED)[0] == ["certificate-expiry"]


def test_whose_names_are_looked_up() -> None:
    machine = Machine(certificates=(GOOD, replace(GOOD, names=("*.example", "a", "b", "c"))))
    assert domain_names(machine, INSTALLED) == ("turn.example", "meet.example", "a", "b")
    assert domain_names(Machine(), Installed(())) == ()


def test_whom_livekit_asks() -> None:
    assert stun_servers(INSTALLED) == (
        "global.stun.twilio.com:3478", "stun.l.google.com:19302", "stun1.l.google.com:19302",
    )  # fmt: skip
    assert stun_servers(replace(INSTALLED, stun_servers=("stun.example:3478",))) == ("stun.example:3478",)
    assert stun_servers(replace(INSTALLED, use_external_ip=False)) == ()


V4, V6 = Family.IPV4, Family.IPV6
SERVERS = ("stun.example:3478", "other.example:19302")
ASKED = OutsideAnswers((V4, V6), SERVERS, (), {V4: PUBLIC}, True, {})
MACHINE = Machine(NOW, (ETH1,), outgoing_addresses=(PUBLIC6, PRIVATE))


def asked(outside: OutsideAnswers, installed: Installed = INSTALLED) -> Notes:
    return evaluate.check_outside(outside, MACHINE, installed)


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
    notes = asked(outside)
    assert codes(notes) == [code] * bool(code)
    assert ("STUN" in notes.fine) is not bool(code)
    if code:
        assert words in notes.problems[0].breaks
        assert (" over IPv4" in notes.problems[0].what) is ("IPv4" in words)
        assert all(server in notes.problems[0].what for server in SERVERS)


def test_a_machine_without_a_way_out() -> None:
    assert asked(replace(ASKED, routes=(), egress={})).unknown == ("STUN (this server has no route to the Internet)",)
    assert asked(OutsideAnswers()) == Notes()


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
    notes = asked(replace(ASKED, egress=egress), installed)
    assert codes(notes) == found
    assert ("node_ip" in notes.fine) is not bool(found)


def test_nothing_is_said_of_an_address_that_is_not_known() -> None:
    told = replace(INSTALLED, node_ip=("203.0.113.9",))
    assert codes(asked(replace(ASKED, egress={}), told)) == ["stun-blocked"]
    assert advertised_addresses(None, ASKED) == {}
    assert advertised_addresses(told, OutsideAnswers()) == {}
    assert advertised_addresses(replace(told, use_external_ip=False), OutsideAnswers()) == {V4: OTHER}


def test_what_does_not_come_back() -> None:
    assert "hairpin" in asked(ASKED).fine
    assert asked(replace(ASKED, hairpin=None)).unknown == ("hairpin (no UDP port was free to test it)",)
    assert asked(replace(ASKED, egress={}, hairpin=None)).unknown == ()
    note = only(asked(replace(ASKED, hairpin=False)))
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
    notes = asked(replace(ASKED, dns_records={"turn.example": found}), installed)
    name = "DNS of turn.example"
    if told == "fine":
        assert (notes.problems, name in notes.fine) == ((), True)
    elif found is None:
        assert notes.unknown == (f"{name} ({told})",)
    else:
        assert told in only(notes).what
        assert (f"node_ip to {OTHER}." in only(notes).fix) is (OTHER in found)


def test_where_a_name_leads_while_livekits_address_is_not_known() -> None:
    notes = asked(OutsideAnswers(dns_records={"turn.example": (OTHER,)}), LAN)
    assert notes == Notes(unknown=("DNS of turn.example (it is unknown whether it leads to this server)",))


REPORT = Report("0.1.0", "2027-01-15T08:00:00Z", 10.0, "meet.example", "plugnmeet", Verdict.PASS)  # which is NOW


@pytest.mark.parametrize(
    ("started", "now", "words"),
    [
        (REPORT.started, NOW + 10, ""),
        (REPORT.started, NOW + 70, ""),
        (REPORT.started, NOW + 71, " 1 min ahead of"),
        (REPORT.started, NOW - 50, ""),
        (REPORT.started, NOW - 3590, " 60 min behind"),
        ("2027-13-15T08:00:00Z", NOW, ""),
        ("0000-01-01T00:00:00Z", NOW, ""),
        ("yesterday", NOW, ""),
    ],
)
def test_the_clients_clock(started: str, now: float, words: str) -> None:
    notes = evaluate.check_report(replace(REPORT, started=started), now, {})
    assert [(one.code, words in one.what) for one in notes] == [("clocks-apart", True)] * bool(words)


def dialled(address: str) -> AddressReport:
    family = V6 if ":" in address else V4
    return AddressReport(address, family, Verdict.PASS, Control(443, True, False))


@pytest.mark.parametrize(
    ("address", "amiss"),
    [("203.0.113.7", False), ("203.0.113.9", True), ("10.0.0.5", False), ("127.0.0.1", False), ("2001:db8::9", False)],
)
def test_an_address_that_was_dialled_and_is_not_offered(address: str, amiss: bool) -> None:
    notes = evaluate.check_report(replace(REPORT, addresses=(dialled(address),)), NOW + 10, {V4: PUBLIC})
    assert [one.code for one in notes] == ["advertised-elsewhere"] * amiss
