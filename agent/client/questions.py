"""Ask the server what it knows, as steps of a check, and keep what it said."""

from __future__ import annotations

from typing import Mapping, TypeVar

from ..core.observation import UNTESTED_REASONS, Observation, Reason, Reply, Where
from ..core.plan import Transport
from ..protocol import messages
from ..protocol.messages import PortTable
from ..sweep.sweep import Sweep
from ..verdict.evidence import ServerRecords
from ..verdict.tcp_state import is_stopped
from . import steps
from .control_client import ControlClient, ControlLost
from .steps import Steps

Answer = TypeVar("Answer", bound=messages.Message)

_REASONS = {reason.value: reason for reason in UNTESTED_REASONS}
_PLACES = {where.value: where for where in Where}


class ServerQuestions:
    """The questions of one session, and in `records` what the server answered.

    `is_own` says that the control channel leads to the address that is checked: else the server knows the TCP packets
    of this client by another address of its own.
    """

    def __init__(self, control: ControlClient, welcome: messages.Welcome, is_own: bool) -> None:
        self._control, self._welcome, self._is_own = control, welcome, is_own
        self.records = ServerRecords()

    def ask(self, question: messages.Message, expected: type[Answer]) -> Steps[Answer]:
        """Ask one question; ControlLost where its answer does not come, or is not of the expected type."""
        answer: Answer = yield steps.Ask(question, expected)
        return answer

    def rows(self, about: PortTable, transport: Transport) -> Steps[Mapping[int, int | str]]:
        """Return everything that the server knows of this matter, port by port; ControlLost."""
        rows: dict[int, int | str] = {}
        start: int | None = 1
        while start is not None:
            page = yield from self.ask(messages.AskRows(about, transport, start), messages.Rows)
            for ports, value in page.rows:
                rows.update(dict.fromkeys(ports, value))
            if page.next is not None and page.next <= start:  # it would be asked for ever
                raise ControlLost
            start = page.next
        return rows

    def counts(self, about: PortTable, transport: Transport) -> Steps[dict[int, int]]:
        """Return the rows that are numbers; ControlLost."""
        rows = yield from self.rows(about, transport)
        return {port: count for port, count in rows.items() if isinstance(count, int)}

    def ask_untested(self, *transports: Transport) -> Steps[None]:
        """Ask where the server does not listen, why (busy, if that is not known here), and if it may tell, who does."""
        for transport in transports:
            rows = yield from self.rows(PortTable.UNTESTED, transport)
            self.records.untested[transport] = {
                port: _REASONS.get(str(word), Reason.BUSY) for port, word in rows.items()
            }
            if rows and self._control.paired:
                owners = yield from self.rows(PortTable.OWNERS, transport)
                self.records.owners[transport] = {port: str(owner) for port, owner in owners.items()}

    def ask_records(self, sweep: Sweep, tcp: Mapping[int, Observation]) -> Steps[None]:
        """Ask what the server saw of the probes of a sweep, and of TCP, of which `tcp` came."""
        seen = ServerRecords()
        for transport in Transport:
            seen.sightings[transport] = yield from self.counts(PortTable.SIGHTINGS, transport)
            seen.redirected[transport] = yield from self.counts(PortTable.REDIRECTED, transport)
        shut = sweep.open < len(sweep.sent) or any(port.reply is not Reply.PROOF for port in tcp.values())
        # Of all parts or of none: what was not asked is not 0.
        if self._welcome.live or shut or self._control.confirmed:
            yield from self._ask_how_far(seen)
            if self._welcome.capture and self._is_own:  # else it knows this client by another address
                seen.at_interface[Transport.TCP] = yield from self.counts(PortTable.AT_INTERFACE, Transport.TCP)
                places = yield from self.rows(PortTable.PLACES, Transport.TCP)
                self.records.places = {port: _PLACES.get(str(word), Where.UNKNOWN) for port, word in places.items()}
        self.records.add(seen, sweep.sent)
        if self._is_own:
            self.records.connections = yield from self.counts(PortTable.CONNECTIONS, Transport.TCP)
            yield from self._ask_accepted_before(tcp)

    def udp_records(self) -> Steps[ServerRecords]:
        """Return what the server saw of UDP up to now."""
        seen = ServerRecords()
        seen.sightings[Transport.UDP] = yield from self.counts(PortTable.SIGHTINGS, Transport.UDP)
        yield from self._ask_how_far(seen)
        return seen

    def _ask_how_far(self, seen: ServerRecords) -> Steps[None]:
        """Ask how far the UDP probes came, and their answers."""
        seen.unanswered = yield from self.counts(PortTable.UNANSWERED, Transport.UDP)
        seen.receive_drops = yield from self.counts(PortTable.RECEIVE_DROPS, Transport.UDP)
        seen.answers_sent = yield from self.counts(PortTable.ANSWERS_SENT, Transport.UDP)
        if self._welcome.capture:
            seen.at_interface[Transport.UDP] = yield from self.counts(PortTable.AT_INTERFACE, Transport.UDP)

    def _ask_accepted_before(self, tcp: Mapping[int, Observation]) -> Steps[None]:
        """Ask which TCP ports let this client in before they were tried, where one is stopped now."""
        accepted: set[int] = set()
        if any(map(is_stopped, tcp.values())):
            counts = yield from self.counts(PortTable.ACCEPTED_BEFORE, Transport.TCP)
            # What comes in elsewhere was not let in where the server has it.
            elsewhere = self.records.redirected[Transport.TCP].values()
            accepted = {self._control.peer.port, *(counts.keys() - elsewhere)}
        self.records.accepted_before = accepted
