"""Say in sentences what a check noticed beside the findings."""

from __future__ import annotations

from typing import Iterable, Iterator

from ..core.address import is_internal, parse_address
from ..core.counters import Counters
from ..core.observation import Reason
from ..core.plan import Protocol, Transport, protocol_of
from ..core.ports import list_ports, port_ranges
from ..core.report import Finding
from ..sweep.sweep import AnySweep
from .evidence import CheckEvidence, ControlEvidence, ServiceEvidence

# Packets a second: what lets more of them pass hardly slows a check, nor would anybody else notice it.
NOTABLE_RATE = 3_000
_BUSY = "check again while it is less busy"


def notes(evidence: CheckEvidence, findings: Iterable[Finding]) -> Iterator[str]:
    """Yield what users have to know of this check, and no finding says."""
    counters = evidence.server.counters
    yield from _of_addresses(evidence.control)
    yield from _of_services(evidence.services)
    yield from _without_tls(evidence)
    if not counters.receive_errors:  # what the server lost itself looks like a limit on the way
        yield from of_limit(evidence.udp.combined)
    unsure = any(finding.transport is Transport.TCP and finding.reason is Reason.RATE_LIMIT for finding in findings)
    yield from _of_server(counters, unsure)


def _of_addresses(control: ControlEvidence) -> Iterator[str]:
    address = parse_address(control.address)
    if control.local and parse_address(control.local) == address:
        yield "This is the server's own computer: no packet passed a firewall outside it. Check from another one too."
    elif is_internal(address):
        yield ("This is an address of a private network: users outside cannot reach it, and no firewall in front of "
               "the public address was tested. Check the public address from outside too.")  # fmt: skip
    if control.refusal:
        message, hint = control.refusal
        yield f"The server ended this check: {message}. What to do: {hint}."
    if not control.is_own:
        yield f"No control channel could be opened to this address; it was checked through {control.through}."


def _of_services(services: ServiceEvidence) -> Iterator[str]:
    for port, answer in services.signalling.items():
        if answer:
            yield (f"An upgrade to a WebSocket on {port}/tcp does not reach LiveKit's signalling ({answer}): "
                   "nobody can join a meeting, unless this name is for TURN alone.")  # fmt: skip
        else:
            yield f"An upgrade to a WebSocket on {port}/tcp reaches LiveKit's signalling."
    for port in services.stale:
        yield (f"The certificate that {port}/tcp presents is none of those on the server's disk: reload the service "
               "that holds the port (`systemctl reload haproxy`).")  # fmt: skip


def _without_tls(evidence: CheckEvidence) -> Iterator[str]:
    """Yield which ports were tried without the TLS that calls will use."""
    untested, rows = evidence.server.untested[Transport.TCP], evidence.plan.of(Transport.TCP)
    ports = [port for row in rows for port in row.ports
             if port not in untested and protocol_of(Transport.TCP, port, row.purpose) is Protocol.TLS]  # fmt: skip
    if ports and not evidence.server_has_tls:
        listed = list_ports(port_ranges(ports), "tcp")
        yield (f"The server has no openssl program, so {listed} was tried without TLS: a firewall may treat that "
               "otherwise.")  # fmt: skip


def of_limit(sweep: AnySweep | None) -> Iterator[str]:
    """Yield the limit that the check met and got along with."""
    limit = sweep.limit if sweep and sweep.conclusive else None
    if limit and limit.rate is not None and limit.reason is Reason.RATE_LIMIT and limit.rate < NOTABLE_RATE:
        yield f"Something on the path lets only about {limit.rate:,.0f} packets a second pass; the check kept to that."
    if limit and limit.reason is Reason.FLOW_LIMIT:
        yield (f"A connection-tracking table on the path has room for only about {limit.flows or 0:,} connections; "
               "the check kept to that.")  # fmt: skip
    if limit and limit.reason is Reason.SCAN_BLOCK:
        yield f"Something on the path blocked this computer for {limit.seconds or 0:,.0f} s, as scan protection does."


def _of_server(counters: Counters, unsure: bool) -> Iterator[str]:
    """Yield what the server itself lost; `unsure` says that it left TCP ports unknown."""
    if counters.conntrack_drops:
        packets = _count(counters.conntrack_drops, "packet")
        yield (f"The server's connection-tracking table was full and dropped {packets} during the check: "
               "raise net.netfilter.nf_conntrack_max.")  # fmt: skip
    if counters.receive_errors:
        packets = _count(counters.receive_errors, "UDP packet")
        yield f"The server did not read {packets} in time and lost them during the check: {_BUSY}."
    if unsure and counters.slow_turns:
        yield f"The server was too busy to serve its TCP ports in time: {_BUSY}."
    if counters.listen_drops:
        yield f"The server had no room for some TCP connections during the check: {_BUSY}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
