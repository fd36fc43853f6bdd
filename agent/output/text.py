"""The report as people read it: the verdict, then what is not open, then what is."""

from __future__ import annotations

from typing import AbstractSet, Iterable, Sequence

from ..core.address import Family
from ..core.observation import Interceptor, Reason, Where
from ..core.plan import Need, Transport
from ..core.ports import PortRange, list_ports, port_set
from ..core.report import (
    BLOCKED,
    AddressReport,
    Advice,
    Finding,
    FindingGroup,
    Problem,
    Report,
    Rtt,
    State,
    Verdict,
    group_findings,
)
from .style import Style

# Runs of ports: so many are left open or unknown by loss or a limit, not by rules that somebody wrote.
SCATTERED = 100
# As much of a name as a narrow terminal still shows.
SHORT_HOST = 16

_VERDICTS = {
    Verdict.PASS: ("PASS", "green"),
    Verdict.FAIL: ("FAIL", "red"),
    Verdict.INCONCLUSIVE: ("INCONCLUSIVE", "yellow"),
}

_MARKS = {State.OPEN: ("green", "\N{CHECK MARK}", "+"), State.UNTESTED: ("yellow", "?", "?"),
          State.UNKNOWN: ("yellow", "?", "?")}  # fmt: skip
_BLOCKED_MARK = ("red", "\N{BALLOT X}", "x")

_FAMILIES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}

_WHERE = {
    Where.BEFORE_SERVER: "it never reached the server",
    Where.SERVER_HOST: "it reached the server's network interface, and the server's own firewall stopped it",
    Where.RETURN_PATH: "it reached the server, whose answer was lost on the way back",
    Where.UNKNOWN: "whether it reached the server is not known",
}

_REASONS = {
    Reason.BUSY: "another program holds it on the server",
    Reason.DENIED: "the server may not listen there",
    Reason.LIMIT: "the server may not open enough files",
    Reason.SAMPLED: "they were not in the sample",
    Reason.PATH_LOSS: "the path loses too many packets",
    Reason.RATE_LIMIT: "something lets only so many packets a second pass",
    Reason.FLOW_LIMIT: "something keeps only so many connections in mind",
    Reason.SCAN_BLOCK: "something took the check for a scan and shut it out",
    Reason.NO_CONTROL: "the server went away during the check",
    Reason.ABORTED: "the check was interrupted",
}


_INTERCEPTORS = {
    Interceptor.CAPTIVE_PORTAL: "A captive portal answers in the server's place",
    Interceptor.HTTP_PROXY: "An HTTP proxy answers in the server's place",
    Interceptor.TLS_MIDDLEBOX: "Something ends TLS with a certificate of its own",
    Interceptor.CDN: "A CDN answers in the server's place",
    Interceptor.OTHER_SERVICE: "Another program answers",
    Interceptor.FORWARDED: "The server gets it elsewhere",
    None: "Somebody else answers",
}


def render(report: Report, style: Style) -> str:
    """The report in lines of at most `style.width` columns, with a newline at its end."""
    lines = [headline(report, style), "", *(line for note in report.notes for line in [*style.wrap(note, 0), ""])]
    if report.error and all(address.error != report.error for address in report.addresses):
        lines += [*_problem(report.error, style), ""]
    for address in report.addresses:
        lines += [*_address(address, address.names if len(report.hosts) > 1 else (), style), ""]
    lines += style.wrap(f"{_tried(report)} ports in {report.elapsed:.1f} s, plan {report.plan or 'not known'}, "
                        f"pnmcheck {report.version}", 0)  # fmt: skip
    return "\n".join(lines) + "\n"


def _tried(report: Report) -> str:
    ports, left_out = _ports(report.findings, set(State)), _left_out(report.findings)
    return f"{ports - left_out:,} of {ports:,}" if left_out else f"{ports:,}"


def headline(report: Report, style: Style) -> str:
    """The verdict in one line, or a few on a narrow terminal."""
    word, colour = _VERDICTS[report.verdict]
    meaning = _meaning(report)
    room = max(SHORT_HOST, style.width - len(f"{word}  : {meaning}"))
    host = ", ".join(report.hosts) or report.host
    host = host if len(host) <= room else host[: room - 3] + "..."
    text = "\n".join(style.wrap(f"{word}  {host}: {meaning}", 0))
    return style.paint(word, colour) + text[len(word) :]


def _meaning(report: Report) -> str:
    findings = report.findings
    if report.error and not findings:
        return "the check could not run"
    required = [one for one in findings if one.need is Need.REQUIRED]
    if report.verdict is Verdict.FAIL:
        blocked, least = _ports(required, BLOCKED), "at least " if _left_out(required) else ""
        return f"{least}{blocked:,} required port{' is' if blocked == 1 else 's are'} blocked"
    if report.verdict is Verdict.INCONCLUSIVE:
        return _inconclusive(report, required)
    warning = ", a recommended one is not" if any(map(_warns, findings)) else ""
    return f"every required port is open{warning}"


def _inconclusive(report: Report, required: Sequence[Finding]) -> str:
    left_out = _left_out(required)
    unclear = _ports(required, set(State) - BLOCKED - {State.OPEN}) - left_out
    if left_out and not unclear and not report.error and not any(address.error for address in report.addresses):
        return f"none of {_ports(required, {State.OPEN}):,} sampled required ports is blocked"
    other = "a name" if report.error else "an address"
    unchecked = f"{unclear:,} required port{'s' if unclear != 1 else ''}" if unclear else other
    return f"{unchecked} could not be checked{', others only by a sample' if left_out else ''}"


def _left_out(findings: Iterable[Finding]) -> int:
    """How many ports a sample left out."""
    return sum(len(finding.ports) for finding in findings if finding.unsampled)


def _ports(findings: Iterable[Finding], states: AbstractSet[State]) -> int:
    return sum(len(finding.ports) for finding in findings if finding.state in states)


def _warns(finding: Finding) -> bool:
    return finding.need is Need.RECOMMENDED and finding.state is not State.OPEN


def _problem(problem: Problem, style: Style) -> list[str]:
    return [*style.wrap(problem.message, 2), *style.wrap(f"What to do: {problem.hint}", 2)]


def _address(address: AddressReport, names: Sequence[str], style: Style) -> list[str]:
    word, colour = _VERDICTS[address.verdict]
    title = style.clean(f"{address.address} ({', '.join([_FAMILIES[address.family], *names])})")
    lines = style.wrap(f"{title}  {word}", 0)
    if len(lines) == 1:  # as it is on any but a very narrow terminal
        lines = [f"{style.paint(title, 'bold')}  {style.paint(word, colour)}"]
    if address.error:
        return lines + _problem(address.error, style)
    advice = {one.finding: one for one in address.advice}
    for group in sorted(group_findings(address.findings), key=lambda one: one.first.unsampled):
        cause = _sampled(address) if group.first.unsampled else _cause(group.first)
        lines += _marked(group.first.state, _which(group), style)
        about = advice.get(group.number, Advice(group.number, ""))
        lines += style.wrap(f"{cause} {about.text}".strip(), 4)
        lines += (style.paint(f"      {style.clean(command)}", "bold") for command in about.commands)  # never wrapped
    lines += _open(address, style)
    lines += [line for note in address.notes for line in style.wrap(note, 2)]
    return lines + style.wrap("; ".join(_measured(address)), 2)


def _which(group: FindingGroup) -> str:
    """The ports of a group, their state, and what they are for."""
    finding = group.first
    state, transport = finding.state.value, finding.transport.value
    purpose = [_purpose(finding)] if len({one.purpose for one in group.findings}) == 1 else []
    if finding.unsampled:
        return f"{_count(len(group), finding.transport)}: {state} ({', '.join(['not in the sample', *purpose])})"
    if sum(map(len, group.extent)) > len(group):
        within = list_ports(group.extent, transport)
        return f"{len(group):,} ports within {within}: {state}{''.join(f' ({one})' for one in purpose)}"
    if finding.state is State.UNKNOWN and _are_scattered(group.ports):
        return f"{_count(len(group), finding.transport)}: {state}{''.join(f' ({one})' for one in purpose)}"
    about = [*([f"{len(group):,} ports"] if len(group) > 1 else []), *purpose]
    return f"{list_ports(group.ports, transport)}: {state} ({', '.join(about)})"


def _are_scattered(ports: Sequence[PortRange]) -> bool:
    """Whether a list of them, or of the first few, would tell nobody anything."""
    return len(port_set(ports).ranges) > SCATTERED


def _count(ports: int, transport: Transport) -> str:
    return f"{ports:,} {transport.value.upper()} port{'s' if ports != 1 else ''}"


def _sampled(address: AddressReport) -> str:
    """How large the sample was, and what came of it."""
    sample = address.sample
    if sample is None:  # as in no report of our own: UDP ports alone are sampled
        return ""
    counts = {state: ports for state, ports in address.count(Transport.UDP).items() if state is not State.UNTESTED}
    all_open = sample.ports == counts.get(State.OPEN)
    states = "all open" if all_open else ", ".join(f"{ports:,} {state.value}" for state, ports in counts.items())
    percent = 100 * sample.ports // sample.of
    share = f"{percent} %" if percent else "less than 1 %"
    return f"Sampled: {sample.ports:,} of {_count(sample.of, Transport.UDP)} ({share}), {states}."


def _purpose(finding: Finding) -> str:
    purpose = finding.purpose if finding.need is Need.REQUIRED else f"{finding.need.value}: {finding.purpose}"
    return f"{purpose}; by {finding.source}" if finding.source else purpose


def _marked(state: State, text: str, style: Style) -> list[str]:
    colour, better, plain = _MARKS.get(state, _BLOCKED_MARK)
    first, *others = style.wrap(text, 4)
    mark = style.paint(better if style.unicode else plain, colour)
    return [f"  {mark} {first[4:]}", *others]


def _cause(finding: Finding) -> str:
    if finding.reason is Reason.ABORTED and finding.shown:
        return f"The check could not get there: {finding.shown}."
    if finding.reason is Reason.NO_CONTROL and finding.shown:
        return f"The server did not answer: {finding.shown}."
    if finding.reason:
        cause = _limit(finding) or _REASONS[finding.reason]
        return f"{finding.owner} holds it on the server." if finding.owner else f"{cause[0].upper()}{cause[1:]}."
    if finding.state is State.INTERCEPTED:
        return f"{_INTERCEPTORS[finding.interceptor]}: {finding.shown or 'nothing to recognise it by'}."
    where = _WHERE[finding.where or Where.UNKNOWN]
    if finding.state is State.REJECTED:
        sender = f" by {finding.by}" if finding.by else ""
        what = f"Refused{sender}: {finding.icmp}" if finding.icmp else f"The connection was refused{sender}"
        return f"{what}; {where}."
    if finding.only_small:
        return f"A small packet was answered, and a large one that followed it was not; {where}."
    return f"No answer came back; {where}{_last_hop(finding)}."


def _last_hop(finding: Finding) -> str:
    hops, router = finding.evidence.hops, finding.evidence.last_hop
    away = "1 hop" if hops == 1 else f"{hops} hops"
    return f"; the last hop that still answers is {router}, {away} away" if router and hops else ""


def _limit(finding: Finding) -> str:
    """What kept ports from a verdict, with what was measured of it."""
    seen = finding.evidence
    if finding.reason is Reason.RATE_LIMIT and finding.transport is Transport.TCP:
        return "something seems to limit how many connections one computer may open"
    if finding.reason is Reason.RATE_LIMIT and seen.rate is not None:
        return f"something lets only about {seen.rate:,.0f} packets a second pass"
    if finding.reason is Reason.FLOW_LIMIT and seen.flows is not None:
        return f"something keeps only about {seen.flows:,} connections in mind, and let no new ones pass"
    if finding.reason is Reason.SCAN_BLOCK and seen.seconds is not None:
        return f"something took the check for a scan and shut it out for {seen.seconds:,.0f} s"
    return ""


def _open(address: AddressReport, style: Style) -> list[str]:
    texts = []
    for transport in Transport:
        ports = [one.ports for one in address.findings if one.transport is transport and one.state is State.OPEN]
        if ports and (_are_scattered(ports) or (transport is Transport.UDP and address.sample)):
            texts.append(_count(sum(map(len, ports)), transport))
        elif ports:
            texts.append(list_ports(ports, transport.value))
    lines = _marked(State.OPEN, "; ".join(texts) + ": open", style) if texts else []
    for one in address.findings:
        if one.through is not None:
            which = list_ports([one.ports], one.transport.value)
            lines += style.wrap(f"{which} through the service that holds it: {one.through}.", 4)
    return lines


def _measured(address: AddressReport) -> Iterable[str]:
    channel = "with TLS" if address.control.tls else "without TLS"
    local, mapped = address.client.local, address.client.mapped
    if mapped and mapped != (local or "").partition("%")[0]:
        yield f"the client comes from {mapped}, behind a NAT"
    yield f"control on {address.control.port}/tcp {channel}, {'paired' if address.control.paired else 'not paired'}"
    yield from _round_trip(address.rtt)
    both = address.loss.to_server, address.loss.to_client
    if None not in both:
        yield "no loss" if not any(both) else f"loss {both[0]:.1%} to the server, {both[1]:.1%} back"


def _round_trip(rtt: Rtt) -> Iterable[str]:
    if rtt.median is not None and rtt.p95 is not None:
        yield f"round trip {rtt.median:.1f} ms, 95 % under {rtt.p95:.1f} ms"
