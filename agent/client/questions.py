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
from .control_client import ControlLost, ControlState
from .steps import Steps

Answer = TypeVar("Answer", bound=messages.Message)
Rows = Mapping[int, "int | str"]


class ServerQuestions:
    """The questions of one session, and in `records` what the server answered.

    `is_own` says that the control channel leads to the address that is checked: else the server knows the TCP packets
    of this client by another address of its own.
    """

    def __init__(self, control: ControlState, welcome: messages.Welcome, is_own: bool) -> None:
        self._control, self._welcome, self._is_own = control, welcome, is_own
        self.records = ServerRecords()

    def ask(self, expected: type[Answer], *questions: messages.Message) -> Steps[tuple[Answer, ...]]:
        answers: tuple[Answer, ...] = yield steps.Ask(questions, expected)
        return answers

    def rows(self, *tables: tuple[PortTable, Transport]) -> Steps[list[Rows]]:
        """Return everything that the server knows of these matters, port by port; ControlLost."""
        rows: list[dict[int, int | str]] = [{} for _ in tables]
        starts = dict.fromkeys(range(len(tables)), 1)
        while starts:
            questions = (messages.AskRows(*tables[number], start) for number, start in starts.items())
            pages = yield from self.ask(messages.Rows, *questions)
            before, starts = starts, {}
            for (number, start), page in zip(before.items(), pages):
                for ports, value in page.rows:
                    rows[number].update(dict.fromkeys(ports, value))
                if page.next is not None:
                    starts[number] = page.next
                    if page.next <= start:  # it would be asked for ever
                        raise ControlLost
        return list(rows)

    def _all_counts(self, *tables: tuple[PortTable, Transport]) -> Steps[list[dict[int, int]]]:
        found = yield from self.rows(*tables)
        return [{port: count for port, count in rows.items() if isinstance(count, int)} for rows in found]

    def counts(self, about: PortTable, transport: Transport) -> Steps[dict[int, int]]:
        (counts,) = yield from self._all_counts((about, transport))
        return counts

    def ask_untested(self, *transports: Transport) -> Steps[None]:
        """Ask where the server does not listen, why, and if it may tell, who has the ports."""
        found = yield from self.rows(*((PortTable.UNTESTED, transport) for transport in transports))
        for transport, rows in zip(transports, found):
            self.records.untested[transport] = {port: _reason(word) for port, word in rows.items()}
        if not self._control.paired:
            return
        asked = [transport for transport, rows in zip(transports, found) if rows]
        owners = yield from self.rows(*((PortTable.OWNERS, transport) for transport in asked))
        for transport, rows in zip(asked, owners):
            self.records.owners[transport] = {port: str(owner) for port, owner in rows.items()}

    def ask_records(self, sweep: Sweep, tcp: Mapping[int, Observation]) -> Steps[None]:
        """Ask what the server saw of the probes of a sweep, and of TCP, of which `tcp` came."""
        tables = [
            (about, transport) for transport in Transport for about in (PortTable.SIGHTINGS, PortTable.REDIRECTED)
        ]
        counts = iter((yield from self._all_counts(*tables)))
        seen = ServerRecords()
        for transport in Transport:
            seen.sightings[transport], seen.redirected[transport] = next(counts), next(counts)
        # Of all parts or of none: what was not asked is not 0.
        if self._welcome.live or _is_anything_shut(sweep, tcp) or self._control.confirmed:
            yield from self._ask_how_far(seen)
        self.records.add(seen, sweep.sent)
        if self._is_own:  # else the server knows this client by another address
            self.records.connections = yield from self.counts(PortTable.CONNECTIONS, Transport.TCP)
            yield from self._ask_accepted_before(tcp)

    def _ask_how_far(self, seen: ServerRecords) -> Steps[None]:
        """Ask what the server's interface showed."""
        yield from self._ask_how_far_udp(seen)
        if not self._welcome.capture or not self._is_own:  # it knows this client by another address
            return
        syns, places = yield from self.rows((PortTable.AT_INTERFACE, Transport.TCP), (PortTable.PLACES, Transport.TCP))
        seen.at_interface[Transport.TCP] = {port: count for port, count in syns.items() if isinstance(count, int)}
        words = {where.value: where for where in Where}
        self.records.places = {port: words.get(str(word), Where.UNKNOWN) for port, word in places.items()}

    def _ask_how_far_udp(self, seen: ServerRecords) -> Steps[None]:
        tables = [
            PortTable.UNANSWERED,
            PortTable.RECEIVE_DROPS,
            PortTable.ANSWERS_SENT,
            *([PortTable.AT_INTERFACE] if self._welcome.capture else []),
        ]
        counts = yield from self._all_counts(*((about, Transport.UDP) for about in tables))
        seen.unanswered, seen.receive_drops, seen.answers_sent, *at_interface = counts
        seen.at_interface[Transport.UDP] = at_interface[0] if at_interface else None

    def udp_records(self) -> Steps[ServerRecords]:
        """Return what the server saw of UDP up to now."""
        seen = ServerRecords()
        seen.sightings[Transport.UDP] = yield from self.counts(PortTable.SIGHTINGS, Transport.UDP)
        yield from self._ask_how_far_udp(seen)
        return seen

    def _ask_accepted_before(self, tcp: Mapping[int, Observation]) -> Steps[None]:
        """Ask which TCP ports let this client in before they were tried, where one is stopped now."""
        if not any(map(is_stopped, tcp.values())):
            self.records.accepted_before = set()
            return
        counts = yield from self.counts(PortTable.ACCEPTED_BEFORE, Transport.TCP)
        # What comes in elsewhere was not let in where the server has it.
        accepted = counts.keys() - self.records.redirected[Transport.TCP].values()
        self.records.accepted_before = {self._control.peer.port, *accepted}


def _is_anything_shut(sweep: Sweep, tcp: Mapping[int, Observation]) -> bool:
    """Return whether a port did not prove open: else nobody asks how far its packets came."""
    return sweep.open < len(sweep.sent) or any(seen.reply is not Reply.PROOF for seen in tcp.values())


def _reason(word: int | str) -> Reason:
    """Return why the server does not listen, in its own word; one that is not known here is as good as busy."""
    return next((reason for reason in UNTESTED_REASONS if reason.value == word), Reason.BUSY)
