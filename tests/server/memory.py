"""A server in memory: its core, with whatever it asks for answered at once."""

from __future__ import annotations

import ipaddress
import itertools
import random
from collections import deque
from typing import Any, Callable, Iterable, Mapping

from agent.core.address import Address, Family
from agent.core.counters import KernelStatus
from agent.core.events import Event
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.protocol import messages, stun
from agent.protocol.messages import PROTOCOL, AskRows, AskService, Hello, Message, PortTable, Rows, ServiceReply
from agent.server.commands import (
    AskLocalStun,
    BindPartition,
    Close,
    Command,
    Emit,
    Question,
    ReadCounters,
    ReleasePartitions,
    Send,
)
from agent.server.connection import ControlChannel
from agent.server.core import ServerCore
from agent.server.sessions import Session
from agent.server.state import Measurement, PortState, Settings
from tests.packet.test_ip import ipv4, udp

TCP, UDP = Transport.TCP, Transport.UDP
CLIENT, STRANGER = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::bad")
SOURCE, HERE = (CLIENT, 40000), (ipaddress.ip_address("192.0.2.9"), 80)
PLAN = Plan(
    "mine",
    (
        Requirement(TCP, PortRange(80, 81), "web", Need.REQUIRED),
        Requirement(UDP, PortRange(50000, 60000), "media", Need.REQUIRED),
    ),
)
HELLO = Hello(PROTOCOL, "0.1.0", Family.IPV4)
TRANSACTION = stun.make_transaction(1, bytes(range(8)))


class MemoryServer:
    """A core and what it said.

    `kernel` is what each reading of the kernel tells, one after the other, and then nothing; `receive_drops` what each
    reading of the sockets does.
    `catch_up` hands in what waits; `local_stun` answers for the services of this machine.
    """

    def __init__(
        self,
        plan: Plan = PLAN,
        kernel: Iterable[KernelStatus] = (),
        receive_drops: Iterable[Mapping[int, int]] = (),
        random_bytes: Callable[[int], bytes] | None = None,
        **settings: Any,
    ) -> None:
        self.core = ServerCore(
            Settings(plan, "0.1.0", tls=True, **settings), PortState(), random_bytes or random.Random(1).randbytes
        )
        self.registry = self.core.registry
        self._kernel, self._receive_drops = iter(kernel), iter(receive_drops)
        self.catch_up: Callable[[], object] = lambda: None
        self.local_stun: Callable[[bytes, int], bool] = lambda address, port: False
        self.partitions: list[int | None] = []  # that were bound, None where they were released
        self._events: list[Event] = []
        self._sent: dict[int, bytes] = {}
        self.closing: set[int] = set()
        self.numbers = itertools.count(1)

    @property
    def sessions(self) -> dict[str, Session]:
        return self.registry.sessions

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        self.perform(self.core._take_commands())
        events, self._events = self._events, []
        return events

    def set_ports(self, **state: Any) -> None:
        """Replace the state of the ports."""
        self.core.replace_ports(PortState(**state))

    def measure(self, receive_drops: bool = True) -> Measurement:
        drops = next(self._receive_drops, {}) if receive_drops else {}
        return Measurement(next(self._kernel, KernelStatus()), drops)

    def open(
        self, client: Address, family: Family, accepted: frozenset[int] = frozenset(), secret: str | None = None
    ) -> Session | None:
        """Open a session, if there is room."""
        if self.registry.refusal_reason(client, secret is not None):
            return None
        return self.registry.open(client, family, accepted, secret, self.measure())

    def close(self, session: Session) -> None:
        self.registry.close(session)

    def probe(self, data: bytes, source: tuple[Address, int], transport: Transport, port: int) -> bytes | None:
        if transport is UDP:
            return self.core.datagram(data, source, port)
        return self.core._probes.answer(data, source, transport, port)

    def rows(self, session: Session, ask: AskRows) -> Rows:
        rows = self._answer(session, ask)
        assert isinstance(rows, Rows)
        return rows

    def service(self, session: Session, ask: AskService) -> ServiceReply:
        reply = self._answer(session, ask)
        assert isinstance(reply, ServiceReply)
        return reply

    def _answer(self, session: Session, ask: Message) -> Message:
        """Answer as the session's connection does."""
        answering = ControlChannel(0, self.registry, session.client, frozenset(), 0.0)._answer(ask, session, 1.0)
        result: object = None
        while True:
            try:
                result = self._result(answering.send(result))
            except StopIteration as end:
                answer: Message = end.value
                return answer

    def _result(self, question: Question) -> object:
        """Do what the core has to know; return its result."""
        if isinstance(question, ReadCounters):
            return self.measure(question.receive_drops)
        if isinstance(question, AskLocalStun):
            return self.local_stun(question.address, question.port)
        if isinstance(question, BindPartition):
            self.partitions.append(question.partition)
        else:
            self.catch_up()
        return None

    def kernel(self, session: Session) -> KernelStatus:
        return self.registry.kernel(session, self.measure())

    def connect(self, client: tuple[Address, int] = SOURCE, port: int = 80, now: float = 0.0) -> Conversation:
        number = next(self.numbers)
        self.perform(self.core.connected(number, client, (HERE[0], port), now))
        return Conversation(self, number)

    def perform(self, commands: Iterable[Command], now: float = 1.0) -> None:
        """Do what is to be done, at once."""
        waiting = deque(commands)
        while waiting:
            command = waiting.popleft()
            if isinstance(command, Emit):
                self._events.append(command.event)
            elif isinstance(command, Send):
                self._sent[command.connection] = self._sent.get(command.connection, b"") + command.data
            elif isinstance(command, Close):
                self.closing.add(command.connection)
            elif isinstance(command, ReleasePartitions):
                self.partitions.append(None)
            elif isinstance(command, Question):
                waiting.extend(self.core.on_result(command, self._result(command), now))

    def take_sent(self, number: int) -> bytes:
        return self._sent.pop(number, b"")


class Conversation:
    """One TCP connection to a server in memory."""

    def __init__(self, server: MemoryServer, number: int) -> None:
        self.server, self.number = server, number
        self._connection = server.core._connections[number]

    @property
    def closing(self) -> bool:
        return self.number in self.server.closing

    @property
    def has_session(self) -> bool:
        return self.server.core.has_session(self.number)

    @property
    def deadline(self) -> float:
        return self._connection.control.deadline

    def show(self, certificate: bytes) -> None:
        """Speak TLS, in which this certificate is shown."""
        self.server.core.on_tls(self.number, certificate)

    def receive(self, data: bytes, now: float) -> bytes:
        """What is sent in answer."""
        self.server.perform(self.server.core.received(self.number, data, now), now)
        return self.server.take_sent(self.number)

    def closed(self) -> None:
        """The connection is gone."""
        if self.number in self.server.core._connections:
            self.server.perform(self.server.core.closed(self.number))


def lines(*said: Message) -> bytes:
    return b"".join(map(messages.encode, said))


def answers(sent: bytes) -> list[Message]:
    return list(map(messages.decode, sent.splitlines()))


def say(conversation: Conversation, *said: Message) -> list[Message]:
    """What a client is answered that says this."""
    return answers(conversation.receive(lines(*said), 1.0))


def make_session(server: MemoryServer, secret: str | None = None, client: Address = CLIENT) -> Session:
    session = server.open(client, Family.IPV4, secret=secret)
    assert session
    return session


probe_numbers = itertools.count(2)


def probe(session: Session, port: int = 50000, key: bytes | None = None, number: int | None = None) -> bytes:
    """A probe of that number, or of one that no other has."""
    transaction = stun.make_transaction(next(probe_numbers) if number is None else number, bytes(range(8)))
    return stun.encode_request(stun.Request(session.id, transaction, port), key or session.key)


def seen_udp(data: bytes, port: int = 50000) -> bytes:
    return ipv4(udp(data, port))


def told(server: MemoryServer, session: Session, about: PortTable, transport: Transport = UDP) -> dict[str, int | str]:
    return {str(ports): value for ports, value in server.rows(session, AskRows(about, transport, 1)).rows}
