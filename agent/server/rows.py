"""Answers what a client asks of its own session, port by port."""

from __future__ import annotations

import itertools
from typing import Callable, Mapping, Union

from ..core.plan import Transport
from ..core.ports import ranges_by_value
from ..protocol import messages
from ..protocol.messages import PortTable
from .session import Session
from .state import Measurement, PortState, Settings

_Table = Union[Mapping[int, int], Mapping[int, str]]


def page(
    session: Session, ask: messages.AskRows, settings: Settings, ports: PortState, now: Measurement
) -> messages.Rows:
    """Return one page of what a client may know of its own session; `now` is for the receive drops alone."""
    udp, transport = ask.transport is Transport.UDP, ask.transport
    udp_tables: dict[PortTable, Callable[[], _Table]] = {
        PortTable.RECEIVE_DROPS: lambda: session.receive_drops(now),
        PortTable.UNANSWERED: lambda: session.unanswered,
        PortTable.ANSWERS_SENT: lambda: _answers_sent(session, settings.capture),
        PortTable.PARTITIONS: lambda: ports.partitions,
    }
    tcp_tables: dict[PortTable, Callable[[], _Table]] = {
        PortTable.PLACES: lambda: session.observer.places(settings.plan.ports(Transport.TCP)),
        PortTable.CONNECTIONS: lambda: session.connections,
        PortTable.ACCEPTED_BEFORE: lambda: dict.fromkeys(session.accepted_before, 1),
    }
    tables: dict[PortTable, Callable[[], _Table]] = {
        PortTable.SIGHTINGS: lambda: session.sightings[transport],
        PortTable.AT_INTERFACE: lambda: session.observer.at_interface[transport],
        PortTable.REDIRECTED: lambda: session.redirected[transport],
        PortTable.UNTESTED: lambda: _untested(session, transport, ports),
        PortTable.OWNERS: lambda: _owners(transport, ports) if session.paired else {},
        PortTable.SERVED: lambda: ports.served.get(transport, {}),
        **(udp_tables if udp else tcp_tables),
    }
    table: _Table = tables[ask.table]() if ask.table in tables else {}
    ascending = ((port, table[port]) for port in sorted(table) if port >= ask.start)
    rows = list(itertools.islice(ranges_by_value(ascending), messages.MAX_ROWS + 1))
    following = rows[messages.MAX_ROWS][0].first if len(rows) > messages.MAX_ROWS else None
    return messages.Rows(tuple(rows[: messages.MAX_ROWS]), following)


def _untested(session: Session, transport: Transport, ports: PortState) -> Mapping[int, str]:
    untested = ports.untested.get(session.family, {}).get(transport, {})
    return {port: reason.value for port, reason in untested.items()}


def _answers_sent(session: Session, capture: bool) -> Mapping[int, int]:
    """Return the UDP answers that left, by port: what the interface showed, else what the kernel took to send."""
    if capture:
        return session.observer.answers_sent
    return session.sightings[Transport.UDP] - session.unanswered - session.answers_not_sent


def _owners(transport: Transport, ports: PortState) -> Mapping[int, str]:
    """Return who holds the busy ports, of as many as fit into a line."""
    named = sorted(ports.owners.get(transport, {}).items())[: messages.MAX_OWNERS]
    return {port: owner[: messages.MAX_TEXT] for port, owner in named}
