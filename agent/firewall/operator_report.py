"""Add to a report what the server's own terminal shows: who blocks what, by which rule, and what opens it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Iterable, Iterator, Sequence

from ..core.address import Family, parse_address
from ..core.finding_groups import FindingGroup, group_findings
from ..core.observation import Where
from ..core.plan import Plan, Transport
from ..core.ports import port_ranges, port_set
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
from .fix import Fix, blocks_answers
from .fix_fail2ban import unban
from .fixes import fix_for
from .model import BlockingRule, HostFacts, RuleAction
from .provider_fixes import answers_advice, provider_fix
from .rule_quotes import explain

_FIXED_ABOVE = "Fixed by the commands above."
_TOO_MANY = "There are more commands: run these, then check again."
_OTHER_ADDRESS = "is not an address of this server: a 1:1 NAT or a port forwarding leads here (no error)."
_WRONG_ADDRESS = "is not an address of this server: it is wrong, unless a 1:1 NAT or a port forwarding leads here."


def add_operator_advice(report: Report, host: HostFacts, plan: Plan) -> Report:
    """Return the report with the advice for whoever sits at the server.

    The report is the client's, who may be anybody: none of its advice is kept, and no command names a port that is not
    in the plan. Each command is there once, with the first advice that needs it.
    """
    advisor = _Advisor(report.addresses, host, plan)
    return replace(report, addresses=tuple(map(advisor.next_address, report.addresses)))


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

    def is_explained(self) -> bool:
        """Return whether there is something to say of this host's firewall."""
        return bool(self.to_open) or self.group.first.state is not State.INTERCEPTED


class _Advisor:
    """All that is known of this host, and what of it has been said."""

    def __init__(self, addresses: Sequence[AddressReport], host: HostFacts, plan: Plan) -> None:
        self._addresses, self._host, self._plan = addresses, host, plan
        self._ports = [(rule, port_set(rule.ports)) for rule in host.blocking_rules]
        self._blockages = [self._blockages_of(address) for address in addresses]
        self._next = 0
        self._said: set[Callable[[], Fix]] = set()

    def _blockages_of(self, address: AddressReport) -> dict[int, _Blockage]:
        return {
            group.number: _Blockage(group, address.family, tuple(
                rule for rule, ports in self._ports
                if rule.family is address.family and rule.transport is group.first.transport
                and not ports.isdisjoint(port_set(group.ports))
            ))
            for group in group_findings(address.findings) if group.first.state in BLOCKED
        }  # fmt: skip

    def next_address(self, address: AddressReport) -> AddressReport:
        """Return the next address of the report, with its advice."""
        blockages = self._blockages[self._next]
        unread = self._host.unread if self._next == 0 else ()
        self._next += 1
        own, ours = self._is_own(address), is_ours(address)
        # Another host's rules are its own.
        mistakes = common_mistakes.AddressMistakes(address, self._addresses if own or ours else ())
        advice = (self._advice(advice, blockages.get(advice.finding), mistakes)
                  for advice in advise(address.findings, _largest_missed(address.findings), here=True))  # fmt: skip
        other = () if own else (f"{address.address} {_OTHER_ADDRESS if ours else _WRONG_ADDRESS}",)
        notes = (*other, *(sentence[:MAX_SENTENCE] for sentence in unread), *address.notes)[:MAX_NOTES]
        server = self._host.addresses[:MAX_ADDRESSES] or None
        return replace(address, advice=tuple(advice), notes=notes, server=server)

    def _is_own(self, address: AddressReport) -> bool:
        own, dialled = self._host.addresses, parse_address(address.address)
        return not own or dialled.is_loopback or dialled.is_link_local or str(dialled) in own

    def _advice(self, advice: Advice, blockage: _Blockage | None, mistakes: common_mistakes.AddressMistakes) -> Advice:
        if blockage is None:
            return advice
        rules, managers = blockage.to_open, self._host.managers
        explained = explain(blockage.where, rules, managers) if blockage.is_explained() else ()
        of_rules = common_mistakes.of_rules(rules, managers)
        fix = Fix((), (advice.text, *explained, *of_rules, *mistakes.of(blockage.group.first)))
        for needed in self._needed(blockage):
            fix += Fix((), (_FIXED_ABOVE,)) if needed in self._said else needed()
            self._said.add(needed)
        commands = fix.commands
        if len(commands) > MAX_COMMANDS:  # the last makes the others last
            fix += Fix((), (_TOO_MANY,))
            commands = (*commands[: MAX_COMMANDS - 1], commands[-1])
        return Advice(advice.finding, _join(fix.sentences), commands)

    def _needed(self, blockage: _Blockage) -> list[Callable[[], Fix]]:
        """Return what makes the fixes for it, in their order."""
        host = [self._host_fix] if blockage.to_open else []
        if not blockage.rules and blockage.where is Where.SERVER_HOST and self._host.managers.bans:
            host = [self._unban]
        provider = [self._provider_fix] if blockage.needs_provider else []
        if blockage.where is Where.RETURN_PATH and not blockage.to_open:
            return [self._answers_fix]
        return provider + host if blockage.where is Where.BEFORE_SERVER else host + provider

    def _every_blockage(self) -> Iterator[_Blockage]:
        return (blockage for blockages in self._blockages for blockage in blockages.values())

    def _host_fix(self) -> Fix:
        rules = (rule for blockage in self._every_blockage() for rule in blockage.to_open)
        return fix_for(list(dict.fromkeys(rules)), self._host.managers)

    def _unban(self) -> Fix:
        return unban(self._host.managers)

    def _answers_fix(self) -> Fix:
        return Fix((), (answers_advice(self._host.provider),))

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
