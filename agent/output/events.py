"""Render what the server reports while it runs as text."""

from __future__ import annotations

import shlex
from typing import Iterable

from ..core import events
from ..core.address import Address, Family
from ..core.errors import UserError
from ..core.observation import Reason
from ..core.plan import CONTROL_PORTS, Transport
from ..core.ports import PortRange, list_ports
from .style import Style

ARCHIVE = "pnmcheck.pyz"


def error_text(error: UserError, style: Style) -> str:
    """Return an error in three short parts: what happened, why, what to do."""
    lines = style.wrap(f"pnmcheck: {error.what}", 0)
    if error.why:
        lines += style.wrap(f"why: {error.why}", 2)
    return "\n".join([*lines, *style.wrap(f"what to do: {error.hint}", 2)]) + "\n"


def to_text(event: events.Event, style: Style) -> str:
    """Return an event in words, with a newline at its end; empty for a report, which output.text renders."""
    return "".join(f"{line}\n" for line in _lines(event, style))


def _lines(event: events.Event, style: Style) -> Iterable[str]:
    if isinstance(event, events.Listening):
        return (*_ports_in_words(event, style), *_access(event, style), *_next_step(event, style))
    if isinstance(event, events.Notes):
        return _notes(event, style)
    if isinstance(event, events.SessionStarted):
        return [f"{event.client} started a check."]
    if isinstance(event, events.ClientRefused):
        text = f"{event.client} was refused: {event.problem.message}. What to do: {event.problem.hint}."
        return style.wrap(text, 0)
    if isinstance(event, events.ClientLost):
        return [f"{event.client} disconnected during its check."]
    if isinstance(event, events.EventsSuppressed):
        return [f"{event.count} more such lines were left out: too many at a time."]
    if isinstance(event, events.StopPlan):
        return _stop_plan(event, style)
    if isinstance(event, events.ServiceTransition):
        return style.wrap(f"{event.service} {_STEPS[event.step]}" + (event.why and f": {event.why}"), 2)
    if isinstance(event, events.ServerStopped):
        return [f"Stopped: {event.why}."]
    return ["Nothing to start: no service was left stopped."] if event == events.ServicesRestored((), ()) else []


_STEPS = {
    events.Step.STOPPING: "is being stopped",
    events.Step.STOPPED: "is stopped",
    events.Step.NOT_STOPPED: "did not stop",
    events.Step.STARTING: "is being started",
    events.Step.RUNNING: "runs again",
    events.Step.FAILED: "does not run again",
}


def _stop_plan(event: events.StopPlan, style: Style) -> Iterable[str]:
    for service in event.services:
        names = ", ".join((service.name, *service.members))
        yield from style.wrap(f"will be stopped: {names} {_in_brackets(service.ports)}", 2)
    for left in event.left:
        yield _warning(f"keeps running: {left.owner} {_in_brackets(left.ports)}: {left.why}", style)
    if not event.services:
        yield "No service needs to be stopped."
        return
    yield ""
    text = (
        f"They stop in this order. Calls are cut until the check is over, {_duration(event.seconds)} at most, also if "
        f"no client connects. Then they start again. Have this command ready on a computer outside the firewall: "
        f"`python3 {ARCHIVE} client HOST`"
    )
    yield from style.wrap(text, 0)


def _in_brackets(ports: Iterable[tuple[Transport, PortRange]]) -> str:
    runs: dict[Transport, list[PortRange]] = {}
    for transport, run in ports:
        runs.setdefault(transport, []).append(run)
    text = "; ".join(list_ports(runs[transport], transport.value) for transport in Transport if transport in runs)
    return f"({text})" if text else ""


def _ports_in_words(event: events.Listening, style: Style) -> Iterable[str]:
    """Yield what the server listens on, and what it could not bind and why."""
    for transport in Transport:
        ports = list_ports([run for other, run in event.listening if other is transport], transport.value)
        yield from style.wrap(f"{transport.value}  {ports.replace('/' + transport.value, '') or 'none'}", 2)
    for row in event.planned:
        yield from style.wrap(f"{row.ports}/{row.transport.value} from {row.source}", 2)
    for note in event.notes:
        yield _warning(note, style)
    if event.live:
        ranges = list_ports(event.partitions, "udp")
        media = f"; during a check pnmcheck binds the free ports of {ranges}, half of them at a time"
        yield from style.wrap("services keep running" + (media if event.partitions else ""), 2)
    yield from _unavailable(event, style)


def _unavailable(event: events.Listening, style: Style) -> Iterable[str]:
    groups: dict[tuple[Transport, Reason, str | None, Family | None], list[PortRange]] = {}
    for row in event.unavailable:
        groups.setdefault((row.transport, row.reason, row.owner, row.family), []).append(row.ports)
    hidden = "a program that only root can see" if event.capture_unavailable else "a program that has released it since"
    for (transport, reason, owner, family), ranges in groups.items():
        why = _WHY.get(reason, owner or hidden)
        yield _warning(f"not {list_ports(ranges, transport.value)}{_ON[family]}, {reason.value}: {why}", style)
    if not event.live and any((transport, reason) == (Transport.TCP, Reason.BUSY) for transport, reason, *_ in groups):
        yield from style.wrap(_IN_SERVICE, 2)


_ON = {Family.IPV4: " on IPv4", Family.IPV6: " on IPv6", None: ""}
_IN_SERVICE = (
    "Busy ports are not tested. `--stop-services` stops the services for the check and starts them again; "
    "`--live --control PORT` leaves them running."
)
_WHY = {
    Reason.DENIED: "start with sudo to test it",
    Reason.LIMIT: "too many open files; as root: ulimit -n 65536, then start again",
}


def _access(event: events.Listening, style: Style) -> Iterable[str]:
    """Yield who can start a check, and what the server cannot see or cannot give up."""
    channel = "with TLS" if event.tls else "not encrypted: there is no openssl program here"
    paired = ", only for clients with the key" if event.key else ""
    yield from style.wrap(f"control channel on {event.control}/tcp, {channel}{paired}", 2)
    if event.capture_unavailable:
        why = event.capture_unavailable
        yield _warning(f"cannot watch the network interface, so where a port is blocked stays unknown: {why}", style)
    if event.root:
        yield _warning(f"the process that reads from the network keeps the rights of {event.root}", style)


def _next_step(event: events.Listening, style: Style) -> Iterable[str]:
    yield from ("", "Now run this on a computer outside the firewall (on Windows: py, not python3):", "")
    yield from ("  " + style.paint(_command(event), "bold"), "")
    if event.key_known:
        yield "Set PNMCHECK_KEY there to the same key first."
    if not _public(event):
        own = f" (this machine has {' and '.join(map(str, event.own_addresses))})" if event.own_addresses else ""
        yield from style.wrap(f"HOST is this server's public name or address{own}.", 0)
    yield f"The server stops after {_duration(event.seconds)}, or with ctrl-C."


def _notes(event: events.Notes, style: Style) -> Iterable[str]:
    if event.problems:
        yield from ("", *style.wrap("Other problems on this server (they do not change the result):", 0))
    for note in event.problems:
        yield _warning(note.what, style)
        yield from style.wrap(f"Effect: {note.breaks}", 4)
        yield from style.wrap(f"What to do: {note.fix}", 4)
        yield from (style.paint(f"      {style.clean(command)}", "bold") for command in note.commands)  # never wrapped
    rest = [f"No problem: {', '.join(event.fine)}."] if event.fine else []
    rest += [f"Not checked: {', '.join(event.unknown)}."] if event.unknown else []
    yield from style.wrap(" ".join(rest), 0)


def _warning(text: str, style: Style) -> str:
    return style.paint("\n".join(style.wrap(text, 2)), "yellow")


def _command(event: events.Listening) -> str:
    control = "" if event.control in CONTROL_PORTS else f" --control {event.control}"
    public = _public(event)
    key = f" --key {shlex.quote(event.key)}" if event.key and not event.key_known else ""
    return f"python3 {ARCHIVE} client {public[0] if public else 'HOST'}{control}{key}"


def _public(event: events.Listening) -> list[Address]:
    """Return the server's own addresses that the Internet routes, IPv4 first as they come."""
    return [address for address in event.own_addresses if address.is_global]


def _duration(seconds: float) -> str:
    size, name = next((row for row in ((3600, "hour"), (60, "minute")) if seconds % row[0] == 0), (1, "second"))
    count = f"{seconds / size:.0f}"
    return f"{count} {name}" if count == "1" else f"{count} {name}s"
