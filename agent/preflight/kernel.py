"""Check the kernel's settings and clock: outgoing ports, connection tracking, receive buffers."""

from __future__ import annotations

import calendar
import re
from typing import Iterator

from ..config.model import Installed
from ..core.events import Note
from ..core.plan import MEDIA, Plan, Transport
from ..core.ports import list_ports, port_ranges
from ..core.report import Report
from .model import CheckResult, Machine

# LiveKit warns of a buffer below 5,000,000 bytes by the kernel's count, which is twice what was asked for (socket(7)).
MIN_RECEIVE_BUFFER, SUGGESTED_RECEIVE_BUFFER = 2_500_000, 5_000_000
# Entries of connection tracking for each planned port: participants have some each, and so have web pages and SSH.
FLOWS_PER_PORT = 4
# LiveKit's leeway for the times in tokens (protocol, auth/verifier.go).
CLOCK_SECONDS = 60
_UTC = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z")
_CLOCK_BREAKS = "Tokens and certificates are refused once two machines' clocks differ by more than a minute."
_SET_CLOCK = ("timedatectl set-ntp true",)


def check_ephemeral_ports(machine: Machine, plan: Plan) -> CheckResult:
    """Check that Linux takes no planned UDP port for outgoing connections."""
    if machine.ephemeral_ports is None or machine.reserved_ports is None:
        return ""
    shared = {*plan.ports(Transport.UDP)}.intersection(machine.ephemeral_ports)
    unreserved = port_ranges(shared - machine.reserved_ports)
    if not unreserved:
        return ()
    return (Note(
        "lent-ports",
        f"Linux may use {list_ports(unreserved, 'udp')} for its own outgoing connections, which use "
        f"{machine.ephemeral_ports}.",
        "LiveKit cannot use a port meanwhile, and a check finds it busy.",
        "Reserve these ports: programs that ask for one, as LiveKit does, still get it.",
        _sysctl("net.ipv4.ip_local_reserved_ports", ",".join(map(str, port_ranges(machine.reserved_ports | shared)))),
    ),)  # fmt: skip


def check_conntrack(machine: Machine, plan: Plan) -> CheckResult:
    """Check that connection tracking has an entry for each planned UDP port."""
    ports = len({*plan.ports(Transport.UDP)})
    if machine.conntrack_max is None or machine.conntrack_max >= ports:
        return () if machine.conntrack_max else None
    return (Note(
        "conntrack-size",
        f"Connection tracking on this server has room for {machine.conntrack_max:,} connections, fewer than the "
        f"{ports:,} UDP ports.",
        "When it is full, Linux drops every new connection: calls, web pages and SSH.",
        "Raise the limit; each connection takes about 300 bytes of memory.",
        _sysctl("net.netfilter.nf_conntrack_max", 1 << (FLOWS_PER_PORT * ports - 1).bit_length()),
    ),)  # fmt: skip


def check_receive_buffers(machine: Machine, installed: Installed | None) -> CheckResult:
    """Check the receive buffer of a port that all participants share. For a port each, LiveKit asks for no more."""
    sources = [row.source or "" for row in installed.requirements if row.purpose == MEDIA] if installed else []
    if not any("udp_port" in source.lower().replace("-", "_") for source in sources):
        return None
    if machine.max_receive_buffer is None:
        return ""
    if machine.max_receive_buffer >= MIN_RECEIVE_BUFFER:
        return ()
    return (Note(
        "receive-buffer",
        f"Linux allows a receive buffer of only {machine.max_receive_buffer:,} bytes.",
        "All media comes to one UDP port of LiveKit, which loses packets in busy meetings.",
        "Allow a larger one, then restart LiveKit.",
        _sysctl("net.core.rmem_max", SUGGESTED_RECEIVE_BUFFER),
    ),)  # fmt: skip


def _sysctl(name: str, value: object) -> tuple[str, ...]:
    """Return the commands that set a value now and at each start."""
    return f"sysctl -w {name}={value}", f"echo '{name} = {value}' > /etc/sysctl.d/60-{name}.conf"


def check_clock(machine: Machine) -> CheckResult:
    """Check that a time server sets the clock."""
    if machine.clock_synchronized is None:
        return machine.errors.get("clock", "").rstrip(".")
    if machine.clock_synchronized:
        return ()
    return (Note("clock-unset", "No time server sets this server's clock.", _CLOCK_BREAKS, "Turn on network time.",
                 _SET_CLOCK),)  # fmt: skip


def check_client_clock(report: Report, now: float) -> Iterator[Note]:
    """Compare this server's clock with the one of a client whose report came at `now`."""
    match = _UTC.fullmatch(report.started)
    try:
        difference = now - calendar.timegm(tuple(map(int, match.groups() if match else ()))) - report.elapsed
    except ValueError:  # not a time
        return
    if abs(difference) > CLOCK_SECONDS:
        yield Note(
            "clocks-apart",
            f"This server's clock is {abs(difference) / 60:,.0f} min {'ahead of' if difference > 0 else 'behind'} the "
            "client's.",
            f"If the server's is wrong: {_CLOCK_BREAKS}",
            "Compare `date -u` on both, and turn on network time where it is wrong.",
            _SET_CLOCK,
        )
