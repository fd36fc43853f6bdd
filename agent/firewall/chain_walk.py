"""Lead a flow through one base chain, all its ports together, and find the rules that do not let them pass."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Generic, Iterator, NamedTuple, TypeVar

from ..core.ports import port_ranges, port_set
from ..core.ranges import Range, RangeSet
from .matching import Flow, View, matches, planned_ports
from .model import BaseChain, BlockingRule, Chain, Hook, Rule, RuleAction, RuleLocation, Table, Tool

# Rules seen and runs of ports moved, for each base chain: ten times the longest rule set that is planned for takes
# some two seconds, and one whose chains lead to each other without end no more.
MAX_STEPS = 500_000
# nftables lets rules jump 16 chains deep (NFT_JUMP_STACK_SIZE), iptables as deep as it has chains; nobody writes more.
MAX_DEPTH = 64

# Of the standard priorities the one of connection tracking (NF_IP_PRI_CONNTRACK): a chain before it has no states.
CONNTRACK = -200
INWARD = (Hook.PREROUTING, Hook.INPUT)

_NONE = RangeSet()
_Value = TypeVar("_Value")


class Tracking:
    """Whether some rule may have taken packets out of connection tracking; it is the same in all base chains."""

    lost = False


class Candidate(NamedTuple):
    """A rule that blocks or may; whether it is in doubt only since another may accept; and the walk that found it."""

    rule: BlockingRule
    accept_only: bool
    walk: ChainWalk


class _Verdict(NamedTuple):
    action: RuleAction
    location: RuleLocation
    text: str
    doubt: str | None = None


class _Firsts(Generic[_Value]):
    """Of each port the first thing that was said of it, and at which step."""

    def __init__(self, ports: RangeSet) -> None:
        self._unsaid = ports
        self.of: dict[int, tuple[int, _Value]] = {}

    def say(self, ports: RangeSet, step: int, value: _Value) -> None:
        """Say it of these ports, as far as nothing was said of them."""
        new = self._unsaid & ports
        self._unsaid -= new
        self.of.update((port, (step, value)) for port in new)


@dataclass
class _Visit:
    """The ports on their way through one chain.

    `doubt` is the rule that may have led there, where that is not sure: nothing is decided then, only doubted. `outer`
    are ports that may have left some chain on the way here, `astray` those that may have left this one.
    """

    live: RangeSet
    path: tuple[str, ...]
    doubt: str | None = None
    outer: RangeSet = _NONE
    astray: RangeSet = _NONE
    back: list[Range] = field(default_factory=list)  # taken out of the chain by a return or goto
    escaped: list[Range] = field(default_factory=list)  # of `outer`, accepted: they are so only if they did not leave


class ChainWalk:
    """One flow through one base chain of a table."""

    def __init__(self, table: Table, chain: Chain, base: BaseChain, flow: Flow, tracking: Tracking) -> None:
        self._table, self._base_chain, self._base, self._flow, self._tracking = table, chain, base, flow, tracking
        self._chains = {chain.name: chain for chain in table.chains}
        inward = base.hook in INWARD
        tracked = "new" if inward else "established"
        self._view = View(flow, inward, tracked if base.priority >= CONNTRACK else "invalid")
        self._steps = 0
        self._planned = port_set(flow.ports)
        self._blocked: list[tuple[RangeSet, _Verdict]] = []
        self._returned: list[tuple[RangeSet, Rule]] = []  # what a return or goto took out of the base chain
        # The rules that may accept, that may lead elsewhere, and that may not let pass.
        self._accepts: _Firsts[str] = _Firsts(self._planned)
        self._turns: _Firsts[str] = _Firsts(self._planned)
        self._drops: _Firsts[_Verdict] = _Firsts(self._planned)

    def candidates(self) -> Iterator[Candidate]:
        """Walk, and yield the rules of this base chain that block ports, or may."""
        left, _ = self._walk(self._base_chain, _Visit(self._planned, (self._base_chain.name,)))
        if self._base.policy_drops:
            self._apply_policy(left)
        groups: dict[tuple[_Verdict, str | None, bool], list[int]] = defaultdict(list)
        for blocked, verdict in self._blocked:
            for port in blocked:
                turn, drop = self._turns.of.get(port), self._drops.of.pop(port, None)
                known = (self._accepts.of.get(port), turn, drop and (drop[0], drop[1].doubt or ""))
                doubts = [doubt for doubt in known if doubt]
                accept_only = bool(doubts) and turn is None and drop is None
                groups[verdict, min(doubts)[1] if doubts else None, accept_only].append(port)
        for port, (_, verdict) in self._drops.of.items():
            groups[verdict, verdict.doubt, False].append(port)
        for (verdict, doubt, accept_only), ports in groups.items():
            rule = BlockingRule(self._flow.transport, self._flow.family, port_ranges(ports), self._base.hook,
                                verdict.action, verdict.location, verdict.text, doubt is None, doubt)  # fmt: skip
            yield Candidate(rule, accept_only, self)

    def _apply_policy(self, left: RangeSet) -> None:
        name = self._base_chain.name
        policy = "policy drop" if self._table.tool is Tool.NFT else f"-P {name} DROP"
        location = RuleLocation(self._table.tool, self._table.name, (name,), None)
        # A rule at the chain's end is no way round the policy for what leaves before: that rule is the place.
        for returned, rule in self._returned:
            before = replace(location, number=rule.number, handle=rule.handle)
            verdict = _Verdict(RuleAction.DROP, before, f"{rule.text}, then {policy}")
            self._blocked.append((left & returned, verdict))
            left -= returned
        self._blocked.append((left, _Verdict(RuleAction.DROP, location, policy)))

    def _walk(self, chain: Chain, visit: _Visit) -> tuple[RangeSet, RangeSet]:
        """Return the ports that come back from a chain, by its end or by a return; and those that escaped."""
        for rule in chain.rules:
            if not visit.live:
                break
            self._steps += 1
            fits = rule.action is not RuleAction.CONTINUE and self._matches(rule)
            if fits is False:
                continue
            if self._steps > MAX_STEPS:
                self._may_decide(visit.live, rule, visit.path, visit.doubt or rule.text)
                break
            wanted = planned_ports(rule.match, self._view)
            ports = visit.live if wanted is None else visit.live & wanted
            self._steps += len(ports.ranges)
            if ports:
                self._apply(rule, ports, visit, fits)
        return RangeSet((*visit.live.ranges, *visit.back)), RangeSet(visit.escaped)

    def _matches(self, rule: Rule) -> bool | None:
        view = self._view._replace(state=None) if self._tracking.lost else self._view
        return matches(rule.match, view)

    def _apply(self, rule: Rule, ports: RangeSet, visit: _Visit, fits: bool | None) -> None:
        """Do with these ports what a rule does that matches them, or, where `fits` is None, may match them."""
        why = visit.doubt or (None if fits else rule.text)
        kept = _NONE  # for the next rule of the chain
        if rule.action is RuleAction.JUMP:
            kept = self._follow(rule, ports, visit, fits, why)
        elif rule.action is RuleAction.GOTO:
            self._leave(rule, self._follow(rule, ports, visit, fits, why), visit, fits, why)
        elif rule.action is RuleAction.RETURN:
            self._leave(rule, ports, visit, fits, why)
        elif rule.action is RuleAction.ACCEPT:
            self._accept(ports, visit, fits, why)
        elif rule.action is RuleAction.NOTRACK:
            self._tracking.lost, kept = True, ports
        elif rule.action is RuleAction.UNKNOWN:
            self._may_decide(ports, rule, visit.path, why or rule.text)
            kept = ports
        else:
            self._drop(ports, rule, visit.path, why)
        if fits:
            visit.live -= ports - kept

    def _follow(self, rule: Rule, ports: RangeSet, visit: _Visit, fits: bool | None, why: str | None) -> RangeSet:
        """Return the ports that come back from the chain that a rule leads to."""
        target = self._chains.get(rule.target)
        if target is None or len(visit.path) > MAX_DEPTH:
            self._may_decide(ports, rule, visit.path, why or rule.text)
            return ports
        inner = _Visit(ports, (*visit.path, rule.target), why, visit.outer | visit.astray)
        ports, escaped = self._walk(target, inner)
        if fits:
            visit.back += (escaped & visit.astray).ranges
            visit.escaped += (escaped - visit.astray).ranges
        return ports

    def _leave(self, rule: Rule, ports: RangeSet, visit: _Visit, fits: bool | None, why: str | None) -> None:
        """Take ports out of a chain, by a return or goto."""
        if not fits:
            self._turns.say(ports, self._steps, why or rule.text)
            visit.astray |= ports
            self._steps += len(visit.astray.ranges)
            return
        visit.back += ports.ranges
        if len(visit.path) == 1:
            self._returned.append((ports, rule))

    def _accept(self, ports: RangeSet, visit: _Visit, fits: bool | None, why: str | None) -> None:
        """Let ports pass; what may be elsewhere by now is not accepted here for sure."""
        if why:
            self._accepts.say(ports, self._steps, why)
        if fits:
            visit.back += (ports & visit.astray).ranges
            visit.escaped += ((ports - visit.astray) & visit.outer).ranges

    def _may_decide(self, ports: RangeSet, rule: Rule, path: tuple[str, ...], why: str) -> None:
        self._accepts.say(ports, self._steps, why)
        self._drop(ports, rule, path, why)

    def _drop(self, ports: RangeSet, rule: Rule, path: tuple[str, ...], why: str | None) -> None:
        location = RuleLocation(self._table.tool, self._table.name, path, rule.number, rule.handle)
        stops = rule.action in (RuleAction.REJECT, RuleAction.REDIRECT)
        verdict = _Verdict(rule.action if stops else RuleAction.DROP, location, rule.text, why)
        if why is None:
            self._blocked.append((ports, verdict))
        else:
            self._drops.say(ports, self._steps, verdict)
