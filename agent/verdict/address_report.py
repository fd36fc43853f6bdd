"""Judge all that the check of one address found out: from evidence to findings, and from both to its report."""

from __future__ import annotations

from typing import Sequence

from ..core.plan import Transport
from ..core.report import AddressReport, ClientAddress, Finding
from ..sweep.sweep import combined_chance
from .advice import advise
from .conclusion import verdict_of
from .conditions import Conditions
from .evidence import CheckEvidence
from .findings import build_findings
from .notes import notes
from .observe import anything_came, fell_silent, measure_loss, measure_rtt, observe
from .tcp_state import is_stopped


def find(evidence: CheckEvidence) -> tuple[Finding, ...]:
    """Return the findings, not yet with the hops at which packets are stopped."""
    return build_findings(evidence.plan, observe(evidence), _conditions(evidence))


def make_report(evidence: CheckEvidence, findings: Sequence[Finding]) -> AddressReport:
    """Return the report of an address, by its evidence and what `find` made of that."""
    control, udp, findings = evidence.control, evidence.udp, tuple(findings)
    sweep = udp.combined
    return AddressReport(
        control.address,
        control.family,
        verdict_of(findings),
        control.channel,
        measure_rtt((sweep and sweep.rtts) or control.rtts),
        measure_loss(sweep, evidence.server),
        findings,
        advise(findings, udp.sample.hole if udp.sample else 0),
        tuple(notes(evidence, findings)),
        client=ClientAddress(control.local, control.mapped) if control.is_own else ClientAddress(),
    )


def _conditions(evidence: CheckEvidence) -> Conditions:
    control, server, udp = evidence.control, evidence.server, evidence.udp
    sweep, tcp = udp.combined, {**evidence.tcp.ports, **evidence.services.tcp}
    unplanned = [
        seen for port, seen in tcp.items() if not evidence.plan.has(Transport.TCP, port)
    ]  # the control channel's
    shut_out = evidence.tcp.shut_out or fell_silent(sweep, server)
    return Conditions(
        # Without a channel of its own, an address at which nothing stirs may be out of this computer's reach.
        control=not control.lost and (control.is_own or anything_came(sweep, tcp, server)),
        aborted=evidence.aborted,
        conclusive=bool(sweep and sweep.done and sweep.conclusive),
        chance=sweep.chance if sweep else None,
        chance_of_large=combined_chance(follow_up.sweep for follow_up in udp.follow_ups),
        unsure_of_large=next(filter(None, (follow_up.unsure for follow_up in udp.follow_ups)), None),
        loss=sweep.loss if sweep else 0.0,
        limit=sweep.limit if sweep and not control.moved else None,
        closed=tuple(filter(is_stopped, [*evidence.tcp.later, *unplanned])),
        shut_out=shut_out and not control.moved,
        counters=server.counters,
        address=control.address,
    )
