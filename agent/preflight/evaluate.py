"""What is amiss at the server itself, beside its ports: what it breaks, and what to do."""

from __future__ import annotations

import calendar
import re
from typing import Iterator, Mapping, Sequence, Tuple, Union

from ..config.model import Installed
from ..core.address import Address, Family, family_of, is_internal, parse_address
from ..core.notes import Note, Notes
from ..core.plan import MEDIA, Plan, Transport
from ..core.ports import list_ports, port_ranges
from ..core.report import Report
from ..system.interfaces import Interface
from .model import Certificate, Machine, OutsideAnswers

# What a check found: notes, of which none is 'in order'; or why it could not find out; None where it does not apply.
_Found = Union[Tuple[Note, ...], str, None]

# What LiveKit asks where its configuration names no others (mediatransportutil, rtcconfig/config.go).
STUN_SERVERS = ("global.stun.twilio.com:3478", "stun.l.google.com:19302", "stun1.l.google.com:19302")
# LiveKit warns of a buffer below 5,000,000 bytes by the kernel's count, which is twice what was asked for (socket(7)).
LEAST_RECEIVED, SUGGESTED_RECEIVED = 2_500_000, 5_000_000
# Entries of connection tracking for each planned port: participants have some each, and so have web pages and ssh.
FLOWS_A_PORT = 4
# Let's Encrypt's certificates are renewed 30 days before their end: half of that went by in vain.
SOON_DAYS = 14
# LiveKit's leeway for the times in tokens (protocol, auth/verifier.go).
CLOCK_SECONDS = 60
# Names of certificates that the DNS is asked for: a plugNmeet has two.
MAX_DOMAINS = 4
_VIRTUAL = re.compile(r"docker|br-|veth|virbr|lxc|lxd|cni|flannel|podman|tun|tap|wg|tailscale|zt")
_UTC = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z")
_DAY = 24 * 3600
_CLOCK_BREAKS = "Tokens and certificates of other machines are refused once their clocks are a minute apart."
_SET_CLOCK = ("timedatectl set-ntp true",)
_STUN_BREAKS = "LiveKit asks them for its public address, and does not start without (`could not resolve external IP`)."
_WITHOUT_STUN = "set use_external_ip to false and node_ip to the public address in LiveKit's configuration."
_RECORD = {Family.IPV4: "A", Family.IPV6: "AAAA"}


def check_machine(machine: Machine, plan: Plan, installed: Installed | None) -> Notes:
    """What the machine's own words tell."""
    return _notes({
        "ports lent to outgoing connections": _lent(machine, plan),
        "connection tracking's size": _flows(machine, plan),
        "receive buffers": _received(machine, installed),
        "clock": _clock(machine),
        "interfaces": _interfaces(machine, installed),
        "certificates": _certificates(machine, installed),
    })  # fmt: skip


def check_outside(outside: OutsideAnswers, machine: Machine, installed: Installed) -> Notes:
    """What others told of it."""
    return _notes({
        "STUN": _stun(outside),
        "node_ip": _node_ip(outside, installed),
        "hairpin": _hairpin(outside, machine),
        **{f"DNS of {name}": _records(name, outside, machine, installed) for name in outside.dns_records or ()},
    })  # fmt: skip


def domain_names(machine: Machine, installed: Installed) -> tuple[str, ...]:
    """The names that lead to this server: TURN's, and those of its certificates."""
    named = (name for one in machine.certificates for name in one.names if "*" not in name)
    return tuple(dict.fromkeys(filter(None, (installed.turn_domain, *named))))[:MAX_DOMAINS]


def stun_servers(installed: Installed) -> tuple[str, ...]:
    """Whom LiveKit asks for its address at its start, `name:port`; nobody where it does not."""
    return (installed.stun_servers or STUN_SERVERS) if installed.use_external_ip else ()


def _notes(found: Mapping[str, _Found]) -> Notes:
    return Notes(
        tuple(note for one in found.values() if isinstance(one, tuple) for note in one),
        tuple(name for name, one in found.items() if one == ()),
        tuple(f"{name} ({one})" if one else name for name, one in found.items() if isinstance(one, str)),
    )


def _lent(machine: Machine, plan: Plan) -> _Found:
    if machine.ephemeral_ports is None or machine.reserved_ports is None:
        return ""
    planned = {port for row in plan.of(Transport.UDP) for port in row.ports}
    open_to_all = port_ranges(
        port for port in planned.intersection(machine.ephemeral_ports) if port not in machine.reserved_ports
    )
    if not open_to_all:
        return ()
    wanted = ",".join(
        map(str, port_ranges(machine.reserved_ports.union(planned.intersection(machine.ephemeral_ports))))
    )
    return (Note(
        "lent-ports",
        f"The system lends {list_ports(open_to_all, 'udp')} to outgoing connections too ({machine.ephemeral_ports}).",
        "A port that is lent is taken when LiveKit wants it, and a check calls it busy.",
        "Reserve them: who asks for one still gets it.",
        _sysctl("net.ipv4.ip_local_reserved_ports", wanted),
    ),)  # fmt: skip


def _flows(machine: Machine, plan: Plan) -> _Found:
    ports = len({*plan.ports(Transport.UDP)})
    if machine.conntrack_max is None or machine.conntrack_max >= ports:
        return () if machine.conntrack_max else None
    return (Note(
        "conntrack-size",
        f"This machine's firewall keeps {machine.conntrack_max:,} connections at most; there are {ports:,} UDP ports.",
        "Past that it drops new ones of every kind: calls, web pages and ssh.",
        "Let it keep more, of about 300 bytes each.",
        _sysctl("net.netfilter.nf_conntrack_max", 1 << (FLOWS_A_PORT * ports - 1).bit_length()),
    ),)  # fmt: skip


def _received(machine: Machine, installed: Installed | None) -> _Found:
    """Where all participants share one port. Of a port for each LiveKit asks for no larger buffer."""
    media = [row.source or "" for row in installed.requirements if row.purpose == MEDIA] if installed else []
    if not any("udp_port" in one.lower().replace("-", "_") for one in media):
        return None
    if machine.max_receive_buffer is None:
        return ""
    if machine.max_receive_buffer >= LEAST_RECEIVED:
        return ()
    return (Note(
        "receive-buffer",
        f"A receive buffer may have only {machine.max_receive_buffer:,} bytes.",
        "All media come to one UDP port of LiveKit, which then loses packets of busy meetings.",
        "Allow larger ones, and start LiveKit again.",
        _sysctl("net.core.rmem_max", SUGGESTED_RECEIVED),
    ),)  # fmt: skip


def _sysctl(name: str, value: object) -> tuple[str, ...]:
    """What sets it now, and what does at each start."""
    return f"sysctl -w {name}={value}", f"echo '{name} = {value}' > /etc/sysctl.d/60-{name}.conf"


def _clock(machine: Machine) -> _Found:
    if machine.clock_synchronized is None:
        return machine.errors.get("clock", "").rstrip(".")
    if machine.clock_synchronized:
        return ()
    return (Note(
        "clock-unset",
        "No time server has set this machine's clock.",
        _CLOCK_BREAKS,
        "Have it set over the network.",
        _SET_CLOCK,
    ),)  # fmt: skip


def _interfaces(machine: Machine, installed: Installed | None) -> _Found:
    if installed is None:
        return None
    if machine.interfaces is None:
        return machine.errors.get("interfaces", "")
    own = machine.outgoing_addresses
    public = installed.use_external_ip or not all(map(is_internal, own))
    if installed.addresses_filtered:
        return "LiveKit's configuration picks addresses itself"
    includes, excludes = installed.interfaces  # of both LiveKit minds the first alone
    used = [
        one
        for one in machine.interfaces
        if one.addresses and (one.name in includes if includes else one.name not in excludes)
    ]
    extra = [one for one in used if _is_extra(one, own, public)]
    if not extra or not own:
        return ()
    named = ", ".join(f"{one.name} ({' and '.join(map(str, one.addresses))})" for one in extra)
    kept = ", ".join(one.name for one in used if one not in extra)
    return (Note(
        "extra-interfaces",
        f"LiveKit offers the addresses of {named} to its clients too.",
        "Nobody outside can reach those: calls start later, and take more of the ports.",
        f"Unless users are there, set `rtc: interfaces: includes: [{kept}]` in LiveKit's configuration.",
    ),)  # fmt: skip


def _is_extra(one: Interface, own: Sequence[Address], public: bool) -> bool:
    if any(address in own or not is_internal(address) for address in one.addresses):
        return False
    return public or bool(_VIRTUAL.match(one.name))


def _certificates(machine: Machine, installed: Installed | None) -> _Found:
    if installed is None or not installed.certificates:
        return None
    notes = tuple(note for one in machine.certificates for note in _ending(one, machine.now))
    paths = {path for _, path in installed.certificates}
    unread = [f"{path}: {why}" for path, why in machine.errors.items() if path.startswith(tuple(paths))]
    if unread:
        return notes or unread[0]
    wanted = installed.turn_domain
    if wanted and not any(_is_for(name, wanted) for one in machine.certificates for name in one.names):
        notes += (Note(
            "certificate-name",
            f"None of haproxy's certificates is for {wanted}.",
            "Clients refuse TURN over TLS, which those need whose network lets nothing else pass.",
            "Get one that has this name too.",
        ),)  # fmt: skip
    return notes


def _ending(one: Certificate, now: float) -> Iterator[Note]:
    days = int((one.until - now) // _DAY)
    if days >= SOON_DAYS:
        return
    when = "has expired" if one.until <= now else f"expires in {days} day{'' if days == 1 else 's'}"
    yield Note(
        "certificate-expiry",
        f"The certificate in {one.path} {when}.",
        "Browsers refuse the web application, and clients TURN over TLS.",
        "Renew it; Let's Encrypt has to reach port 80 for that.",
        ("certbot renew",),
    )


def _is_for(name: str, wanted: str) -> bool:
    """Whether a certificate's name, of which a star may be the first part, is a server's (RFC 6125, section 6.4)."""
    name, wanted = name.lower(), wanted.lower().rstrip(".")
    return name == wanted or (name.startswith("*.") and name[2:] == wanted.partition(".")[2])


def _stun(outside: OutsideAnswers) -> _Found:
    if outside.egress is None:
        return None
    if not outside.routes:
        return "this machine has no way out"
    named = f"LiveKit's STUN servers ({', '.join(outside.stun_servers)})"
    if len(outside.unresolved) == len(outside.stun_servers):
        return (Note(
            "stun-unresolved", f"{named} have no address in the DNS, or no port.", _STUN_BREAKS,
            f"Make the DNS work here, or {_WITHOUT_STUN}",
        ),)  # fmt: skip
    if outside.egress and (Family.IPV4 in outside.egress or Family.IPV4 not in outside.routes):
        return ()  # what it has of IPv6 is its own address anyway
    return (Note(
        "stun-blocked",
        f"No answer came from {named}{' over IPv4' if outside.egress else ''}: UDP is blocked on the way out or back.",
        "LiveKit offers its clients no public IPv4 address." if outside.egress else _STUN_BREAKS,
        f"Let it through in this machine's firewall and the provider's, or {_WITHOUT_STUN}",
    ),)  # fmt: skip


def advertised_addresses(installed: Installed | None, outside: OutsideAnswers) -> Mapping[Family, Address]:
    """The public addresses that LiveKit offers to clients, as far as they are known."""
    if installed is None:
        return {}
    return (outside.egress or {}) if installed.use_external_ip else _node_ips(installed)


def _node_ips(installed: Installed) -> Mapping[Family, Address]:
    return {family_of(one): one for one in map(parse_address, installed.node_ip)}


def _node_ip(outside: OutsideAnswers, installed: Installed) -> _Found:
    if not installed.node_ip or (installed.use_external_ip and not outside.egress):
        return None
    told = _node_ips(installed)
    found = advertised_addresses(installed, outside)
    notes = tuple(
        Note(
            "node-ip-ignored",
            f"node_ip says {one}, but the STUN servers see {found[family]}, which wins (use_external_ip).",
            "Calls use an address that nobody meant.",
            f"Where {one} is right set use_external_ip to false, else node_ip to {found[family]}.",
        )
        for family, one in told.items() if found.get(family, one) != one
    )  # fmt: skip
    return notes + tuple(
        Note(
            "node-ip-private",
            f"LiveKit is told to offer {one} (node_ip), which only computers of the same network reach.",
            "Calls from outside have neither sound nor picture.",
            "Set node_ip to the public address, or use_external_ip to true.",
        )
        for one in told.values() if is_internal(one) and not installed.use_external_ip
    )  # fmt: skip


def _hairpin(outside: OutsideAnswers, machine: Machine) -> _Found:
    if outside.hairpin is None:
        return "no port is held to try it at" if Family.IPV4 in (outside.egress or {}) else None
    if outside.hairpin:
        return ()
    public = (outside.egress or {})[Family.IPV4]
    inside = [one for one in machine.outgoing_addresses if one.version == 4]
    return (Note(
        "no-hairpin",
        f"What this machine sends to its own public address {public} does not come back.",
        "TURN relays nothing, since it sends to LiveKit at that address.",
        "Have the NAT lead them back (hairpin) and its firewall let them in; or do it here, until the next start:",
        tuple(f"iptables -t nat -A OUTPUT -d {public} -j DNAT --to-destination {one}" for one in inside[:1]),
    ),)  # fmt: skip


def _records(name: str, outside: OutsideAnswers, machine: Machine, installed: Installed) -> _Found:
    """A name's addresses beside those of this machine."""
    found = (outside.dns_records or {})[name]
    if found is None:
        return "no answer"
    offered = advertised_addresses(installed, outside)
    here = {*offered.values(), *(outside.egress or {}).values(),
            *(one for link in machine.interfaces or () for one in link.addresses)}  # fmt: skip
    notes, doubt = [], False
    for one in found:
        family = family_of(one)
        if family is Family.IPV6 and installed.ipv4_only:
            notes.append(_unserved(name, one, installed.ipv4_only))
        elif one not in here and (family in offered or family is Family.IPV6):
            notes.append(_elsewhere(name, one, offered.get(family)))
        else:
            doubt |= one not in here
    return "whether it leads here is not known" if doubt and not notes else tuple(notes)


def _elsewhere(name: str, address: Address, offered: Address | None) -> Note:
    other = f"while LiveKit offers {offered} to clients" if offered else "which is none of this machine's"
    return Note(
        "dns-elsewhere",
        f"The {_RECORD[family_of(address)]} record of {name} is {address}, {other}.",
        "Users come to another machine, or calls have neither sound nor picture.",
        "Correct the record" + (f", or set use_external_ip to false and node_ip to {address}." if offered else "."),
    )


def _unserved(name: str, address: Address, ports: Sequence[int]) -> Note:
    return Note(
        "aaaa-unserved",
        f"{name} has an AAAA record, {address}, "
        f"but haproxy takes only IPv4 at {list_ports(port_ranges(ports), 'tcp')}.",
        "Let's Encrypt and browsers try IPv6 first: certificates are not renewed, and pages open late or never.",
        "Remove the record, or have haproxy take IPv6 too: `bind [::]:80 v4v6`, and 443 likewise.",
    )


def check_report(report: Report, now: float, offered: Mapping[Family, Address]) -> tuple[Note, ...]:
    """What a client's report, which came at `now`, tells of this machine; it is a stranger's word."""
    return (*_clocks(report, now), *_dialled(report, offered))


def _clocks(report: Report, now: float) -> Iterator[Note]:
    match = _UTC.fullmatch(report.started)
    try:
        apart = now - calendar.timegm(tuple(map(int, match.groups() if match else ()))) - report.elapsed
    except ValueError:  # no time at all
        return
    if abs(apart) > CLOCK_SECONDS:
        yield Note(
            "clocks-apart",
            f"This machine's clock is {abs(apart) / 60:,.0f} min {'ahead of' if apart > 0 else 'behind'} the client's.",
            f"If this one is wrong: {_CLOCK_BREAKS}",
            "Look at `date -u` here and there, and have the wrong one set over the network.",
            _SET_CLOCK,
        )


def _dialled(report: Report, offered: Mapping[Family, Address]) -> Iterator[Note]:
    for one in report.addresses:
        dialled = parse_address(one.address)
        other = offered.get(family_of(dialled))
        if other and other != dialled and not dialled.is_loopback and not is_internal(dialled):
            yield Note(
                "advertised-elsewhere",
                f"The client dialled {dialled}, while LiveKit offers {other} to clients.",
                "Calls use ports that were not checked.",
                f"Check {other} too. Where {dialled} is the right one, set use_external_ip to false and node_ip to it.",
            )
