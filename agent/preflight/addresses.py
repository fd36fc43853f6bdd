"""Check the addresses that LiveKit offers to its clients: STUN, node_ip, hairpin, DNS, and what a client dialled."""

from __future__ import annotations

from typing import Iterator, Mapping, Sequence

from ..config.model import Installed
from ..core.address import Address, Family, family_of, is_internal, parse_address
from ..core.events import Note
from ..core.ports import list_ports, port_ranges
from ..core.report import Report
from .model import CheckResult, Machine, OutsideAnswers

# What LiveKit asks where its configuration names no others (mediatransportutil, rtcconfig/config.go).
STUN_SERVERS = ("global.stun.twilio.com:3478", "stun.l.google.com:19302", "stun1.l.google.com:19302")
# Names of certificates that the DNS is asked for: a plugNmeet has two.
MAX_DOMAINS = 4
_STUN_BREAKS = "LiveKit asks them for its public address, and does not start without (`could not resolve external IP`)."
_WITHOUT_STUN = "set use_external_ip to false and node_ip to the public address in LiveKit's configuration."
_NO_MEDIA = "calls have neither sound nor picture"
_RECORD = {Family.IPV4: "A", Family.IPV6: "AAAA"}


def domain_names(machine: Machine, installed: Installed) -> tuple[str, ...]:
    """Return the names that have to lead to this server: TURN's, and those of its certificates; at most 4."""
    names = (name for certificate in machine.certificates for name in certificate.names if "*" not in name)
    return tuple(dict.fromkeys(filter(None, (installed.turn_domain, *names))))[:MAX_DOMAINS]


def stun_servers(installed: Installed) -> tuple[str, ...]:
    """Return the STUN servers, `name:port`, that LiveKit asks for its address at its start; none where it does not."""
    return (installed.stun_servers or STUN_SERVERS) if installed.use_external_ip else ()


def advertised_addresses(installed: Installed | None, outside: OutsideAnswers) -> Mapping[Family, Address]:
    """Return the public addresses that LiveKit offers to its clients, as far as they are known."""
    if installed is None:
        return {}
    return (outside.egress or {}) if installed.use_external_ip else _node_ips(installed)


def _node_ips(installed: Installed) -> Mapping[Family, Address]:
    return {family_of(address): address for address in map(parse_address, installed.node_ip)}


def check_stun(outside: OutsideAnswers) -> CheckResult:
    """Check that the STUN servers answer that LiveKit asks at its start."""
    if outside.egress is None:
        return None
    if not outside.routes:
        return "this server has no route to the Internet"
    named = f"LiveKit's STUN servers ({', '.join(outside.stun_servers)})"
    if len(outside.unresolved) == len(outside.stun_servers):
        return (Note(
            "stun-unresolved", f"{named} have no address in the DNS, or no port.", _STUN_BREAKS,
            f"Make the DNS work here, or {_WITHOUT_STUN}",
        ),)  # fmt: skip
    if outside.egress and (Family.IPV4 in outside.egress or Family.IPV4 not in outside.routes):
        return ()  # IPv6 needs none: its address is the server's own
    return (Note(
        "stun-blocked",
        f"{named} did not answer{' over IPv4' if outside.egress else ''}: UDP is blocked on the way out or back.",
        "LiveKit offers its clients no public IPv4 address." if outside.egress else _STUN_BREAKS,
        f"Allow it in this server's firewall and the provider's, or {_WITHOUT_STUN}",
    ),)  # fmt: skip


def check_node_ip(outside: OutsideAnswers, installed: Installed) -> CheckResult:
    """Check that LiveKit's node_ip is a public address, and the one that it offers."""
    if not installed.node_ip or (installed.use_external_ip and not outside.egress):
        return None
    offered = advertised_addresses(installed, outside)
    return tuple(note for family, node_ip in _node_ips(installed).items()
                 for note in _node_ip(node_ip, offered.get(family), installed.use_external_ip))  # fmt: skip


def _node_ip(node_ip: Address, offered: Address | None, use_external_ip: bool) -> Iterator[Note]:
    if offered and offered != node_ip:
        yield Note(
            "node-ip-ignored",
            f"node_ip is {node_ip}, but STUN servers see {offered}, and that is what LiveKit uses (use_external_ip).",
            "Calls use an address that nobody chose.",
            f"If {node_ip} is right, set use_external_ip to false; else set node_ip to {offered}.",
        )
    if is_internal(node_ip) and not use_external_ip:
        yield Note(
            "node-ip-private",
            f"LiveKit offers {node_ip} to its clients (node_ip), which only machines of the same network can reach.",
            f"From outside, {_NO_MEDIA}.",
            "Set node_ip to the public address, or use_external_ip to true.",
        )


def check_hairpin(outside: OutsideAnswers, machine: Machine) -> CheckResult:
    """Check that packets from this server to its own public address come back."""
    if outside.hairpin is None:
        return "no UDP port was free to test it" if Family.IPV4 in (outside.egress or {}) else None
    if outside.hairpin:
        return ()
    public = (outside.egress or {})[Family.IPV4]
    inside = [address for address in machine.outgoing_addresses if address.version == 4]
    return (Note(
        "no-hairpin",
        f"Packets from this server to its own public address {public} do not come back.",
        "TURN relays nothing, since it sends to LiveKit at that address.",
        "Make the NAT return them (hairpin) and its firewall accept them; or redirect them here, until the next start:",
        tuple(f"iptables -t nat -A OUTPUT -d {public} -j DNAT --to-destination {address}" for address in inside[:1]),
    ),)  # fmt: skip


def check_dns(name: str, outside: OutsideAnswers, machine: Machine, installed: Installed) -> CheckResult:
    """Check that a name's addresses are those of this server, and that haproxy accepts their family."""
    records = (outside.dns_records or {})[name]
    if records is None:
        return "no answer"
    offered = advertised_addresses(installed, outside)
    own = {*offered.values(), *(outside.egress or {}).values(),
           *(address for link in machine.interfaces or () for address in link.addresses)}  # fmt: skip
    notes, doubt = [], False
    for address in records:
        family = family_of(address)
        if family is Family.IPV6 and installed.ipv4_only:
            notes.append(_unserved(name, address, installed.ipv4_only))
        elif address not in own and (family in offered or family is Family.IPV6):
            notes.append(_elsewhere(name, address, offered.get(family)))
        else:
            doubt |= address not in own
    return "it is unknown whether it leads to this server" if doubt and not notes else tuple(notes)


def _elsewhere(name: str, address: Address, offered: Address | None) -> Note:
    other = f"but LiveKit offers {offered} to its clients" if offered else "which is not an address of this server"
    return Note(
        "dns-elsewhere",
        f"The {_RECORD[family_of(address)]} record of {name} is {address}, {other}.",
        f"Users reach another machine, or {_NO_MEDIA}.",
        "Correct the record" + (f", or set use_external_ip to false and node_ip to {address}." if offered else "."),
    )


def _unserved(name: str, address: Address, ports: Sequence[int]) -> Note:
    return Note(
        "aaaa-unserved",
        f"{name} has an AAAA record, {address}, but haproxy accepts only IPv4 at "
        f"{list_ports(port_ranges(ports), 'tcp')}.",
        "Let's Encrypt and browsers try IPv6 first: certificates are not renewed, and pages open late or never.",
        "Remove the record, or let haproxy accept IPv6 too: `bind [::]:80 v4v6`, and 443 likewise.",
    )


def check_dialled(report: Report, offered: Mapping[Family, Address]) -> Iterator[Note]:
    """Compare the addresses that a client dialled with those that LiveKit offers."""
    for checked in report.addresses:
        dialled = parse_address(checked.address)
        other = offered.get(family_of(dialled))
        if other and other != dialled and not dialled.is_loopback and not is_internal(dialled):
            yield Note(
                "advertised-elsewhere",
                f"The client dialled {dialled}, but LiveKit offers {other} to its clients.",
                "Calls use ports that were not checked.",
                f"Check {other} too. If {dialled} is right, set use_external_ip to false and node_ip to it.",
            )
