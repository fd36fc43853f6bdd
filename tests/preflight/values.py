"""What the tests of this folder share: a machine, its plan and what is installed there."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from agent.config.model import Installed
from agent.core.address import Family
from agent.core.events import Note, Notes
from agent.core.plan import Plan, build_plan
from agent.core.ports import PortRange
from agent.core.report import Report, Verdict
from agent.preflight import evaluate
from agent.preflight.model import Certificate, Machine
from agent.system.interfaces import Interface

PLAN = build_plan("plugnmeet")
DAY, NOW = 86_400, 1_800_000_000
PUBLIC, OTHER, PRIVATE, DOCKER, PUBLIC6 = map(
    ipaddress.ip_address, ("203.0.113.7", "203.0.113.9", "10.0.0.5", "172.17.0.1", "2001:db8::7")
)
ETH0, ETH1 = Interface("eth0", (PUBLIC,)), Interface("eth1", (PRIVATE,))
BRIDGE = Interface("docker0", (DOCKER,))
EPHEMERAL_CHECK, EPHEMERAL = "ports lent to outgoing connections", PortRange(32768, 60999)
CERTIFICATES = ((443, "/etc/haproxy/ssl/"),)
GOOD = Certificate("/etc/haproxy/ssl/meet.pem", NOW + 60 * DAY, ("meet.example", "turn.example"))
INSTALLED = Installed((), use_external_ip=True, turn_domain="turn.example", certificates=CERTIFICATES)
LAN = replace(INSTALLED, use_external_ip=False, certificates=())
V4, V6 = Family.IPV4, Family.IPV6
REPORT = Report("0.1.0", "2027-01-15T08:00:00Z", 10.0, "meet.example", "plugnmeet", Verdict.PASS)  # which is NOW


def codes(notes: Notes) -> list[str]:
    return [note.code for note in notes.problems]


def results(
    machine: Machine, installed: Installed | None = None, plan: Plan = PLAN
) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """The codes of the problems, the checks without any, and those without a result."""
    notes = evaluate.check_machine(machine, plan, installed)
    return codes(notes), notes.fine, notes.unknown


def only(notes: Notes | tuple[Note, ...]) -> Note:
    (note,) = notes.problems if isinstance(notes, Notes) else notes
    return note
