"""Add to a report what the server's own terminal shows: who blocks what, by which rule, and what opens it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Iterable, Iterator, Mapping, Sequence

from ..core.address import Family, parse_address
from ..core.finding_groups import FindingGroup, group_findings
from ..core.observation import Where
from ..core.plan import Plan, Transport
from ..core.ports import list_ports, port_ranges, port_set
from ..core.ranges import RangeSet
from ..core.report import (
    BLOCKED,
    MAX_ADDRESSES,
    MAX_COMMANDS,
    MAX_NOTES,
    MAX_SENTENCE,
    AddressReport,
    Advice,
    Finding,
    Report,
    State,
)
from ..sweep.sample import RULE
from ..verdict.advice import advise
from ..verdict.names import is_ours
from . import common_mistakes
from .fixes import Fix, blocks_answers, fix_fail2ban, fix_for, manager_of
from .model import BlockingRule, FirewallManagers, HostFacts, RuleAction
from .provider_fixes import answers_advice, provider_fix

MAX_QUOTE = 200  # characters of a rule: what it matches and does fits, a comment of somebody's need not
MAX_QUOTES = 4  # rules in a piece of advice; more are of one making, and the commands are for all
MAX_RUNS = 4  # of ports, beside a rule
MAX_PATH = 8  # chains; more than ufw or firewalld nest

_FIXED_ABOVE = "Fixed by the commands above."
_TOO_MANY = "There are more commands: run these, then check again."
_OTHER_ADDRESS = "is not an address of this server: a 1:1 NAT or a port forwarding leads here (no error)."
_WRONG_ADDRESS = "is not an address of this server: it is wrong, unless a 1:1 NAT or a port forwarding leads here."
_NOT_FOUND = ("Packets reach the server and are dropped there, but no rule that does it was found in the firewall "
              "rules that could be read.")  # fmt: skip
_PROVEN = {
    Where.BEFORE_SERVER: "Blocked before the server, probably by the provider's firewall: no packet arrives.",
    Where.SERVER_HOST: "Packets reach the server; its own firewall drops them.",
    Where.RETURN_PATH: "Packets reach the server; its answers are lost on the way back.",
}
_BLOCKED_HERE_TOO = "The server's own firewall would drop them too."
_UNKNOWN = "It is not known whether packets reach the server: open the ports in both firewalls, the server's first."


def add_operator_advice(report: Report, host: HostFacts, plan: Plan) -> Report:
    """Return the report with the advice for whoever sits at the server.

    The report is the client's, who may be anybody: none of its advice is kept, and no command names a port that is not
    in the plan. Each command is there once, with the first advice that needs it.
    """
    advisor = _Advisor(report.addresses, host, plan)
    return replace(report, addresses=tuple(map(advisor.with_advice, report.addresses, advisor.blockages)))


@dataclass(frozen=True)
class _Blockage:
    """Findings that are blocked for one cause, and the rules of this host that block their ports."""

    group: FindingGroup
    family: Family
    rules: tuple[BlockingRule, ...]

    @property
    def where(self) -> Where:
        return self.group.first.where or Where.UNKNOWN

    @property
    def to_open(self) -> tuple[BlockingRule, ...]:
        """Return the rules before which another has to come."""
        if self.where is Where.RETURN_PATH:
            return tuple(filter(blocks_answers, self.rules))
        intercepted = self.group.first.state is State.INTERCEPTED
        return tuple(rule for rule in self.rules if rule.action is RuleAction.REDIRECT or not intercepted)

    @property
    def needs_provider(self) -> bool:
        """Return whether the provider's firewall may block the ports: it does not where small packets pass."""
        first = self.group.first
        opens = first.state is not State.INTERCEPTED and not first.only_small
        return opens and self.where in (Where.BEFORE_SERVER, Where.UNKNOWN)


class _Advisor:
    """All that is known of this host, and what of it has been said."""

    def __init__(self, addresses: Sequence[AddressReport], host: HostFacts, plan: Plan) -> None:
        self._addresses, self._host, self._plan = addresses, host, plan
        rules = [(rule, port_set(rule.ports)) for rule in host.blocking_rules]
        # Of each address, by the number of the group's finding.
        self.blockages = [
            {
                group.number: _Blockage(group, address.family, tuple(
                    rule for rule, ports in rules
                    if rule.family is address.family and rule.transport is group.first.transport
                    and not ports.isdisjoint(port_set(group.ports))
                ))
                for group in group_findings(address.findings) if group.first.state in BLOCKED
            }
            for address in addresses
        ]  # fmt: skip
        self._said: set[Fix] = set()

    def with_advice(self, address: AddressReport, blockages: Mapping[int, _Blockage]) -> AddressReport:
        """Return an address of the report with its advice; in the order of the report."""
        here, dialled, ours = self._host.addresses, parse_address(address.address), is_ours(address)
        own = not here or dialled.is_loopback or dialled.is_link_local or str(dialled) in here
        # Another host's rules are its own.
        mistakes = common_mistakes.AddressMistakes(address, self._addresses if own or ours else ())
        advice = (self._advice(advice, blockages.get(advice.finding), mistakes)
                  for advice in advise(address.findings, _largest_missed(address.findings), here=True))  # fmt: skip
        other = () if own else (f"{address.address} {_OTHER_ADDRESS if ours else _WRONG_ADDRESS}",)
        unread = self._host.unread if address is self._addresses[0] else ()
        notes = (*other, *(sentence[:MAX_SENTENCE] for sentence in unread), *address.notes)[:MAX_NOTES]
        return replace(address, advice=tuple(advice), notes=notes, server=here[:MAX_ADDRESSES] or None)

    def _advice(self, advice: Advice, blockage: _Blockage | None, mistakes: common_mistakes.AddressMistakes) -> Advice:
        if blockage is None:
            return advice
        rules, managers, first = blockage.to_open, self._host.managers, blockage.group.first
        explained = _explain(blockage.where, rules, managers) if rules or first.state is not State.INTERCEPTED else ()
        fix = Fix((), (advice.text, *explained, *common_mistakes.of_rules(rules, managers), *mistakes.of(first)))
        for needed in self._needed(blockage):
            fix += Fix((), (_FIXED_ABOVE,)) if needed in self._said else needed
            self._said.add(needed)
        commands = fix.commands
        if len(commands) > MAX_COMMANDS:  # the last makes the others last
            fix += Fix((), (_TOO_MANY,))
            commands = (*commands[: MAX_COMMANDS - 1], commands[-1])
        return Advice(advice.finding, _join(fix.sentences), commands)

    def _needed(self, blockage: _Blockage) -> list[Fix]:
        """Return the fixes for it, in their order."""
        where, managers = blockage.where, self._host.managers
        if where is Where.RETURN_PATH and not blockage.to_open:
            return [Fix((), (answers_advice(self._host.provider),))]
        fixes = [self._host_fix] if blockage.to_open else []
        if not blockage.rules and where is Where.SERVER_HOST and managers.bans:
            fixes = [fix_fail2ban((), managers)]
        if blockage.needs_provider:
            fixes.insert(0 if where is Where.BEFORE_SERVER else 1, self._provider_fix)
        return fixes

    def _every_blockage(self) -> Iterator[_Blockage]:
        return (blockage for blockages in self.blockages for blockage in blockages.values())

    @cached_property
    def _host_fix(self) -> Fix:
        rules = (rule for blockage in self._every_blockage() for rule in blockage.to_open)
        return fix_for(list(dict.fromkeys(rules)), self._host.managers)

    @cached_property
    def _provider_fix(self) -> Fix:
        """Return one fix for all ports that the provider may block, for families that need it or were not checked."""
        blockages = [blockage for blockage in self._every_blockage() if blockage.needs_provider]
        unchecked = set(Family) - {address.family for address in self._addresses}
        ports = {}
        for transport in Transport:
            groups = (blockage.group for blockage in blockages if blockage.group.first.transport is transport)
            wanted = port_set(run for group in groups for run in group.extent)
            ports[transport] = port_ranges(wanted & RangeSet.of(self._plan.ports(transport)))
        return provider_fix(self._host.provider, ports, unchecked | {blockage.family for blockage in blockages})


def _explain(where: Where, rules: Sequence[BlockingRule], managers: FirewallManagers) -> Iterator[str]:
    """Yield who blocks ports, where `rules` of this host's firewall do, or would if packets came as far as that."""
    deciding = () if where is Where.BEFORE_SERVER else rules
    for rule in deciding[:MAX_QUOTES]:
        yield _quote(rule, manager_of(rule, managers))
    if any(rule.certain for rule in deciding) and where is not Where.UNKNOWN:
        return
    yield _NOT_FOUND if where is Where.SERVER_HOST and not deciding else _PROVEN.get(where, _UNKNOWN)
    if rules and not deciding:
        yield _BLOCKED_HERE_TOO


def _quote(rule: BlockingRule, manager: str | None) -> str:
    """Return a sentence that says what a rule does, where it is, and its text."""
    location = rule.location
    path = " > ".join(_printable(chain) for chain in location.path[-MAX_PATH:])
    number = "the policy" if location.number is None else f"rule {location.number}"
    verb = "redirects" if rule.action is RuleAction.REDIRECT else "blocks"
    ports = list_ports(rule.ports, rule.transport.value, MAX_RUNS)
    who = f"he server's own firewall{f' ({manager})' if manager else ''}"
    text = (f"{who} {verb} {ports} by {number} of {path} (table {_printable(location.table)}): "
            f"`{_printable(rule.text)}`")  # fmt: skip
    if rule.certain:
        return f"T{text}."
    doubt = f", since this rule may decide before it: `{_printable(rule.doubt)}`" if rule.doubt else ""
    if rule.doubt == rule.text:
        doubt = ", since that rule is not fully understood"
    return f"Maybe t{text}; this is not certain{doubt}."


def _printable(text: str) -> str:
    """Return a text of the firewall's, short and printable."""
    printable = "".join(char if char.isprintable() else "?" for char in text[: MAX_QUOTE + 1])
    return printable if len(printable) <= MAX_QUOTE else f"{printable[: MAX_QUOTE - 3]}..."


def _join(sentences: Iterable[str]) -> str:
    """Return as many of the sentences as a piece of advice may have."""
    text = ""
    for sentence in filter(None, sentences):
        if len(text) + len(sentence) < MAX_SENTENCE:
            text = f"{text} {sentence}".lstrip()
    return text


def _largest_missed(findings: Sequence[Finding]) -> int:
    """Return how many blocked ports a sample may have missed: what sweep/sample.py knew, by the report."""
    tried: dict[str, int] = {}
    left_out: dict[str, int] = {}
    for finding in findings:
        if finding.transport is Transport.UDP and (finding.unsampled or finding.state is not State.UNTESTED):
            counts = left_out if finding.unsampled else tried
            counts[finding.purpose] = counts.get(finding.purpose, 0) + len(finding.ports)
    drawn = {purpose: tried.get(purpose, 0) - 2 for purpose in left_out}  # beside the two ends
    return max((-(-RULE * (left_out[purpose] + count) // count) for purpose, count in drawn.items() if count > 0),
               default=0)  # fmt: skip
