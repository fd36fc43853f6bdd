"""What the server answers: sessions, their sightings, and one conversation for each TCP connection."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Callable, Iterable, Iterator, Mapping

from ..model import report as reports
from ..model.address import Address, Family
from ..model.fields import FieldError
from ..model.notice import Lost, Notice, Refused, Reported, Started
from ..model.observation import Reason
from ..model.plan import Plan, Transport
from ..model.ports import PortRange
from ..model.report import Problem
from ..wire import DecodeError, control, first_bytes, framing, http_proof, stun
from ..wire.control import About
from ..wire.first_bytes import Speech

# More checks at once than one machine's network is likely to get; each keeps about 1 MiB of sightings.
MAX_SESSIONS = 64
# A client says hello at once; whoever has not after this is none, even over a bad path.
HELLO_SECONDS = 10.0
# The longest silence within a check is a pass over the ports that are left; twice that and a stalled path.
IDLE_SECONDS = 120.0
# Tries of one port in one session: four at least, more under loss; past that somebody uses us as a mirror.
ANSWERS_PER_PORT = 64

Key = bytes


@dataclass
class Session:
    """One client's check: its id and key, and what the server saw of its probes."""

    id: str
    key: Key
    client: Address
    family: Family
    answers_left: int
    sightings: dict[Transport, Counter[int]] = field(default_factory=lambda: {t: Counter() for t in Transport})
    connections: Counter[int] = field(default_factory=Counter)
    redirected: dict[Transport, dict[int, int]] = field(default_factory=lambda: {t: {} for t in Transport})
    report: list[str] = field(default_factory=list)
    report_size: int = 0
    finished: bool = False


Untested = Mapping[Transport, Mapping[int, Reason]]


class Desk:
    """All sessions of one server. `draw` gives random bytes; `untested` may be replaced while sessions run."""

    def __init__(self, plan: Plan, program: str, tls: bool, draw: Callable[[int], bytes]) -> None:
        self.plan, self.program, self.tls = plan, program, tls
        self.untested: Mapping[Family, Untested] = {}
        self.events: list[Notice] = []
        self.sessions: dict[str, Session] = {}
        self._draw = draw
        self._ports = sum(1 for transport in Transport for _ in plan.ports(transport))

    def take_events(self) -> list[Notice]:
        """What happened since the last call."""
        events, self.events = self.events, []
        return events

    def open(self, client: Address, family: Family) -> Session | None:
        """A new session, or None where there are too many."""
        if len(self.sessions) >= MAX_SESSIONS:
            return None
        session = Session(
            self._draw(8).hex(), self._draw(32).hex().encode(), client, family, ANSWERS_PER_PORT * self._ports
        )
        self.sessions[session.id] = session
        self.events.append(Started(client))
        return session

    def close(self, session: Session) -> None:
        """The session's control channel is gone, and the session with it."""
        del self.sessions[session.id]
        if not session.finished:
            self.events.append(Lost(session.client))

    def connected(self, client: Address, port: int) -> None:
        """Somebody connected to a TCP port: a sighting for the sessions from that address."""
        for session in self.sessions.values():
            if session.client == client:
                session.connections[port] += 1

    def probe(self, data: bytes, source: tuple[Address, int], transport: Transport, port: int) -> bytes | None:
        """The answer to a STUN probe that came in at `port`; None for anything that deserves silence."""
        try:
            message = stun.decode(data)
            request = stun.read_request(message)
        except DecodeError:
            return None
        session = self.sessions.get(request.username)
        if session is None or not stun.verified(message, session.key):
            return None
        if not self._sighted(session, transport, request.port, port):
            return None
        answer = stun.encode_answer(request.transaction, *source, session.key)
        return answer if len(answer) <= len(data) else None

    def token(self, token: http_proof.Token, port: int, certificate: bytes) -> str | None:
        """The proof for an HTTP token that came in at `port`; None for a stranger's."""
        session = self.sessions.get(token.session)
        if session is None or not http_proof.token_is_of(token, session.key):
            return None
        if not self._sighted(session, Transport.TCP, token.port, port):
            return None
        return http_proof.proof(token, certificate, session.key)

    def _sighted(self, session: Session, transport: Transport, meant: int, port: int) -> bool:
        """Record a probe meant for one port that came in at another or the same; whether to answer it."""
        if not self.plan.has(transport, meant):
            return False
        session.sightings[transport][meant] += 1
        if meant != port:
            session.redirected[transport][meant] = port
            return False
        session.answers_left -= 1
        return session.answers_left >= 0

    def rows(self, session: Session, ask: control.Ask) -> control.Rows:
        """One page of what a client may know of its own session."""
        untested = self.untested.get(session.family, {}).get(ask.transport, {})
        tables: dict[About, Mapping[int, int] | Mapping[int, str]] = {
            About.SIGHTINGS: session.sightings[ask.transport],
            About.CONNECTIONS: session.connections if ask.transport is Transport.TCP else {},
            About.REDIRECTED: session.redirected[ask.transport],
            About.UNTESTED: {port: reason.value for port, reason in untested.items()},
        }
        about = tables[ask.about]
        ascending = ((port, about[port]) for port in sorted(about) if port >= ask.start)
        page = list(itertools.islice(_runs(ascending), control.MAX_ROWS + 1))
        following = page[control.MAX_ROWS][0].first if len(page) > control.MAX_ROWS else None
        return control.Rows(tuple(page[: control.MAX_ROWS]), following)


def _runs(values: Iterable[tuple[int, int | str]]) -> Iterator[tuple[PortRange, int | str]]:
    """Join neighbouring ports that have the same value."""
    first = last = 0
    about: int | str = ""
    for port, value in values:
        if first and port == last + 1 and value == about:
            last = port
            continue
        if first:
            yield PortRange(first, last), about
        first, last, about = port, port, value
    if first:
        yield PortRange(first, last), about


class Conversation:
    """One TCP connection, TLS taken off: bytes in, bytes out. `closing` says that nothing more will be said."""

    def __init__(self, desk: Desk, client: tuple[Address, int], port: int, now: float) -> None:
        self._desk, self._client, self._port = desk, client, port
        self.certificate = b""  # in DER, of the TLS that was taken off, if any: proofs are bound to it
        self._speech: Speech | None = None
        self._request = b""
        self._frames = framing.Frames(stun.MAX_BYTES)
        self._lines = framing.Lines()
        self._session: Session | None = None
        self.deadline = now + HELLO_SECONDS
        self.closing = False

    @property
    def has_session(self) -> bool:
        """Whether this is the control channel of a running check."""
        return self._session is not None

    def receive(self, data: bytes, now: float) -> bytes:
        """What to send in answer to at least one byte."""
        try:
            if self._speech is None:
                self._speech = first_bytes.tell(data)
            return self._answers()[self._speech](data, now)
        except DecodeError:
            self.closing = True
            return b""

    def closed(self) -> None:
        """The connection is gone."""
        if self._session:
            self._desk.close(self._session)
            self._session = None

    def _answers(self) -> dict[Speech, Callable[[bytes, float], bytes]]:
        return {
            Speech.HTTP: self._answer_http,
            Speech.FRAMED_STUN: self._answer_stun,
            Speech.CONTROL: self._answer_control,
            Speech.TLS: self._refuse_tls,
        }

    def _refuse_tls(self, data: bytes, now: float) -> bytes:
        # Whoever runs this conversation takes TLS off first, if it can: here it cannot, and says so at once.
        self.closing = True
        return first_bytes.TLS_REFUSAL

    def _answer_http(self, data: bytes, now: float) -> bytes:
        self._request += data
        try:
            token = http_proof.decode_request(self._request)
            if token is None:
                return b""
            body = self._desk.token(token, self._port, self.certificate)
        except DecodeError:
            body = None
        self.closing = True
        return http_proof.encode_answer(body)

    def _answer_stun(self, data: bytes, now: float) -> bytes:
        answers = (self._desk.probe(packet, self._client, Transport.TCP, self._port)
                   for packet in self._frames.feed(data))  # fmt: skip
        return b"".join(framing.frame(answer) for answer in answers if answer)

    def _answer_control(self, data: bytes, now: float) -> bytes:
        sent = b""
        for line in self._lines.feed(data):
            if not self.closing:
                self.deadline = now + IDLE_SECONDS
                sent += control.encode(self._answer(control.decode(line)))
        return sent

    def _answer(self, message: control.Message) -> control.Message:
        if isinstance(message, control.Hello) and self._session is None:
            return self._welcome(message)
        session = self._session
        if session is None:
            return self._refuse("order", "The client asked before it said hello", "use pnmcheck's own client")
        if isinstance(message, control.Ask):
            return self._desk.rows(session, message)
        if isinstance(message, control.ReportPart):
            return self._take(session, message)
        if isinstance(message, control.Bye):
            self.closing = session.finished = True
            return control.Bye()
        return self._refuse("order", "The client sent what only a server says", "use pnmcheck's own client")

    def _welcome(self, hello: control.Hello) -> control.Message:
        if hello.protocol != control.PROTOCOL:
            return self._refuse(
                "version",
                f"This server speaks protocol {control.PROTOCOL} (pnmcheck {self._desk.program}), "
                f"the client speaks protocol {hello.protocol} (pnmcheck {hello.program[:40]})",
                "use the same pnmcheck.pyz on both sides",
            )
        session = self._desk.open(self._client[0], hello.family)
        if session is None:
            return self._refuse("crowded", f"{MAX_SESSIONS} checks are running", "try again in a minute")
        self._session = session
        key = session.key.decode()
        return control.Welcome(control.PROTOCOL, self._desk.program, session.id, key, self._desk.plan, self._desk.tls)

    def _take(self, session: Session, part: control.ReportPart) -> control.Message:
        session.report.append(part.text)
        session.report_size += len(part.text) + 1  # an empty part takes memory too
        if session.report_size > control.MAX_REPORT:
            return self._refuse("report", "The client's report is too long", "use pnmcheck's own client")
        if part.last:
            try:
                report = reports.from_json("".join(session.report))
            except FieldError as error:
                return self._refuse("report", f"The client's report cannot be read: {error}", "use the same version")
            session.report.clear()
            session.finished = True
            self._desk.events.append(Reported(session.client, report))
        return control.Received()

    def _refuse(self, code: str, message: str, hint: str) -> control.Refusal:
        self.closing = True
        self._desk.events.append(Refused(self._client[0], Problem(code, message, hint)))
        return control.Refusal(code, message, hint)
