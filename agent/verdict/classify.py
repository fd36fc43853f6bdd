"""From observations to findings, and from findings to a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Iterable, Mapping, Sequence

from ..core.counters import Counters
from ..core.observation import Interceptor, Observation, Reason, Reply, Where
from ..core.plan import Need, Plan, Requirement, Transport
from ..core.ports import PortRange
from ..core.report import BLOCKED, Evidence, Finding, State, Verdict
from ..sweep.limit import Limit
from ..sweep.loss import MAX_CHANCE
from . import refusal
from .place import loss_before, place, places

# What the kernel sends for each connect at least, while it is waited for: at once, and after a second (RFC 6298).
SYNS = 2
# Of round trips, where nothing has measured more: one in five is a bad path.
UNMEASURED_LOSS = 0.2

ONLY_SMALL = "a small packet was answered, and no large one that followed it"
NOT_CONFIRMED = "the probes came from an address that the control channel did not confirm"
CLOSED = "port unreachable"  # what ICMP says of a port where nobody listens, and firewalls by default
NO_TLS = "without openssl the server speaks no TLS, and other traffic did not pass"

Observations = Mapping[Transport, Mapping[int, Observation]]


@dataclass(frozen=True)
class Conditions:
    """Under what conditions the observations were made.

    `control` says that the server was still there when the evidence was whole: without that, silence proves nothing.
    `chance` is how many ports, expected, loss alone kept silent in the UDP sweep, None where nothing measured it, and
    `chance_of_large` how many in what followed up with large packets, `unsure_of_large` why that could not tell;
    `conclusive`, that the sweep could take enough tries; `loss`, the share of round trips that the path loses;
    `limit`, what else kept probes from passing; `closed`, how TCP ports that had let this client in stopped it later;
    `shut_out`, that in the end something let this client in nowhere, not even where it had been; `counters`, what the
    server's own kernel dropped meanwhile; `address`, which was checked.
    """

    control: bool = True
    aborted: bool = False
    conclusive: bool = True
    chance: float | None = None
    chance_of_large: float | None = None
    unsure_of_large: Reason | None = None
    loss: float = 0.0
    limit: Limit | None = None
    closed: tuple[Observation, ...] = ()
    shut_out: bool = False
    counters: Counters = field(default_factory=Counters)
    address: str = ""


@dataclass(frozen=True)
class Cause:
    """One state and one cause: what the ports of a finding have in common."""

    state: State
    where: Where | None = None
    by: str | None = None
    reason: Reason | None = None
    owner: str | None = None
    shown: str | None = None
    icmp: str | None = None
    interceptor: Interceptor | None = None
    through: str | None = None


def classify(seen: Observation, conditions: Conditions) -> Cause:
    """The state of one port."""
    if seen.reply is Reply.PROOF:
        return Cause(State.OPEN)
    if seen.corroborated:
        return Cause(State.OPEN, through=seen.service)
    if seen.untested:
        return _blocked_service(seen, conditions) or Cause(State.UNTESTED, reason=seen.untested, owner=seen.owner)
    if conditions.aborted:
        return Cause(State.UNKNOWN, reason=Reason.ABORTED)
    foreign = seen.reply is Reply.FOREIGN  # which needs no further tries to be sure of
    if seen.transport is Transport.UDP and not foreign and not conditions.conclusive and conditions.limit:
        return Cause(State.UNKNOWN, reason=conditions.limit.reason)
    # A ban may well refuse by ICMP; the TCP ports were tried before the sweep that provoked it.
    banned = (None, Reply.NOTHING, *([Reply.UNREACHABLE] if seen.transport is Transport.UDP else []))
    if conditions.shut_out and seen.reply in banned:
        return Cause(State.UNKNOWN, reason=Reason.SCAN_BLOCK)
    if not conditions.control:
        return Cause(State.UNKNOWN, reason=Reason.NO_CONTROL)
    if seen.unsendable and not seen.sent:
        return Cause(State.UNKNOWN, reason=Reason.ABORTED, shown=f"this computer's own network says: {seen.unsendable}")
    if seen.only_small and conditions.unsure_of_large:
        return Cause(State.UNKNOWN, reason=conditions.unsure_of_large)
    if seen.redirected_to:
        shown = f"forwarded to the server's port {seen.redirected_to}"
        return Cause(State.INTERCEPTED, shown=shown, interceptor=Interceptor.FORWARDED)
    if seen.transport is Transport.TCP and seen.sent:
        return _classify_tcp(seen, conditions)
    if seen.transport is Transport.UDP and foreign:
        return Cause(State.INTERCEPTED, shown=seen.shown, interceptor=seen.interceptor)
    if seen.unanswered and seen.unanswered >= (seen.at_socket or 0):
        return Cause(State.UNKNOWN, reason=Reason.NO_CONTROL, shown=NOT_CONFIRMED)
    # Tries are a second apart: a router's passing trouble may meet one of them, and loss the others.
    if seen.reply is Reply.UNREACHABLE and (conditions.conclusive or (seen.errors or 0) > 1):
        return Cause(State.REJECTED, place(seen, bool(conditions.counters.capture_drops)), seen.by, icmp=seen.icmp)
    if seen.transport is Transport.UDP and not conditions.conclusive:
        return Cause(State.UNKNOWN, reason=Reason.PATH_LOSS)
    if seen.receive_drops and not seen.at_socket:
        # They came, and somebody's flood to the same port left no room for them: no firewall did that.
        return Cause(State.UNKNOWN, reason=Reason.RATE_LIMIT)
    # Never its turn: the check did not get to this port.
    if not seen.sent:
        return Cause(State.UNKNOWN, reason=Reason.ABORTED)
    only_small = ONLY_SMALL if seen.only_small else None
    return Cause(State.FILTERED, place(seen, bool(conditions.counters.capture_drops)), shown=only_small)


def silent_by_chance(seen: Observation, loss: float) -> bool:
    """Whether a TCP port is silent, and loss alone may have made it so; then it takes more connects."""
    return seen.reply is Reply.NOTHING and loss ** (SYNS * (seen.sent or 0)) > MAX_CHANCE


def is_stopped(seen: Observation) -> bool:
    """Whether no connection to a TCP port came about, however often it was tried."""
    refused = seen.reply in (Reply.NOTHING, Reply.UNREACHABLE, Reply.REFUSED)
    return bool(seen.sent) and seen.received is None and refused


def _is_limited(seen: Observation, conditions: Conditions) -> bool:
    """Whether a TCP port is stopped as one that had let this client in: by a limit, which may be over both."""
    return is_stopped(seen) and any(
        (seen.reply, seen.by, seen.icmp) == (one.reply, one.by, one.icmp) and one.place in (None, seen.place)
        for one in conditions.closed
    )


def _classify_tcp(seen: Observation, conditions: Conditions) -> Cause:
    if seen.plain and seen.connections:
        # The path takes connections; what stopped there may well let TLS pass, which is what users will send.
        return Cause(State.UNKNOWN, reason=Reason.ABORTED, shown=NO_TLS)
    if _is_crowded_out(seen, conditions):
        return Cause(State.UNKNOWN, reason=Reason.RATE_LIMIT)
    if _is_limited(seen, conditions) and not silent_by_chance(seen, conditions.loss):
        return Cause(State.UNKNOWN, reason=Reason.RATE_LIMIT)
    if seen.reply in (Reply.REFUSED, Reply.UNREACHABLE):
        where = _tcp_place(seen, conditions)
        # A RST bears the server's address, whoever sent it: the server's own host did where its packets came so far.
        named = seen.reply is Reply.UNREACHABLE or where is Where.SERVER_HOST
        return Cause(State.REJECTED, where, seen.by if named else None, icmp=seen.icmp)
    if seen.reply is Reply.FOREIGN:
        return Cause(State.INTERCEPTED, shown=seen.shown, interceptor=seen.interceptor)
    if seen.reply is Reply.MUTE and not seen.at_socket and _is_taken(seen, conditions):
        return Cause(State.INTERCEPTED, shown="took the connection, which the server never got, and said nothing")
    if silent_by_chance(seen, conditions.loss):
        return Cause(State.UNKNOWN, reason=Reason.PATH_LOSS)
    return Cause(State.FILTERED, _tcp_place(seen, conditions))


def _blocked_service(seen: Observation, conditions: Conditions) -> Cause | None:
    """How a port is stopped that was tried through the service that holds it; None where that is not sure.

    What a service says or refuses is its own affair: only what it never got, or what it said and never came, counts.
    """
    if seen.service is None or not seen.sent or conditions.aborted or conditions.shut_out or not conditions.control:
        return None
    if seen.transport is Transport.UDP:
        return _blocked_service_udp(seen, conditions)
    # The service's kernel answers a SYN, and nothing but a firewall does by ICMP. A RST may be the service's, and so
    # may be what the client got, unless the server saw nothing come, from whatever address; or nothing after a SYN.
    sure = _tcp_place(seen, conditions) is Where.BEFORE_SERVER
    return _classify_tcp(seen, conditions) if sure or seen.reply in (Reply.NOTHING, Reply.UNREACHABLE) else None


def _blocked_service_udp(seen: Observation, conditions: Conditions) -> Cause | None:
    missed = bool(conditions.counters.capture_drops) or seen.at_interface is None
    if conditions.limit or missed:
        return None
    if seen.reply is Reply.FOREIGN:
        return None if seen.at_interface else Cause(State.INTERCEPTED, shown=seen.shown, interceptor=seen.interceptor)
    if seen.reply is Reply.UNREACHABLE:
        # That nobody listens there may be true by now; whatever else an error says, a firewall said.
        closed = not seen.icmp or seen.icmp.startswith(CLOSED)
        return (
            None
            if seen.at_interface and (closed or seen.by != conditions.address)
            else Cause(State.REJECTED, place(seen, missed), seen.by, icmp=seen.icmp)
        )
    # Silence of a service whose host got the probes may be its own, unless it answers others.
    tries = seen.answers_sent or (seen.at_interface if seen.alive else 0) if seen.at_interface else seen.sent
    if chance_of_service(tries or 0, conditions.loss) > MAX_CHANCE:
        return None
    return Cause(State.FILTERED, place(seen, missed))


def chance_of_service(tries: int, loss: float) -> float:
    """How probable it is that the path lost that many tries of one UDP port, which no canaries went along with."""
    return max(loss, UNMEASURED_LOSS) ** tries


def _is_crowded_out(seen: Observation, conditions: Conditions) -> bool:
    """Whether a TCP port that proved nothing may be open, and the server had no room or no time for it.

    In a flood of connections its kernel drops what opens one, or the packet after, which leaves it mute; or it resets
    one that stood, as the server does that gives one up. A SYN is refused by neither. A server that comes late to its
    ports leaves mute what its kernel took.
    """
    counters = conditions.counters
    cut = seen.reply is Reply.MUTE or (seen.reply is Reply.REFUSED and seen.received is not None)
    dropped = bool(counters.listen_drops) and (cut or seen.reply is Reply.NOTHING)
    came = seen.at_interface != 0 or bool(counters.capture_drops)
    late = bool(counters.slow_turns) and cut and seen.service is None  # a service has a program of its own
    return came and (dropped or late)


def _is_taken(seen: Observation, conditions: Conditions) -> bool:
    """Whether somebody took a connection that the server never got: before its host, or on it.

    Whoever stops what follows a SYN makes the port as mute; then the SYN came, and the rest did not, or came in vain.
    """
    if seen.at_interface:
        return seen.connections == 0 and seen.place is Where.UNKNOWN
    return seen.at_interface == 0 and _tcp_place(seen, conditions) is Where.BEFORE_SERVER


def _tcp_place(seen: Observation, conditions: Conditions) -> Where:
    if seen.place is None:
        return Where.RETURN_PATH if seen.at_socket else Where.UNKNOWN
    missed = bool(conditions.counters.capture_drops) and not seen.at_interface
    others = seen.reply is Reply.NOTHING and bool(seen.connections)  # of somebody behind the same address
    if missed or others or (seen.place is Where.RETURN_PATH and seen.received):  # either way may stop the rest
        return Where.UNKNOWN
    if seen.place is Where.RETURN_PATH and seen.received == 0 and not seen.connections:
        # The server's SYN came back, and what the client sent then did not arrive; who is reset may not have sent.
        return Where.BEFORE_SERVER if seen.reply is Reply.MUTE else Where.UNKNOWN
    return seen.place


def judge(plan: Plan, observations: Observations, conditions: Conditions) -> tuple[Finding, ...]:
    """The findings of one address, in the plan's order: every planned port is in exactly one."""
    closed = [
        seen for seen in observations.get(Transport.TCP, {}).values() if seen.accepted_before and is_stopped(seen)
    ]
    conditions = replace(conditions, closed=(*conditions.closed, *closed))
    findings = [
        finding
        for row in plan.requirements
        for finding in _findings(row, observations[row.transport], conditions)
    ]  # fmt: skip
    findings = _with_chance(findings, conditions.chance, of_large=False)
    return tuple(_with_chance(findings, conditions.chance_of_large, of_large=True))


def _with_chance(findings: list[Finding], chance: float | None, of_large: bool) -> list[Finding]:
    """The findings, each that loss could have made with its part of the chance for that."""

    def is_one(finding: Finding) -> bool:
        filtered = finding.transport is Transport.UDP and finding.state is State.FILTERED
        return filtered and finding.evidence.chance is None and finding.only_small is of_large

    silent = sum(len(one.ports) for one in findings if is_one(one))
    if chance is None or not silent:
        return findings
    return [replace(one, evidence=replace(one.evidence, chance=chance / silent * len(one.ports)))
            if is_one(one) else one
            for one in findings]  # fmt: skip


def _findings(row: Requirement, observations: Mapping[int, Observation], conditions: Conditions) -> list[Finding]:
    members = [observations[port] for port in row.ports]
    causes = [classify(seen, conditions) for seen in members]
    if row.transport is Transport.UDP:
        causes = settle(members, causes, conditions)
    causes = [_honest(cause, conditions) for cause in causes]
    return [_finding(row, [members[number] for number in numbers], cause, conditions)
            for cause, group in groupby(range(len(members)), key=causes.__getitem__)
            for numbers in [list(group)]]  # fmt: skip


def _honest(cause: Cause, conditions: Conditions) -> Cause:
    """Without the server as who refused what never came to it: somebody before it used its address."""
    pretended = cause.where is Where.BEFORE_SERVER and cause.by == conditions.address
    return replace(cause, by=None) if pretended and cause.by else cause


def settle(seen: Sequence[Observation], causes: list[Cause], conditions: Conditions) -> list[Cause]:
    """Judge what neighbouring UDP ports that are stopped have in common by all of them together."""
    loss = min(conditions.loss, loss_before(seen))
    # What a sample left out, or somebody holds, is no end of a stretch.
    tried = [number for number, cause in enumerate(causes) if cause.state is not State.UNTESTED]
    for stopped, group in groupby(tried, lambda number: causes[number].state in (State.FILTERED, State.REJECTED)):
        stretch = list(group)
        if not stopped:
            continue
        missed = bool(conditions.counters.capture_drops)
        wheres = places([seen[number] for number in stretch], loss, missed)
        for number, where in zip(stretch, wheres):
            causes[number] = replace(causes[number], where=where)
        for _, alike in groupby(stretch, lambda number: causes[number].where):
            _refuse_alike(seen, causes, list(alike))
    return causes


def _refuse_alike(seen: Sequence[Observation], causes: list[Cause], stretch: Sequence[int]) -> None:
    """Neighbouring ports stopped at one place: refused, too, are those of which limited ICMP errors told nothing."""
    if causes[stretch[0]].where is Where.RETURN_PATH:  # they were let in
        return
    refused = [causes[number] if causes[number].state is State.REJECTED else None for number in stretch]
    always = all((seen[number].errors or 0) >= (seen[number].sent or 0)
                 for number, cause in zip(stretch, refused) if cause)  # fmt: skip
    if not always:
        for number, cause in zip(stretch, refusal.extend(refused)):
            causes[number] = cause or causes[number]


def _finding(row: Requirement, members: Sequence[Observation], cause: Cause, conditions: Conditions) -> Finding:
    # They may explain silence; beside anything else they would be noise.
    counters = _of(row.transport, conditions.counters) if cause.state in (State.FILTERED, State.UNKNOWN) else Counters()
    evidence = Evidence(
        _total(seen.sent for seen in members),
        _total(seen.at_interface for seen in members),
        _total(seen.at_socket for seen in members),
        _total(seen.answered for seen in members),
        left=_total(seen.answers_sent for seen in members),
        **vars(counters),
        errors=_total(seen.errors for seen in members),
        chance=_chance_of_services(members, conditions.loss) if cause.state is State.FILTERED else None,
        **_measured(members[0], cause, conditions),
    )
    ports = PortRange(members[0].port, members[-1].port)
    return Finding(row.transport, ports, row.need, row.purpose, **vars(cause), evidence=evidence)


def _chance_of_services(members: Sequence[Observation], loss: float) -> float | None:
    """What loss may have done to UDP ports that were tried through services; None where these are none."""
    if any(seen.service is None or seen.transport is Transport.TCP for seen in members):
        return None
    return sum(chance_of_service(seen.answers_sent or seen.sent or 0, loss) for seen in members)


def _of(transport: Transport, counters: Counters) -> Counters:
    """Those of one transport."""
    of_tcp = Counters(listen_drops=counters.listen_drops, slow_turns=counters.slow_turns)
    return of_tcp if transport is Transport.TCP else replace(counters, listen_drops=None, slow_turns=None)


def _measured(seen: Observation, cause: Cause, conditions: Conditions) -> dict[str, Any]:
    """What was measured of the limit that kept ports from a verdict, if it was one on small probes."""
    limit = conditions.limit
    of_connections = seen.transport is Transport.TCP and cause.reason is Reason.RATE_LIMIT
    if limit is None or cause.reason is not limit.reason or of_connections or seen.only_small:
        return {}
    return {"rate": _tenths(limit.rate), "flows": limit.flows, "seconds": _tenths(limit.seconds)}


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)  # more was not measured


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum of what was measured; None where nothing was."""
    measured = [count for count in counts if count is not None]
    return sum(measured) if measured else None


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Whether users can come in at one address."""
    states = {finding.state for finding in findings if finding.need is Need.REQUIRED}
    if states & BLOCKED:
        return Verdict.FAIL
    return Verdict.PASS if states == {State.OPEN} else Verdict.INCONCLUSIVE


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of all addresses together."""
    found = set(verdicts)
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.PASS if found == {Verdict.PASS} else Verdict.INCONCLUSIVE
