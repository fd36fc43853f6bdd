"""The report as the server's own terminal shows it: who blocks what, by which rule, and the commands that open it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Iterable, Sequence

from ..core.address import Family, parse_address
from ..core.observation import Where
from ..core.plan import Plan, Transport
from ..core.ports import list_ports, port_ranges
from ..core.report import (
    BLOCKED,
    MAX_ADDRESSES,
    MAX_COMMANDS,
    MAX_NOTES,
    MAX_SENTENCE,
    AddressReport,
    Advice,
    Finding,
    FindingGroup,
    Report,
    State,
    group_findings,
)
from ..sweep.sample import RULE
from ..verdict.advice import advise
from ..verdict.names import is_ours
from . import common_mistakes
from .fixes import Fix, blocks_answers, fix_for, manager_of, unban
from .model import BlockingRule, FirewallManagers, HostFacts, RuleAction
from .provider_fixes import cloud, egress

MAX_QUOTE = 200  # characters of a rule: what it matches and does fits, a comment of somebody's need not
MAX_QUOTES = 4  # rules in a piece of advice; more are of one making, and the commands are for all
MAX_RUNS = 4  # of ports, beside a rule
MAX_PATH = 8  # chains; more than ufw or firewalld nest

_ABOVE = "What opens it stands with an advice above."
_UNFOUND = "It reached this machine and went no further, but no rule that does it was found in what could be read."
_PROVEN = {
    Where.BEFORE_SERVER: "Nothing of it reached this machine: the provider's firewall or something before it stops it.",
    Where.SERVER_HOST: "It reached this machine, whose own firewall stops it.",
    Where.RETURN_PATH: "It was answered, and the answer was lost.",
}
_TOO = "This machine's own firewall would stop it as well."
_UNKNOWN = "Whether it reaches this machine is not known: open it in both firewalls, this machine's first."
_TOO_MANY = "There are more: run these, then check again."
_ELSEWHERE = "the address that was dialled is none of this machine's: a 1:1 NAT or a port forwarding (no error)"
_ASTRAY = (
    "the address that was dialled is none of this machine's: wrong, unless a 1:1 NAT or a port forwarding is there"
)


def add_operator_advice(report: Report, host: HostFacts, plan: Plan) -> Report:
    """The report with the advice for whoever sits at the server.

    The report is the client's, who may be anybody: none of his advice is kept, and no command names a port that is not
    in the plan. Each command is there once, with the first advice that needs it.
    """
    desk = _Operator(report.addresses, host, plan)
    return replace(report, addresses=tuple(map(desk.address, report.addresses)))


@dataclass(frozen=True)
class _Case:
    """Findings that are blocked for one cause, and the rules that decide for them."""

    group: FindingGroup
    family: Family
    rules: tuple[BlockingRule, ...]

    @property
    def where(self) -> Where:
        return self.group.first.where or Where.UNKNOWN

    @property
    def opened(self) -> tuple[BlockingRule, ...]:
        """The rules that have to be got round."""
        if self.where is Where.RETURN_PATH:
            return tuple(filter(blocks_answers, self.rules))
        intercepted = self.group.first.state is State.INTERCEPTED
        return tuple(one for one in self.rules if one.action is RuleAction.REDIRECT or not intercepted)

    @property
    def deciding(self) -> tuple[BlockingRule, ...]:
        """The rules that explain it."""
        return () if self.where is Where.BEFORE_SERVER else self.opened

    @property
    def needs_provider(self) -> bool:
        first = self.group.first
        opens = first.state is not State.INTERCEPTED and not first.only_small  # the ports are open there
        return opens and self.where in (Where.BEFORE_SERVER, Where.UNKNOWN)


class _Operator:
    """All that is known of this host, and what of it has been said."""

    def __init__(self, addresses: Sequence[AddressReport], host: HostFacts, plan: Plan) -> None:
        self._addresses, self._host, self._plan = addresses, host, plan
        self._ports = [(one, frozenset(port for run in one.ports for port in run)) for one in host.blocking_rules]
        self._cases = {number: self._cases_of(address) for number, address in enumerate(addresses)}
        self._next = 0
        self._said: set[Callable[[], Fix]] = set()

    def _cases_of(self, address: AddressReport) -> dict[int, _Case]:
        return {
            group.number: _Case(group, address.family, tuple(
                one for one, ports in self._ports
                if one.family is address.family and one.transport is group.first.transport
                and any(not ports.isdisjoint(run) for run in group.ports)
            ))
            for group in group_findings(address.findings) if group.first.state in BLOCKED
        }  # fmt: skip

    def address(self, address: AddressReport) -> AddressReport:
        """The next address of the report."""
        first = self._next == 0
        cases = self._cases[self._next]
        self._next += 1
        astray = self._is_elsewhere(address) and not is_ours(address)
        mistakes = _Mistakes(address, () if astray else self._addresses)  # another host's rules are its own
        advice = [self._advice(one, cases.get(one.finding), mistakes)
                  for one in advise(address.findings, _hole(address.findings), here=True)]  # fmt: skip
        unread = (one[:MAX_SENTENCE] for one in (self._host.unread if first else ()))
        notes = (*self._notes(address), *unread, *address.notes)[:MAX_NOTES]
        return replace(address, advice=tuple(advice), notes=notes, server=self._host.addresses[:MAX_ADDRESSES] or None)

    def _is_elsewhere(self, address: AddressReport) -> bool:
        own, dialled = self._host.addresses, parse_address(address.address)
        return bool(own) and not dialled.is_loopback and not dialled.is_link_local and str(dialled) not in own

    def _notes(self, address: AddressReport) -> Iterable[str]:
        if self._is_elsewhere(address):
            yield f"{address.address}: {_ELSEWHERE if is_ours(address) else _ASTRAY}."

    def _advice(self, advice: Advice, case: _Case | None, mistakes: _Mistakes) -> Advice:
        if case is None:
            return advice
        found = Fix(
            (), (advice.text, *_who(case, self._host.managers), *self._traps(case), *mistakes.of(case.group.first))
        )
        for needed in self._needed(case):
            if needed in self._said:
                found += Fix((), (_ABOVE,))
            else:
                self._said.add(needed)
                found += needed()
        commands = found.commands
        if len(commands) > MAX_COMMANDS:  # the last makes the others last
            found += Fix((), (_TOO_MANY,))
            commands = (*commands[: MAX_COMMANDS - 1], commands[-1])
        return Advice(advice.finding, _fitting(found.sentences), commands)

    def _needed(self, case: _Case) -> list[Callable[[], Fix]]:
        """What has to be said for it, in its order."""
        host = [self._for_host] if case.opened else []
        if not case.rules and case.where is Where.SERVER_HOST and self._host.managers.bans:
            host = [self._for_banned]
        provider = [self._for_provider] if case.needs_provider else []
        if case.where is Where.RETURN_PATH and not case.deciding:
            return [self._for_answers]
        return provider + host if case.where is Where.BEFORE_SERVER else host + provider

    def _for_host(self) -> Fix:
        rules = (one for cases in self._cases.values() for case in cases.values() for one in case.opened)
        return fix_for(list(dict.fromkeys(rules)), self._host.managers)

    def _for_banned(self) -> Fix:
        return unban(self._host.managers)

    def _for_answers(self) -> Fix:
        return Fix((), (egress(self._host.provider),))

    def _for_provider(self) -> Fix:
        wanted: dict[Transport, set[int]] = {one: set() for one in Transport}
        checked = {one.family for one in self._addresses}
        families = set(Family) - checked
        for cases in self._cases.values():
            for case in cases.values():
                if case.needs_provider:
                    families.add(case.family)
                    wanted[case.group.first.transport].update(port for run in case.group.extent for port in run)
        planned = {one: self._plan.ports(one) for one in Transport}
        ports = {one: port_ranges(wanted[one].intersection(planned[one])) for one in Transport}
        return cloud(self._host.provider, ports, families)

    def _traps(self, case: _Case) -> Iterable[str]:
        known = (common_mistakes.oracle, common_mistakes.ufw_order, common_mistakes.docker)
        return filter(None, (recognise(case.opened, self._host.managers) for recognise in known))


class _Mistakes:
    """What an address's findings as a whole look like: each mistake is told with the first finding that shows it.

    They are looked at once, however many the client's report has.
    """

    def __init__(self, address: AddressReport, addresses: Sequence[AddressReport]) -> None:
        self._any = common_mistakes.forgotten_ipv6(address, addresses)
        self._udp = common_mistakes.only_tcp(address.findings)
        self._ranges = {
            purpose: sentence
            for recognise in (common_mistakes.other_range, common_mistakes.off_by_one)
            for purpose, sentence in recognise(address.findings)
        }

    def of(self, finding: Finding) -> Iterable[str]:
        """The mistakes that this finding is the first to show."""
        found = [self._any]
        self._any = None
        if finding.transport is Transport.UDP:
            found += [self._udp, self._ranges.pop(finding.purpose, None)]
            self._udp = None
        return filter(None, found)


def _who(case: _Case, managers: FirewallManagers) -> Iterable[str]:
    """Who blocks it, as far as it was proven."""
    if case.group.first.state is State.INTERCEPTED and not case.opened:
        return
    for one in case.deciding[:MAX_QUOTES]:
        yield _quoted(one, manager_of(one, managers))
    if any(one.certain for one in case.deciding) and case.where is not Where.UNKNOWN:
        return
    if case.where is Where.SERVER_HOST and not case.deciding:
        yield _UNFOUND
    else:
        yield _PROVEN.get(case.where, _UNKNOWN)
    if case.opened and not case.deciding:
        yield _TOO


def _quoted(rule: BlockingRule, maker: str | None) -> str:
    location = rule.location
    path = " > ".join(_clean(chain) for chain in location.path[-MAX_PATH:])
    what = "the policy" if location.number is None else f"rule {location.number}"
    does = "sends on" if rule.action is RuleAction.REDIRECT else "stops"
    ports = list_ports(rule.ports, rule.transport.value, MAX_RUNS)
    text = f"{does} {ports} by {what} of {path} (table {_clean(location.table)}): `{_clean(rule.text)}`"
    who = f"this machine's own firewall{f' ({maker})' if maker else ''}"
    if rule.certain:
        return f"T{who[1:]} {text}."
    doubt = f", since this rule may decide before it: `{_clean(rule.doubt)}`" if rule.doubt else ""
    if rule.doubt == rule.text:
        doubt = ", since not all of that rule is understood"
    return f"Maybe {who} {text}; that is not sure{doubt}."


def _clean(text: str) -> str:
    """A text of the firewall's, short and printable."""
    printable = "".join(char if char.isprintable() else "?" for char in text[: MAX_QUOTE + 1])
    return printable if len(printable) <= MAX_QUOTE else f"{printable[: MAX_QUOTE - 3]}..."


def _fitting(sentences: Iterable[str]) -> str:
    """As many of the sentences as a piece of advice may have."""
    text = ""
    for one in filter(None, sentences):
        if len(text) + len(one) < MAX_SENTENCE:
            text = f"{text} {one}".lstrip()
    return text


def _hole(findings: Sequence[Finding]) -> int:
    """How many blocked ports a sample would have missed: what sweep/sample.py knew, by what the report has of it."""
    tried: dict[str, int] = {}
    left_out: dict[str, int] = {}
    for one in findings:
        if one.transport is Transport.UDP and (one.unsampled or one.state is not State.UNTESTED):
            counts = left_out if one.unsampled else tried
            counts[one.purpose] = counts.get(one.purpose, 0) + len(one.ports)
    drawn = {purpose: tried.get(purpose, 0) - 2 for purpose in left_out}  # beside the two ends
    return max((-(-RULE * (left_out[one] + drawn[one]) // drawn[one]) for one in drawn if drawn[one] > 0), default=0)
