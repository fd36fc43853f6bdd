"""Join the checks of the server itself into notes: what this machine tells, what others tell, what a client tells."""

from __future__ import annotations

from typing import Mapping

from ..config.model import Installed
from ..core.address import Address, Family
from ..core.events import Note, Notes
from ..core.plan import Plan
from ..core.report import Report
from .addresses import check_dialled, check_dns, check_hairpin, check_node_ip, check_stun
from .certificates import check_certificates
from .interfaces import check_interfaces
from .kernel import check_client_clock, check_clock, check_conntrack, check_ephemeral_ports, check_receive_buffers
from .model import CheckResult, Machine, OutsideAnswers


def check_machine(machine: Machine, plan: Plan, installed: Installed | None) -> Notes:
    """Return the notes on what this machine tells about itself."""
    return _notes({
        "ports lent to outgoing connections": check_ephemeral_ports(machine, plan),
        "connection tracking's size": check_conntrack(machine, plan),
        "receive buffers": check_receive_buffers(machine, installed),
        "clock": check_clock(machine),
        "interfaces": check_interfaces(machine, installed),
        "certificates": check_certificates(machine, installed),
    })  # fmt: skip


def check_outside(outside: OutsideAnswers, machine: Machine, installed: Installed) -> Notes:
    """Return the notes on what STUN servers and the DNS tell about this machine."""
    return _notes({
        "STUN": check_stun(outside),
        "node_ip": check_node_ip(outside, installed),
        "hairpin": check_hairpin(outside, machine),
        **{f"DNS of {name}": check_dns(name, outside, machine, installed) for name in outside.dns_records or ()},
    })  # fmt: skip


def check_report(report: Report, now: float, offered: Mapping[Family, Address]) -> tuple[Note, ...]:
    """Return the notes on what a client's report, which came at `now`, tells; anybody can have written it."""
    return (*check_client_clock(report, now), *check_dialled(report, offered))


def _notes(results: Mapping[str, CheckResult]) -> Notes:
    return Notes(
        tuple(note for result in results.values() if isinstance(result, tuple) for note in result),
        tuple(name for name, result in results.items() if result == ()),
        tuple(f"{name} ({why})" if why else name for name, why in results.items() if isinstance(why, str)),
    )
