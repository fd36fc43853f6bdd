"""The report as people read it: the verdict, then what is not open, then what is."""

from __future__ import annotations

from typing import Iterable, Sequence

from ..model.address import Family
from ..model.observation import Reason
from ..model.plan import Need, Transport
from ..model.ports import PortRange, runs
from ..model.report import AddressReport, Finding, Problem, Report, Rtt, State, Verdict, Where
from .style import Style

# Runs of ports named in one line of text; who needs each of a thousand reads the JSON.
MAX_RUNS = 12

_VERDICTS = {
    Verdict.PASS: ("PASS", "green", "every required port is open"),
    Verdict.FAIL: ("FAIL", "red", "required ports are blocked"),
    Verdict.INCONCLUSIVE: ("INCONCLUSIVE", "yellow", "not everything could be told"),
}

_MARKS = {State.OPEN: ("green", "\N{CHECK MARK}", "+"), State.UNTESTED: ("yellow", "?", "?"),
          State.UNKNOWN: ("yellow", "?", "?")}  # fmt: skip
_BLOCKED_MARK = ("red", "\N{BALLOT X}", "x")

_FAMILIES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}

_WHERE = {
    Where.BEFORE_SERVER: "nothing reached the server",
    Where.SERVER_HOST: "it reached the server's network interface, and the server's own firewall stopped it",
    Where.RETURN_PATH: "it reached the server, and the answer did not come back",
    Where.UNKNOWN: "whether it reached the server is not known",
}

_REASONS = {
    Reason.BUSY: "another program holds it on the server",
    Reason.DENIED: "the server may not listen there",
    Reason.LIMIT: "the server may not open enough files",
    Reason.PATH_LOSS: "the path loses too many packets",
    Reason.RATE_LIMIT: "something lets only so many packets a second pass",
    Reason.FLOW_LIMIT: "something keeps only so many connections in mind",
    Reason.SCAN_BLOCK: "something took the check for a scan and shut it out",
    Reason.NO_CONTROL: "the server went away during the check",
    Reason.ABORTED: "the check was interrupted",
}


def render(report: Report, style: Style) -> str:
    """The report in lines of at most `style.width` columns, with a newline at its end."""
    lines = [_headline(report, style), ""]
    if report.error:
        lines += [*_problem(report.error, style), ""]
    for address in report.addresses:
        if address.findings or address.error != report.error:
            lines += [*_address(address, style), ""]
    ports = sum(len(finding.ports) for address in report.addresses for finding in address.findings)
    lines += style.wrap(f"{ports:,} ports in {report.elapsed:.1f} s, plan {report.plan or 'not known'}, "
                        f"pnmcheck {report.version}", 0)  # fmt: skip
    return "\n".join(lines) + "\n"


def _headline(report: Report, style: Style) -> str:
    word, colour, meaning = _VERDICTS[report.verdict]
    if report.verdict is Verdict.PASS and any(_warns(one) for address in report.addresses for one in address.findings):
        meaning += ", a recommended one is not"
    if report.verdict is Verdict.INCONCLUSIVE and report.error:
        meaning = "the check could not run"
    host = style.clean(report.host)
    room = style.width - len(word) - len(meaning) - 4
    host = host if len(host) <= room else host[: max(1, room - 3)] + "..."
    return f"{style.paint(word, colour)}  {host}: {meaning}"


def _warns(finding: Finding) -> bool:
    return finding.need is Need.RECOMMENDED and finding.state is not State.OPEN


def _problem(problem: Problem, style: Style) -> list[str]:
    return [*style.wrap(problem.message, 2), *style.wrap(f"What to do: {problem.hint}", 2)]


def _address(address: AddressReport, style: Style) -> list[str]:
    word, colour, _ = _VERDICTS[address.verdict]
    title = f"{style.clean(address.address)} ({_FAMILIES[address.family]})"
    lines = [f"{style.paint(title, 'bold')}  {style.paint(word, colour)}"]
    if address.error:
        return lines + _problem(address.error, style)
    advice = {one.finding: one.text for one in address.advice}
    for finding, ports, number in _alike(address.findings):
        lines += _not_open(finding, ports, advice.get(number, ""), style)
    lines += _open(address.findings, style)
    lines += [line for note in address.notes for line in style.wrap(note, 2)]
    return lines + style.wrap("; ".join(_measured(address)), 2)


def _alike(findings: Sequence[Finding]) -> list[tuple[Finding, list[PortRange], int]]:
    """What is not open, runs of one cause together: one of the findings, all their ports, the first one's number."""
    groups: dict[object, tuple[Finding, list[PortRange], int]] = {}
    for number, one in enumerate(findings):
        if one.state is State.OPEN:
            continue
        cause = (one.transport, one.purpose, one.state, one.where, one.by, one.reason, one.owner, one.shown)
        groups.setdefault(cause, (one, [], number))[1].append(one.ports)
    return list(groups.values())


def _not_open(finding: Finding, ports: list[PortRange], advice: str, style: Style) -> list[str]:
    count = sum(map(len, ports))
    number = f"{count:,} ports, " if count > 1 else ""
    what = f"{finding.transport.value} {_list(ports)}: {finding.state.value} ({number}{_purpose(finding)})"
    lines = _marked(finding.state, what, style)
    return lines + style.wrap(f"{_cause(finding)} {advice}".strip(), 4)


def _purpose(finding: Finding) -> str:
    return finding.purpose if finding.need is Need.REQUIRED else f"{finding.need.value}: {finding.purpose}"


def _marked(state: State, text: str, style: Style) -> list[str]:
    colour, better, plain = _MARKS.get(state, _BLOCKED_MARK)
    first, *others = style.wrap(text, 4)
    mark = style.paint(better if style.unicode else plain, colour)
    return [f"  {mark} {first[4:]}", *others]


def _cause(finding: Finding) -> str:
    if finding.reason:
        cause = _REASONS[finding.reason]
        return f"{finding.owner} holds it on the server." if finding.owner else f"{cause[0].upper()}{cause[1:]}."
    if finding.state is State.INTERCEPTED:
        return f"Somebody else answers: {finding.shown or 'nothing to recognise him by'}."
    refused = finding.state is State.REJECTED
    sender = f" by {finding.by}" if finding.by else ""
    what = f"The connection was refused{sender}" if refused else "No answer came back"
    return f"{what}; {_WHERE[finding.where or Where.UNKNOWN]}."


def _open(findings: Sequence[Finding], style: Style) -> list[str]:
    texts = []
    for transport in Transport:
        ports = [one.ports for one in findings if one.transport is transport and one.state is State.OPEN]
        if ports:
            texts.append(f"{transport.value} {_list(ports)}")
    return _marked(State.OPEN, "open: " + "; ".join(texts), style) if texts else []


def _list(ports: Iterable[PortRange]) -> str:
    joined = runs(port for run in ports for port in run)
    named = ", ".join(map(str, joined[:MAX_RUNS]))
    more = len(joined) - MAX_RUNS
    return f"{named} and {more:,} more runs" if more > 0 else named


def _measured(address: AddressReport) -> Iterable[str]:
    channel = "with TLS" if address.control.tls else "without TLS"
    yield f"control on {address.control.port}/tcp {channel}, {'paired' if address.control.paired else 'not paired'}"
    yield from _round_trip(address.rtt)
    both = address.loss.to_server, address.loss.to_client
    if None not in both:
        yield "no loss" if not any(both) else f"loss {both[0]:.1%} to the server, {both[1]:.1%} back"


def _round_trip(rtt: Rtt) -> Iterable[str]:
    if rtt.median is not None and rtt.p95 is not None:
        yield f"round trip {rtt.median:.1f} ms, 95 % under {rtt.p95:.1f} ms"
