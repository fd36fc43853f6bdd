"""What the server tells: words for people, and one JSON object a line for programs."""

from __future__ import annotations

import shlex
from typing import Any, Iterable

from ..core import report as reports
from ..core.address import Address, Family
from ..core.errors import UserError
from ..core.events import (
    ClientLost,
    ClientRefused,
    Event,
    EventsSuppressed,
    Listening,
    ReportReceived,
    ServerStopped,
    ServicesRestored,
    SessionStarted,
    StopPlan,
    Unavailable,
)
from ..core.notes import Notes
from ..core.observation import Reason
from ..core.plan import CONTROL_PORTS, Transport
from ..core.ports import PortRange, list_ports
from ..core.service import ServiceTransition, Step
from .style import Style

ARCHIVE = "pnmcheck.pyz"


def error_text(error: UserError, style: Style) -> str:
    """An error in three short parts: what happened, why, what to do."""
    lines = style.wrap(f"pnmcheck: {error.what}", 0)
    if error.why:
        lines += style.wrap(f"why: {error.why}", 2)
    return "\n".join([*lines, *style.wrap(f"what to do: {error.hint}", 2)]) + "\n"


def to_json(notice: Event) -> dict[str, Any]:
    """The notice as the event of `server --json`."""
    if isinstance(notice, Listening):
        return {
            "event": "listening",
            "control": notice.control,
            "listening": _runs_to_json(notice.listening),
            "untested": list(map(_untaken_to_json, notice.unavailable)),
            "capture": not notice.capture_unavailable,
            "tls": notice.tls,
            "paired": notice.key is not None,
            "key": None if notice.key_known else notice.key,
            "root": bool(notice.root),
            "planned": [{"transport": row.transport.value, "first": row.ports.first, "last": row.ports.last,
                         "need": row.need.value, "purpose": row.purpose, "source": row.source}
                        for row in notice.planned],
            "notes": list(notice.notes),
            "live": notice.live,
            "halves": [{"transport": "udp", "first": run.first, "last": run.last} for run in notice.partitions],
        }  # fmt: skip
    if isinstance(notice, Notes):
        notes = [{**vars(one), "commands": list(one.commands)} for one in notice.problems]
        return {"event": "notes", "notes": notes, "fine": list(notice.fine), "unknown": list(notice.unknown)}
    if isinstance(notice, SessionStarted):
        return {"event": "session", "client": str(notice.client)}
    if isinstance(notice, ReportReceived):
        return {"event": "report", "client": str(notice.client), "report": reports.to_json(notice.report)}
    if isinstance(notice, ClientRefused):
        return {"event": "refused", "client": str(notice.client), "error": vars(notice.problem)}
    if isinstance(notice, ClientLost):
        return {"event": "lost", "client": str(notice.client)}
    if isinstance(notice, EventsSuppressed):
        return {"event": "withheld", "count": notice.count}
    if isinstance(notice, StopPlan):
        return {
            "event": "services",
            "stopping": [
                {"name": one.name, "with": list(one.members), "ports": _runs_to_json(one.ports)}
                for one in notice.services
            ],
            "left": [{"owner": one.owner, "ports": _runs_to_json(one.ports), "why": one.why} for one in notice.left],
            "seconds": notice.seconds,
        }
    if isinstance(notice, ServiceTransition):
        return {"event": "service", **vars(notice)}
    if isinstance(notice, ServicesRestored):
        return {"event": "restored", "services": list(notice.running), "failed": list(notice.failed)}
    return {"event": "stopped", "why": notice.why}


def _runs_to_json(runs: Iterable[tuple[Transport, PortRange]]) -> list[dict[str, Any]]:
    return [{"transport": transport.value, "first": run.first, "last": run.last} for transport, run in runs]


def _untaken_to_json(one: Unavailable) -> dict[str, Any]:
    return {
        "transport": one.transport.value,
        "first": one.ports.first,
        "last": one.ports.last,
        "reason": one.reason.value,
        "owner": one.owner,
        "family": one.family and one.family.value,
    }


def to_text(notice: Event, style: Style) -> str:
    """The notice in words, with a newline at its end; empty for a report, which has a room of its own."""
    if isinstance(notice, Listening):
        return "\n".join(_listening(notice, style)) + "\n"
    if isinstance(notice, Notes):
        return "".join(f"{line}\n" for line in _notes(notice, style))
    if isinstance(notice, SessionStarted):
        return f"{notice.client} checks now.\n"
    if isinstance(notice, ClientRefused):
        text = f"{notice.client} was turned away: {notice.problem.message}. What to do: {notice.problem.hint}."
        return "\n".join(style.wrap(text, 0)) + "\n"
    if isinstance(notice, ClientLost):
        return f"{notice.client} went before its check was finished.\n"
    if isinstance(notice, EventsSuppressed):
        return f"{notice.count} more such lines were left out: too many came at a time.\n"
    if isinstance(notice, StopPlan):
        return "\n".join(_pausing(notice, style)) + "\n"
    if isinstance(notice, ServiceTransition):
        text = f"{notice.service} {_MOVED[notice.step]}" + (notice.why and f": {notice.why}")
        return "\n".join(style.wrap(text, 2)) + "\n"
    if isinstance(notice, ServicesRestored):
        return "Nothing is left to be started.\n" if notice == ServicesRestored((), ()) else ""
    return f"Stopped: {notice.why}.\n" if isinstance(notice, ServerStopped) else ""


_MOVED = {
    Step.STOPPING: "is being stopped",
    Step.STOPPED: "is stopped",
    Step.NOT_STOPPED: "did not stop",
    Step.STARTING: "is being started",
    Step.RUNNING: "runs again",
    Step.FAILED: "does not run again",
}


def _pausing(notice: StopPlan, style: Style) -> Iterable[str]:
    for one in notice.services:
        yield from style.wrap(f"to be stopped: {', '.join((one.name, *one.members))} {_ports(one.ports)}", 2)
    for left in notice.left:
        text = f"left alone: {left.owner} {_ports(left.ports)}: {left.why}"
        yield style.paint("\n".join(style.wrap(text, 2)), "yellow")
    if not notice.services:
        yield "No service has to be stopped."
        return
    yield ""
    yield from style.wrap(
        f"They stop in this order. Calls are cut until the check is over, {_duration(notice.seconds)} at most, also if "
        f"no client comes; then they are started again. Have this ready on a computer outside the firewall: "
        f"`python3 {ARCHIVE} client HOST`", 0,
    )  # fmt: skip


def _ports(ports: Iterable[tuple[Transport, PortRange]]) -> str:
    ports = tuple(ports)
    lists = (list_ports([run for one, run in ports if one is transport], transport.value)
             for transport in Transport if any(one is transport for one, _ in ports))  # fmt: skip
    text = "; ".join(lists)
    return f"({text})" if text else ""


def _listening(notice: Listening, style: Style) -> Iterable[str]:
    for transport in Transport:
        ports = list_ports([run for one, run in notice.listening if one is transport], transport.value)
        yield from style.wrap(f"{transport.value}  {ports.replace('/' + transport.value, '') or 'none'}", 2)
    for row in notice.planned:
        yield from style.wrap(f"{row.ports}/{row.transport.value} by {row.source}", 2)
    for note in notice.notes:
        yield style.paint("\n".join(style.wrap(note, 2)), "yellow")
    if notice.live:
        halves = list_ports(notice.partitions, "udp")
        held = f": of {halves} what they leave free is held while a check runs, and never more than half"
        yield from style.wrap("services go on running" + (held if notice.partitions else ""), 2)
    alike: dict[tuple[Transport, Reason, str | None, Family | None], list[PortRange]] = {}
    for one in notice.unavailable:
        alike.setdefault((one.transport, one.reason, one.owner, one.family), []).append(one.ports)
    for (transport, reason, owner, family), ranges in alike.items():
        why = owner or (
            "by a program that only root may see" if notice.capture_unavailable else "by a program that has let it go"
        )
        text = f"not {list_ports(ranges, transport.value)}{_ON[family]}, {reason.value}: {_WHY.get(reason, why)}"
        yield style.paint("\n".join(style.wrap(text, 2)), "yellow")
    if not notice.live and any(
        (one.transport, one.reason) == (Transport.TCP, Reason.BUSY) for one in notice.unavailable
    ):
        yield from style.wrap(_IN_SERVICE, 2)
    channel = "inside TLS" if notice.tls else "not encrypted, since there is no openssl program here"
    paired = ", only for clients with the pairing key" if notice.key else ""
    yield from style.wrap(f"control on {notice.control}/tcp, {channel}{paired}", 2)
    if notice.capture_unavailable:
        why = notice.capture_unavailable
        text = f"the network interface is not watched, so what stops a blocked port stays unknown: {why}"
        yield style.paint("\n".join(style.wrap(text, 2)), "yellow")
    if notice.root:
        text = f"what reads from the network keeps all rights of {notice.root}"
        yield style.paint("\n".join(style.wrap(text, 2)), "yellow")
    yield ""
    yield "Now, on a computer outside the firewall (on Windows with py for python3):"
    yield ""
    yield "  " + style.paint(_command(notice), "bold")
    yield ""
    if notice.key_known:
        yield "Set PNMCHECK_KEY there to the same key first."
    if not _public(notice):
        own = f" (here it has {' and '.join(map(str, notice.own_addresses))})" if notice.own_addresses else ""
        yield from style.wrap(f"HOST is this server's public name or address{own}.", 0)
    yield f"This ends after {_duration(notice.seconds)}, or with ctrl-C."


_ON = {Family.IPV4: " on IPv4", Family.IPV6: " on IPv6", None: ""}
_IN_SERVICE = (
    "What is busy is not tested. Start with `--stop-services` to have it stopped for the check and started again, or "
    "with `--live --control PORT` to leave it running."
)
_WHY = {
    Reason.DENIED: "start with sudo to have it tested",
    Reason.LIMIT: "too many open files; as root: ulimit -n 65536, then start again",
}


def _notes(notice: Notes, style: Style) -> Iterable[str]:
    if notice.problems:
        yield from ("", *style.wrap("Amiss on this machine, beside the ports; no verdict depends on it:", 0))
    for one in notice.problems:
        yield style.paint("\n".join(style.wrap(one.what, 2)), "yellow")
        yield from style.wrap(f"It breaks: {one.breaks}", 4)
        yield from style.wrap(f"What to do: {one.fix}", 4)
        yield from (style.paint(f"      {style.clean(command)}", "bold") for command in one.commands)  # never wrapped
    others = (
        f"{word}: {', '.join(names)}"
        for word, names in (("in order", notice.fine), ("not found out", notice.unknown))
        if names
    )
    rest = "; ".join(others)
    if rest:
        yield from style.wrap(f"{rest[0].upper()}{rest[1:]}.", 0)


def _command(notice: Listening) -> str:
    control = "" if notice.control in CONTROL_PORTS else f" --control {notice.control}"
    public = _public(notice)
    key = f" --key {shlex.quote(notice.key)}" if notice.key and not notice.key_known else ""
    return f"python3 {ARCHIVE} client {public[0] if public else 'HOST'}{control}{key}"


def _public(notice: Listening) -> list[Address]:
    """Those of the server's own addresses that the Internet knows; IPv4 first, since it has that order."""
    return [address for address in notice.own_addresses if address.is_global]


def _duration(seconds: float) -> str:
    for size, name in ((3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {name}{'s' if seconds > size else ''}"
    return f"{seconds:.0f} seconds"
