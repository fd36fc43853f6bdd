"""Which rule of a host's firewall decides, by reading the rules in the order in which packets meet them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Generic, Iterable, Iterator, NamedTuple, TypeVar

from ..core.address import Address, Family
from ..core.plan import Transport
from ..core.ports import HIGHEST, PortRange, port_ranges
from .model import BlockingRule, Hook, RuleAction, RuleLocation, Tool
from .ruleset import (
    ADDRESSES,
    PORTS,
    BaseChain,
    Chain,
    InterfaceNames,
    Match,
    Rule,
    Ruleset,
    Spans,
    Table,
    TcpFlags,
    common,
    join,
    within,
)

# Rules seen and runs of ports moved, for each base chain: ten times the longest rule set that is planned for takes
# some two seconds, and one whose chains lead to each other without end no more.
MAX_STEPS = 500_000
# nftables lets rules jump 16 chains deep (NFT_JUMP_STACK_SIZE), iptables as deep as it has chains; nobody writes more.
MAX_DEPTH = 64

# Of the standard priorities the one of connection tracking (NF_IP_PRI_CONNTRACK): a chain before it has no states.
CONNTRACK = -200
# A client's source port, before and behind any NAT: the ports below stay those of servers (RFC 4787, REQ-3).
CLIENT_PORTS: Spans = ((1024, HIGHEST),)
# What the address of a client elsewhere or of this server may be, where it is not known: not of 'this' network,
# loopback, link-local (169.254/16, fe80::/10), multicast or broadcast.
_SOMEBODY: dict[Family, Spans] = {
    Family.IPV4: ((0x01000000, 0x7EFFFFFF), (0x80000000, 0xA9FDFFFF), (0xA9FF0000, 0xDFFFFFFF)),
    Family.IPV6: ((2, (0xFE80 << 112) - 1), (0xFEC0 << 112, (0xFF00 << 112) - 1)),
}

_ACTS = {RuleAction.REJECT: RuleAction.REJECT, RuleAction.REDIRECT: RuleAction.REDIRECT}
_INWARD, _OUTWARD = (Hook.PREROUTING, Hook.INPUT), (Hook.OUTPUT, Hook.POSTROUTING)


@dataclass(frozen=True)
class Flow:
    """What comes in from one client, and its answers; what is not known is None.

    `interface` is where it arrives and its answers leave; unknown, it is any but `lo`, unless the client is this host.
    """

    transport: Transport
    family: Family
    ports: tuple[PortRange, ...]
    client: Address | None = None
    server: Address | None = None
    interface: str | None = None


def evaluate(ruleset: Ruleset, flow: Flow, blocked: bool = False) -> tuple[BlockingRule, ...]:
    """The rules that do not let new flows in or their answers out, in the order in which packets meet them.

    Each base chain is asked by itself, as if those before it had accepted, so that all that must be opened is found.
    A decision is `sure` where all rules before it in its base chain were understood. A rule that may drop, in a base
    chain where no other drops for sure, is a rule too, and its own doubt. Where the ports are known to be
    `blocked`, a rule that may accept did not, unless another base chain may be what blocks them.
    """
    tracking = _Tracking()
    found = [found for table, chain, base in _base_chains(ruleset, flow.family)
             for found in _Walk(table, chain, base, flow, tracking).decisions()]  # fmt: skip
    if ruleset.not_evaluated:
        return tuple(replace(each.rule, certain=False, doubt=each.rule.doubt or ruleset.not_evaluated[0])
                     for each in found)  # fmt: skip
    contested = _contested(found) if blocked else set()
    return tuple(
        replace(each.rule, certain=True, doubt=None)
        if blocked and each.accept_only and not any(port in contested for run in each.rule.ports for port in run)
        else each.rule
        for each in found
    )


class _Found(NamedTuple):
    """A rule, whether only an accept is in doubt there, and its base chain."""

    rule: BlockingRule
    accept_only: bool
    walk: _Walk


def _contested(found: Iterable[_Found]) -> set[int]:
    """The ports that several base chains decide, or may."""
    first: dict[int, _Walk] = {}
    return {port for each in found for run in each.rule.ports for port in run
            if first.setdefault(port, each.walk) is not each.walk}  # fmt: skip


def _base_chains(ruleset: Ruleset, family: Family) -> list[tuple[Table, Chain, BaseChain]]:
    order = (*_INWARD, *_OUTWARD)
    found = [
        (table, chain, chain.base)
        for table in ruleset.tables
        if family in table.families
        for chain in table.chains
        # An answer belongs to a flow that is known, which nat chains do not see.
        if chain.base and not (chain.base.nat and chain.base.hook in _OUTWARD)
    ]
    return sorted(found, key=lambda entry: (order.index(entry[2].hook), entry[2].priority))


class _Runs:
    """Ports as runs, in order; none overlaps another."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self.spans = list(spans)

    def take(self, wanted: Spans) -> list[tuple[int, int]]:
        """Remove what is wanted, and return what of it was there."""
        if wanted == PORTS:
            taken, self.spans = self.spans, []
            return taken
        taken = []
        for first, last in wanted:
            low, high = self._overlap(first, last)
            if low == high:
                continue
            part = self.spans[low:high]
            rest = []
            if part[0][0] < first:
                rest.append((part[0][0], first - 1))
                part[0] = (first, part[0][1])
            if part[-1][1] > last:
                rest.append((last + 1, part[-1][1]))
                part[-1] = (part[-1][0], last)
            self.spans[low:high] = rest
            taken += part
        return taken

    def part(self, wanted: Spans) -> list[tuple[int, int]]:
        """What is wanted, and here."""
        found = []
        for first, last in wanted:
            low, high = self._overlap(first, last)
            found += [(max(first, one), min(last, other)) for one, other in self.spans[low:high]]
        return found

    def add(self, spans: list[tuple[int, int]]) -> None:
        """Put back what was taken."""
        self.spans = sorted(self.spans + spans)

    def _overlap(self, first: int, last: int) -> tuple[int, int]:
        low = bisect_left(self.spans, (first, 0))
        if low and self.spans[low - 1][1] >= first:
            low -= 1
        return low, bisect_left(self.spans, (last + 1, 0), low)


class _Tracking:
    """Whether some rule may have taken packets out of connection tracking; it is the same in all base chains."""

    lost = False


_Value = TypeVar("_Value")


class _Verdict(NamedTuple):
    action: RuleAction
    location: RuleLocation
    text: str
    doubt: str | None = None


class _Firsts(Generic[_Value]):
    """Of each port the first thing that was said of it, and when."""

    def __init__(self, spans: Spans) -> None:
        self._none = _Runs(spans)
        self.of: dict[int, tuple[int, _Value]] = {}

    def say(self, spans: list[tuple[int, int]], when: int, value: _Value) -> None:
        """Say it of these ports, as far as nothing was said of them."""
        if self._none.spans:
            for port in _each(self._none.take(tuple(spans))):
                self.of[port] = (when, value)


class _Walk:
    """One flow through one base chain, all its ports together."""

    def __init__(self, table: Table, chain: Chain, base: BaseChain, flow: Flow, tracking: _Tracking) -> None:
        self._table, self._base_chain, self._base, self._flow, self._tracking = table, chain, base, flow, tracking
        self._chains = {chain.name: chain for chain in table.chains}
        self._inward = base.hook in _INWARD
        here = flow.client is not None and flow.client.is_loopback
        self._interface = "lo" if here and flow.interface is None else flow.interface
        self._state = ("new" if self._inward else "established") if base.priority >= CONNTRACK else "invalid"
        self._steps = 0
        self._all = join((run.first, run.last) for run in flow.ports)
        self._found: list[tuple[list[tuple[int, int]], _Verdict]] = []
        self._left: list[tuple[list[tuple[int, int]], Rule]] = []  # what a return or goto took out of the base chain
        # The rules that may accept, that may lead elsewhere, and that may not let pass.
        self._accepts: _Firsts[str] = _Firsts(self._all)
        self._turns: _Firsts[str] = _Firsts(self._all)
        self._drops: _Firsts[_Verdict] = _Firsts(self._all)

    def decisions(self) -> Iterator[_Found]:
        """What this base chain decides."""
        live, name = _Runs(self._all), self._base_chain.name
        self._through(self._base_chain, live, (name,))
        if self._base.policy_drops:
            policy = "policy drop" if self._table.tool is Tool.NFT else f"-P {name} DROP"
            here = RuleLocation(self._table.tool, self._table.name, (name,), None)
            # A rule at the chain's end is no way round the policy for what leaves before: that rule is the location.
            for spans, rule in self._left:
                location = replace(here, number=rule.number, handle=rule.handle)
                verdict = _Verdict(RuleAction.DROP, location, f"{rule.text}, then {policy}")
                self._found.append((live.take(tuple(spans)), verdict))
            self._found.append((live.spans, _Verdict(RuleAction.DROP, here, policy)))
        groups: dict[tuple[_Verdict, str | None, bool], list[int]] = defaultdict(list)
        for spans, verdict in self._found:
            for port in _each(spans):
                turn, drop = self._turns.of.get(port), self._drops.of.pop(port, None)
                known = (self._accepts.of.get(port), turn, drop and (drop[0], drop[1].doubt or ""))
                doubts = [doubt for doubt in known if doubt]
                accept_only = bool(doubts) and turn is None and drop is None
                groups[verdict, min(doubts)[1] if doubts else None, accept_only].append(port)
        for port, (_, verdict) in self._drops.of.items():
            groups[verdict, verdict.doubt, False].append(port)
        for (verdict, doubt, accept_only), ports in groups.items():
            yield _Found(
                BlockingRule(self._flow.transport, self._flow.family, port_ranges(ports), self._base.hook,
                             verdict.action, verdict.location, verdict.text, doubt is None, doubt),
                accept_only, self,
            )  # fmt: skip

    def _through(
        self, chain: Chain, live: _Runs, path: tuple[str, ...], doubt: str | None = None, outer: Spans = ()
    ) -> list[tuple[int, int]]:
        """Take ports through a chain; those that come back, by its end or by a return, are left in `live`.

        `doubt` is the rule that may have led there, where that is not sure: nothing is decided then, only doubted.
        Of the ports in `outer`, which may have left some chain on the way here, those accepted are returned: they are
        so only if they did not leave.
        """
        back: list[tuple[int, int]] = []
        escaped: list[tuple[int, int]] = []
        astray: Spans = ()  # what may have left the chain already
        for rule in chain.rules:
            if not live.spans:
                break
            self._steps += 1
            fits = rule.action is not RuleAction.CONTINUE and self._fits(rule.match)
            if fits is False:
                continue
            wanted = rule.match.ports if self._inward else rule.match.source_ports
            ports = PORTS if wanted is None else wanted
            if self._steps > MAX_STEPS:
                self._may_decide(live.spans, rule, path, doubt or rule.text)
                break
            taken = live.take(ports) if fits else live.part(ports)
            self._steps += len(taken)
            why = doubt or (None if fits else rule.text)
            if not taken:
                continue
            if rule.action in (RuleAction.JUMP, RuleAction.GOTO):
                inner, target = _Runs(taken), self._chains.get(rule.target)
                if target is None or len(path) > MAX_DEPTH:
                    self._may_decide(taken, rule, path, why or rule.text)
                else:
                    away = _Runs(self._through(target, inner, (*path, rule.target), why, join((*outer, *astray))))
                    if fits:
                        back += away.take(astray)
                        escaped += away.spans
                taken = inner.spans
            elif rule.action is RuleAction.NOTRACK:
                self._tracking.lost = True
            elif rule.action is RuleAction.UNKNOWN:
                self._may_decide(taken, rule, path, why or rule.text)
            elif rule.action is RuleAction.ACCEPT:
                if why:
                    self._accepts.say(taken, self._steps, why)
                rest = _Runs(taken)
                taken = rest.take(astray)
                if fits:
                    escaped += rest.take(outer)
            elif rule.action is not RuleAction.RETURN:
                self._drop(taken, rule, path, why)
                continue
            if rule.action in (RuleAction.JUMP, RuleAction.NOTRACK, RuleAction.UNKNOWN):
                if fits:
                    live.add(taken)
            elif fits:  # a return or goto, or an accept of what may be elsewhere by now
                back += taken
                if len(path) == 1 and rule.action is not RuleAction.ACCEPT:
                    self._left.append((taken, rule))
            elif rule.action is not RuleAction.ACCEPT:
                self._turns.say(taken, self._steps, why or rule.text)
                astray = join((*astray, *taken))
                self._steps += len(astray)
        live.add(back)
        return escaped

    def _may_decide(self, spans: list[tuple[int, int]], rule: Rule, path: tuple[str, ...], why: str) -> None:
        self._accepts.say(spans, self._steps, why)
        self._drop(spans, rule, path, why)

    def _drop(self, spans: list[tuple[int, int]], rule: Rule, path: tuple[str, ...], why: str | None) -> None:
        location = RuleLocation(self._table.tool, self._table.name, path, rule.number, rule.handle)
        verdict = _Verdict(_ACTS.get(rule.action, RuleAction.DROP), location, rule.text, why)
        if why is None:
            self._found.append((spans, verdict))
        else:
            self._drops.say(spans, self._steps, verdict)

    def _fits(self, match: Match) -> bool | None:
        """Whether a flow matches, leaving the planned ports aside; None where that is not known."""
        flow, inward = self._flow, self._inward
        if match.transports is not None and flow.transport not in match.transports:
            return False
        if match.family is not None and match.family is not flow.family:
            return False
        arrives, leaves = (self._interface, "") if inward else ("", self._interface)
        source, destination = (flow.client, flow.server) if inward else (flow.server, flow.client)
        answers = [None if match.unclear else True]
        if match.states is not None:
            answers.append(None if self._tracking.lost else self._state in match.states)
        if match.to_local is not None:
            answers.append(match.to_local is (inward or self._interface == "lo"))
        other = match.source_ports if inward else match.ports
        if other is not None:
            theirs = common(other, CLIENT_PORTS)
            answers.append(bool(theirs) and (theirs == CLIENT_PORTS or None))
        if match.sources is not None:
            answers.append(_is_in(source, match.sources, flow.family))
        if match.destinations is not None:
            answers.append(_is_in(destination, match.destinations, flow.family))
        answers += [_is_named(arrives, names) for names in match.incoming]
        answers += [_is_named(leaves, names) for names in match.outgoing]
        answers += [_has(flags, inward) for flags in match.flags]
        return False if False in answers else None if None in answers else True


def _each(spans: Iterable[tuple[int, int]]) -> Iterator[int]:
    for first, last in spans:
        yield from range(first, last + 1)


def _is_in(address: Address | None, spans: Spans, family: Family) -> bool | None:
    if address is not None:
        return within(int(address), spans)
    if spans == ADDRESSES[family]:
        return True
    return None if common(spans, _SOMEBODY[family]) else False


def _is_named(interface: str | None, names: InterfaceNames) -> bool | None:
    hit: bool | None
    if "" in names.prefixes:
        hit = True
    elif interface is None:
        hit = None if names.prefixes or names.exact - {"lo"} else False
    else:
        hit = interface in names.exact or interface.startswith(names.prefixes)
    return hit if hit is None else hit is not names.negated


def _has(flags: TcpFlags, inward: bool) -> bool | None:
    """By the packets that begin a connection; whether ECN is asked for is up to the systems."""
    if flags.mask & {"ecn", "ece", "cwr"}:
        return None
    here = frozenset(("syn",) if inward else ("syn", "ack"))
    return (flags.mask & here == flags.value) is not flags.negated
