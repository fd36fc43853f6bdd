"""Mistakes that people make with these firewalls again and again: each is recognised by itself, with its sentence."""

from __future__ import annotations

from typing import Iterable, Iterator, Sequence

from ..core.address import Family
from ..core.observation import Where
from ..core.plan import Transport
from ..core.ports import PortRange, list_ports, port_ranges
from ..core.report import BLOCKED, AddressReport, Finding, State
from .fixes import is_docker_rule, is_ufw, is_ufw_rule
from .model import BlockingRule, FirewallManagers, RuleAction

# From so many ports on, a row of the plan is a range of media ports, of which parts may be open.
LEAST_RANGE = 100

# Ranges that other products' documentation opens. Where two are open alike, the first is named.
_OTHERS = (
    (PortRange(50000, 50100), "the sample configuration of LiveKit for Docker"),
    (PortRange(50000, 50059), "Microsoft Teams"),
    (PortRange(50000, 51000), "an example of a smaller range for LiveKit"),
    (PortRange(5000, 50000), "an old default of Kurento"),
    (PortRange(40000, 57000), "OpenVidu 2 (Kurento)"),
    (PortRange(49152, 65535), "coturn"),
    (PortRange(32768, 60999), "the range that Linux lends to outgoing connections"),
    (PortRange(40000, 49999), "mediasoup and Janus"),
    (PortRange(20000, 40000), "Janus"),
    (PortRange(30000, 40000), "rtpengine"),
    (PortRange(10000, 10000), "Jitsi"),
    (PortRange(16384, 32768), "FreeSWITCH and BigBlueButton"),
    (PortRange(10000, 20000), "Asterisk and older Jitsi"),
)


# As iptables and nft print it: for all that comes, and not for some ports.
_ORACLES = ("-A INPUT -j REJECT --reject-with icmp-host-prohibited", "reject with icmp host-prohibited",
            "counter reject with icmp host-prohibited")  # fmt: skip


def oracle(rules: Sequence[BlockingRule], managers: FirewallManagers) -> str | None:
    """A REJECT with icmp-host-prohibited in INPUT itself, as Oracle's images have it (and others that copy it)."""
    for one in rules:
        if (
            one.action is RuleAction.REJECT
            and one.location.path == ("INPUT",)
            and one.location.number
            and one.text in _ORACLES
        ):
            vain = "`iptables -A` does not help: a rule after it is never reached"
            if managers.ufw:
                vain = "`ufw allow` does not help: ufw's rules come after it"
            return f"This REJECT is what Oracle Cloud's images bring along. {vain}; one before it action."
    return None


def ufw_order(rules: Sequence[BlockingRule], managers: FirewallManagers) -> str | None:
    """A rule of ufw's own that denies before another could allow."""
    if any(is_ufw(one, managers) and is_ufw_rule(one) for one in rules):
        return "ufw takes the first rule that fits: to allow these ports further down does not help."
    return None


def docker(rules: Sequence[BlockingRule], managers: FirewallManagers) -> str | None:
    """A port that Docker hands to a container."""
    if any(map(is_docker_rule, rules)):
        return "Docker bypasses ufw: what ufw allows or denies does not matter for a port that a container publishes."
    return None


def forgotten_ipv6(address: AddressReport, others: Sequence[AddressReport]) -> str | None:
    """Ports that are open at an IPv4 address of the same name, and blocked at this one of IPv6."""
    if address.family is not Family.IPV6:
        return None
    open_there = _open(one for other in others if other.family is Family.IPV4 for one in other.findings)
    blocked: dict[Transport, list[int]] = {one: [] for one in Transport}
    for one in address.findings:
        if one.state in BLOCKED:
            blocked[one.transport] += open_there[one.transport].intersection(one.ports)
    listed = " and ".join(
        list_ports(port_ranges(ports), transport.value) for transport, ports in blocked.items() if ports
    )
    if not listed:
        return None
    return f"IPv6 was forgotten: {listed} are open for IPv4 and blocked for IPv6. The rules of both must say the same."


def _open(findings: Iterable[Finding]) -> dict[Transport, set[int]]:
    found: dict[Transport, set[int]] = {one: set() for one in Transport}
    for one in findings:
        if one.state is State.OPEN:
            found[one.transport].update(one.ports)
    return found


def only_tcp(findings: Sequence[Finding]) -> str | None:
    """All of TCP open, and all of UDP blocked, maybe before the server."""
    tried = [one for one in findings if one.state is not State.UNTESTED]
    tcp = [one for one in tried if one.transport is Transport.TCP]
    udp = [one for one in tried if one.transport is Transport.UDP]
    beyond = (Where.BEFORE_SERVER, Where.UNKNOWN, None)
    if not tcp or not udp or any(one.state is not State.OPEN for one in tcp):
        return None
    if any(one.state not in BLOCKED or one.only_small or one.where not in beyond for one in udp):
        return None
    return "All of TCP is open and all of UDP is blocked: was the rule made for TCP only? UDP needs one of its own."


def off_by_one(findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    """A range of which the first or the last port alone is blocked; its purpose, and the sentence."""
    for purpose, whole, open_runs in _ranges(findings):
        if open_runs in (
            (PortRange(whole.first + 1, whole.last),),
            (PortRange(whole.first, whole.last - 1),),
            (PortRange(whole.first + 1, whole.last - 1),),
        ):
            text = f"{open_runs[0]}/udp is open where {whole}/udp is meant, both ends included."
            yield purpose, f"The range is off by one: {text}"


def other_range(findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    """A range of which just that part is open which another product's default covers, or one port; as before."""
    for purpose, whole, open_runs in _ranges(findings):
        for theirs, name in _OTHERS:
            if theirs.overlaps(whole):
                common = PortRange(max(theirs.first, whole.first), min(theirs.last, whole.last))
                if open_runs == (common,):
                    text = f"{theirs}, {name}; {whole}/udp is needed."
                    yield purpose, f"What is open looks like another product's range: {text}"
                    break
        else:
            if len(open_runs) == 1 and len(open_runs[0]) == 1:
                yield purpose, f"Only {open_runs[0]}/udp is open, as for a test by hand; all of {whole}/udp is needed."


def _ranges(findings: Sequence[Finding]) -> Iterator[tuple[str, PortRange, tuple[PortRange, ...]]]:
    """Every range of UDP ports that is partly open, and else blocked, with its purpose and what of it is open."""
    by_purpose: dict[str, list[Finding]] = {}
    for one in findings:
        if one.transport is Transport.UDP:
            by_purpose.setdefault(one.purpose, []).append(one)
    for purpose, its in by_purpose.items():
        whole = PortRange(min(one.ports.first for one in its), max(one.ports.last for one in its))
        states = {one.state for one in its}
        if sum(len(one.ports) for one in its) == len(whole) >= LEAST_RANGE and State.OPEN in states:
            if len(states) > 1 and states <= {State.OPEN, *BLOCKED}:
                yield purpose, whole, port_ranges(port for one in its if one.state is State.OPEN for port in one.ports)
