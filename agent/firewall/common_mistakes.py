"""Recognise mistakes that people make with these firewalls again and again, each by itself, with its sentence."""

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
    (PortRange(32768, 60999), "Linux's range for outgoing connections"),
    (PortRange(40000, 49999), "mediasoup and Janus"),
    (PortRange(20000, 40000), "Janus"),
    (PortRange(30000, 40000), "rtpengine"),
    (PortRange(10000, 10000), "Jitsi"),
    (PortRange(16384, 32768), "FreeSWITCH and BigBlueButton"),
    (PortRange(10000, 20000), "Asterisk and older Jitsi"),
)

# As iptables and nft print it: for all that comes, and not for some ports.
_ORACLE_REJECTS = ("-A INPUT -j REJECT --reject-with icmp-host-prohibited", "reject with icmp host-prohibited",
                   "counter reject with icmp host-prohibited")  # fmt: skip


def of_rules(rules: Sequence[BlockingRule], managers: FirewallManagers) -> Iterator[str]:
    """Yield the mistakes that rules show which block ports."""
    recognisers = (oracle_reject, ufw_order, docker_bypass)
    return (sentence for recognise in recognisers for sentence in [recognise(rules, managers)] if sentence)


def oracle_reject(rules: Sequence[BlockingRule], managers: FirewallManagers) -> str | None:
    """Recognise a REJECT with icmp-host-prohibited in INPUT itself, as Oracle's images (and others) have it."""
    for rule in rules:
        location, reject = rule.location, rule.action is RuleAction.REJECT
        if reject and location.path == ("INPUT",) and location.number and rule.text in _ORACLE_REJECTS:
            vain = "`iptables -A` does not help: it adds rules after this one, which are never reached"
            if managers.ufw:
                vain = "`ufw allow` does not help: ufw's rules come after it"
            return f"Oracle Cloud's images come with this REJECT. {vain}. Only a rule before it helps."
    return None


def ufw_order(rules: Sequence[BlockingRule], managers: FirewallManagers) -> str | None:
    """Recognise a rule of ufw's own that denies before another could allow."""
    if any(is_ufw(rule, managers) and is_ufw_rule(rule) for rule in rules):
        return "ufw applies the first rule that matches: allowing these ports further down does not help."
    return None


def docker_bypass(rules: Sequence[BlockingRule], managers: FirewallManagers) -> str | None:
    """Recognise a port that Docker forwards to a container."""
    if any(is_docker_rule(rule, managers) for rule in rules):
        return "Docker bypasses ufw: ufw's rules do not apply to a port that a container publishes."
    return None


class AddressMistakes:
    """What an address's findings as a whole look like: each mistake is told with the first finding that shows it.

    They are looked at once, however many the client's report has.
    """

    def __init__(self, address: AddressReport, addresses: Sequence[AddressReport]) -> None:
        self._any = forgotten_ipv6(address, addresses)
        self._udp = only_tcp(address.findings)
        self._ranges = dict((*other_range(address.findings), *off_by_one(address.findings)))

    def of(self, finding: Finding) -> Iterator[str]:
        """Yield the mistakes that this finding is the first to show."""
        sentences = [self._any]
        self._any = None
        if finding.transport is Transport.UDP:
            sentences += [self._udp, self._ranges.pop(finding.purpose, None)]
            self._udp = None
        return filter(None, sentences)


def forgotten_ipv6(address: AddressReport, others: Sequence[AddressReport]) -> str | None:
    """Recognise ports that are open at an IPv4 address of the same name, and blocked at this one of IPv6."""
    if address.family is not Family.IPV6:
        return None
    open_there = _open(finding for other in others if other.family is Family.IPV4 for finding in other.findings)
    blocked: dict[Transport, list[int]] = {transport: [] for transport in Transport}
    for finding in address.findings:
        if finding.state in BLOCKED:
            blocked[finding.transport] += open_there[finding.transport].intersection(finding.ports)
    listed = " and ".join(
        list_ports(port_ranges(ports), transport.value) for transport, ports in blocked.items() if ports
    )
    if not listed:
        return None
    return f"IPv6 was forgotten: {listed} are open for IPv4 and blocked for IPv6. Add the same rules for IPv6."


def _open(findings: Iterable[Finding]) -> dict[Transport, set[int]]:
    ports: dict[Transport, set[int]] = {transport: set() for transport in Transport}
    for finding in findings:
        if finding.state is State.OPEN:
            ports[finding.transport].update(finding.ports)
    return ports


def only_tcp(findings: Sequence[Finding]) -> str | None:
    """Recognise that all TCP ports are open, and all UDP ports blocked, maybe before the server."""
    tried = [finding for finding in findings if finding.state is not State.UNTESTED]
    tcp = [finding for finding in tried if finding.transport is Transport.TCP]
    udp = [finding for finding in tried if finding.transport is Transport.UDP]
    beyond = (Where.BEFORE_SERVER, Where.UNKNOWN, None)
    if not tcp or not udp or any(finding.state is not State.OPEN for finding in tcp):
        return None
    if any(finding.state not in BLOCKED or finding.only_small or finding.where not in beyond for finding in udp):
        return None
    return "All TCP ports are open and all UDP ports are blocked: was the rule made for TCP only? UDP needs its own."


def off_by_one(findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    """Yield the purpose of each range of which just the first or the last port is blocked, and the sentence."""
    for purpose, whole, open_runs in _ranges(findings):
        if open_runs in (
            (PortRange(whole.first + 1, whole.last),),
            (PortRange(whole.first, whole.last - 1),),
            (PortRange(whole.first + 1, whole.last - 1),),
        ):
            text = f"{open_runs[0]}/udp is open, {whole}/udp is needed, both ends included."
            yield purpose, f"The range is off by one: {text}"


def other_range(findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    """Recognise a range of which just what another product's default covers is open, or one port; as before."""
    for purpose, whole, open_runs in _ranges(findings):
        for theirs, name in _OTHERS:
            if theirs.overlaps(whole):
                common = PortRange(max(theirs.first, whole.first), min(theirs.last, whole.last))
                if open_runs == (common,):
                    text = f"{theirs}, {name}; {whole}/udp is needed."
                    yield purpose, f"The open ports match another product's range: {text}"
                    break
        else:
            if len(open_runs) == 1 and len(open_runs[0]) == 1:
                yield purpose, f"Only {open_runs[0]}/udp is open, as for a manual test; all of {whole}/udp is needed."


def _ranges(findings: Sequence[Finding]) -> Iterator[tuple[str, PortRange, tuple[PortRange, ...]]]:
    """Every range of UDP ports that is partly open, and else blocked, with group purpose and what of it is open."""
    by_purpose: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.transport is Transport.UDP:
            by_purpose.setdefault(finding.purpose, []).append(finding)
    for purpose, group in by_purpose.items():
        whole = PortRange(min(finding.ports.first for finding in group), max(finding.ports.last for finding in group))
        states = {finding.state for finding in group}
        if sum(len(finding.ports) for finding in group) == len(whole) >= LEAST_RANGE and State.OPEN in states:
            if len(states) > 1 and states <= {State.OPEN, *BLOCKED}:
                yield (
                    purpose,
                    whole,
                    port_ranges(port for finding in group if finding.state is State.OPEN for port in finding.ports),
                )
