"""Render a report as text: the verdict, then what is not open, then what is; and the progress of a check."""

from __future__ import annotations

from typing import AbstractSet, Iterable, Sequence

from ..core.address import Family
from ..core.finding_groups import FindingGroup, group_findings
from ..core.observation import Interceptor, Reason, Where
from ..core.plan import Need, Transport
from ..core.ports import PortRange, list_ports, port_set
from ..core.report import BLOCKED, AddressReport, Advice, Finding, Problem, Report, State, Verdict
from .style import Style

# Runs of ports: more than that are the work of loss or a limit, not of rules that somebody wrote.
SCATTERED = 100
# Characters of a name that even a narrow terminal shows.
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
    Where.BEFORE_SERVER: "{packets} do not reach the server",
    Where.SERVER_HOST: "{packets} reach the server; its own firewall {stops} them",
    Where.RETURN_PATH: "{packets} reach the server; its answers are lost on the way back",
    Where.UNKNOWN: "whether {packets} reach the server is not known",
}

_REASONS = {
    Reason.BUSY: "another program on the server uses it",
    Reason.DENIED: "the server has no permission to listen there",
    Reason.LIMIT: "the server may not open enough files",
    Reason.SAMPLED: "they were not in the sample",
    Reason.PATH_LOSS: "the path loses too many packets",
    Reason.RATE_LIMIT: "something limits the number of packets per second",
    Reason.FLOW_LIMIT: "a connection-tracking table on the path is full",
    Reason.SCAN_BLOCK: "something took the check for a port scan and blocked it",
    Reason.NO_CONTROL: "the connection to the server was lost during the check",
    Reason.ABORTED: "the check was interrupted",
}

_INTERCEPTORS = {
    Interceptor.CAPTIVE_PORTAL: "A captive portal answers in the server's place",
    Interceptor.HTTP_PROXY: "An HTTP proxy answers in the server's place",
    Interceptor.TLS_MIDDLEBOX: "Something terminates TLS with its own certificate",
    Interceptor.CDN: "A CDN answers in the server's place",
    Interceptor.OTHER_SERVICE: "Another program answers",
    Interceptor.FORWARDED: "It arrives at another port",
    None: "Something other than the pnmcheck server answers",
}


def render(report: Report, style: Style) -> str:
    """Return the report in lines of at most `style.width` columns; only commands are never wrapped."""
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
    """Return the verdict in one line, or a few on a narrow terminal."""
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
    required = [finding for finding in findings if finding.need is Need.REQUIRED]
    if report.verdict is Verdict.FAIL:
        blocked, least = _ports(required, BLOCKED), "at least " if _left_out(required) else ""
        return f"{least}{blocked:,} required port{' is' if blocked == 1 else 's are'} blocked"
    if report.verdict is Verdict.INCONCLUSIVE:
        return _inconclusive(report, required)
    warns = any(finding.need is Need.RECOMMENDED and finding.state is not State.OPEN for finding in findings)
    return f"every required port is open{', a recommended one is not' if warns else ''}"


def _inconclusive(report: Report, required: Sequence[Finding]) -> str:
    left_out = _left_out(required)
    unclear = _ports(required, set(State) - BLOCKED - {State.OPEN}) - left_out
    if left_out and not unclear and not report.error and not any(address.error for address in report.addresses):
        return f"none of {_ports(required, {State.OPEN}):,} sampled required ports is blocked"
    other = "a name" if report.error else "an address"
    unchecked = f"{unclear:,} required port{'s' if unclear != 1 else ''}" if unclear else other
    return f"{unchecked} could not be checked{', others only by a sample' if left_out else ''}"


def _left_out(findings: Iterable[Finding]) -> int:
    """Return how many ports a sample left out."""
    return sum(len(finding.ports) for finding in findings if finding.unsampled)


def _ports(findings: Iterable[Finding], states: AbstractSet[State]) -> int:
    return sum(len(finding.ports) for finding in findings if finding.state in states)


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
    advice_of = {advice.finding: advice for advice in address.advice}
    for group in sorted(group_findings(address.findings), key=lambda group: group.first.unsampled):
        cause = _sampled(address) if group.first.unsampled else _cause(group.first)
        lines += _marked(group.first.state, _which(group), style)
        advice = advice_of.get(group.number, Advice(group.number, ""))
        lines += style.wrap(f"{cause} {advice.text}".strip(), 4)
        lines += (style.paint(f"      {style.clean(command)}", "bold") for command in advice.commands)  # never wrapped
    lines += _open(address, style)
    lines += [line for note in address.notes for line in style.wrap(note, 2)]
    return lines + style.wrap("; ".join(_measured(address)), 2)


def _which(group: FindingGroup) -> str:
    """Return the ports of a group, their state, and what they are for."""
    finding = group.first
    state, transport = finding.state.value, finding.transport.value
    purpose = [_purpose(finding)] if len({member.purpose for member in group.findings}) == 1 else []
    if finding.unsampled:
        return f"{_count(len(group), finding.transport)}: {state} ({', '.join(['not in the sample', *purpose])})"
    if sum(map(len, group.extent)) > len(group):
        ports = f"{len(group):,} ports within {list_ports(group.extent, transport)}"
    elif finding.state is State.UNKNOWN and _are_scattered(group.ports):
        ports = _count(len(group), finding.transport)
    else:
        ports = list_ports(group.ports, transport)
        purpose = [*([f"{len(group):,} ports"] if len(group) > 1 else []), *purpose]
    return f"{ports}: {state}" + (f" ({', '.join(purpose)})" if purpose else "")


def _are_scattered(ports: Sequence[PortRange]) -> bool:
    """Return whether a list of the ports, or of the first few, would help nobody."""
    return len(port_set(ports).ranges) > SCATTERED


def _count(ports: int, transport: Transport) -> str:
    return f"{ports:,} {transport.value.upper()} port{'s' if ports != 1 else ''}"


def _sampled(address: AddressReport) -> str:
    """Return how large the sample was, and its results."""
    sample = address.sample
    if sample is None:  # in no report of our own: only UDP ports are sampled
        return ""
    counts = {state: ports for state, ports in address.count(Transport.UDP).items() if state is not State.UNTESTED}
    all_open = sample.ports == counts.get(State.OPEN)
    states = "all open" if all_open else ", ".join(f"{ports:,} {state.value}" for state, ports in counts.items())
    percent = 100 * sample.ports // sample.of
    share = f"{percent} %" if percent else "less than 1 %"
    return f"Sampled: {sample.ports:,} of {_count(sample.of, Transport.UDP)} ({share}), {states}."


def _purpose(finding: Finding) -> str:
    purpose = finding.purpose if finding.need is Need.REQUIRED else f"{finding.need.value}: {finding.purpose}"
    return f"{purpose}; from {finding.source}" if finding.source else purpose


def _marked(state: State, text: str, style: Style) -> list[str]:
    colour, mark, ascii_mark = _MARKS.get(state, _BLOCKED_MARK)
    first, *others = style.wrap(text, 4)
    return [f"  {style.paint(mark if style.unicode else ascii_mark, colour)} {first[4:]}", *others]


def _cause(finding: Finding) -> str:
    if finding.reason is Reason.ABORTED and finding.shown:
        return f"The check could not get there: {finding.shown}."
    if finding.reason is Reason.NO_CONTROL and finding.shown:
        return f"The server did not answer: {finding.shown}."
    if finding.reason:
        return f"{finding.owner} uses it on the server." if finding.owner else _sentence(_limit(finding))
    if finding.state is State.INTERCEPTED:
        return f"{_INTERCEPTORS[finding.interceptor]}: {finding.shown or 'it cannot be identified'}."
    rejected = finding.state is State.REJECTED
    packets, stops = "large packets" if finding.only_small else "packets", "refuses" if rejected else "drops"
    where = _WHERE[finding.where or Where.UNKNOWN].format(packets=packets, stops=stops)
    if rejected:
        sender = f" by {finding.by}" if finding.by else ""
        refusal = f"Refused{sender}: {finding.icmp}" if finding.icmp else f"The connection was refused{sender}"
        return f"{refusal}; {where}."
    if finding.only_small:
        return f"A small packet was answered, a large one after it was not; {where}."
    if finding.where in (None, Where.UNKNOWN):
        return f"No answer came back; {where}."
    return _sentence(f"{where}{_last_hop(finding)}")


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}."


def _last_hop(finding: Finding) -> str:
    hops, router = finding.evidence.hops, finding.evidence.last_hop
    away = "1 hop" if hops == 1 else f"{hops} hops"
    return f"; the last router that answers is {router}, {away} away" if router and hops else ""


def _limit(finding: Finding) -> str:
    """Return what kept ports from a verdict, with what was measured of it."""
    assert finding.reason
    measured, cause = finding.evidence, _REASONS[finding.reason]
    if finding.reason is Reason.RATE_LIMIT and finding.transport is Transport.TCP:
        return "something seems to limit the number of connections from one computer"
    if finding.reason is Reason.RATE_LIMIT and measured.rate is not None:
        return f"something lets only about {measured.rate:,.0f} packets per second pass"
    if finding.reason is Reason.FLOW_LIMIT and measured.flows is not None:
        return f"{cause}: after about {measured.flows:,} connections no new ones passed"
    if finding.reason is Reason.SCAN_BLOCK and measured.seconds is not None:
        return f"{cause} for {measured.seconds:,.0f} s"
    return cause


def _open(address: AddressReport, style: Style) -> list[str]:
    texts = []
    for transport in Transport:
        findings = [finding for finding in address.findings if finding.transport is transport]
        ports = [finding.ports for finding in findings if finding.state is State.OPEN]
        if ports and (_are_scattered(ports) or (transport is Transport.UDP and address.sample)):
            texts.append(_count(sum(map(len, ports)), transport))
        elif ports:
            texts.append(list_ports(ports, transport.value))
    lines = _marked(State.OPEN, "; ".join(texts) + ": open", style) if texts else []
    for finding in address.findings:
        if finding.through is not None:
            ports_text = list_ports([finding.ports], finding.transport.value)
            lines += style.wrap(f"{ports_text} through the service that uses it: {finding.through}.", 4)
    return lines


def _measured(address: AddressReport) -> Iterable[str]:
    channel = "with TLS" if address.control.tls else "without TLS"
    local, mapped = address.client.local, address.client.mapped
    if mapped and mapped != (local or "").partition("%")[0]:
        yield f"the client is behind NAT, its address is {mapped}"
    paired = "paired" if address.control.paired else "not paired"
    yield f"control channel on {address.control.port}/tcp {channel}, {paired}"
    if address.rtt.median is not None and address.rtt.p95 is not None:
        yield f"round trip {address.rtt.median:.1f} ms, 95 % under {address.rtt.p95:.1f} ms"
    both = address.loss.to_server, address.loss.to_client
    if None not in both:
        yield "no loss" if not any(both) else f"loss {both[0]:.1%} to the server, {both[1]:.1%} back"


def render_progress(doing: str, done: int, total: int, left: float | None, style: Style) -> str:
    """Return what the client does, how far, and for how long still, in one line of the terminal."""
    text = style.clean(doing)
    if total:
        text += f": {done:,} of {total:,} answered"
    if left is not None:
        text += f", about {max(1, round(left))} s left"
    return text[: style.width - 1]
