"""The server's core: it takes bytes, packets, values and `now`, and returns what is to be done. It does no I/O.

    core = ServerCore(Settings(plan, program), PortState(), random_bytes)   # random_bytes(n): os.urandom, say
    core.tag                                     what every probe's username begins with

Inputs that return a list of commands (commands.py), to be done in their order; the caller numbers its connections:

    core.connected(number, client, local, now)   a TCP connection was accepted; both are (address, port)
    core.received(number, data, now)             bytes came, TLS removed; `on_tls(number, certificate)` before, if any
    core.closed(number)                          it was closed, by whichever side
    core.on_result(question, result, now)        what CatchUp, ReadCounters, BindPartition, AskLocalStun asked for
    core.on_timer(now)                           to be called every second or so
    core.on_descriptors_exhausted()              no connection can be accepted, since too many files are open

Inputs without commands:

    core.datagram(data, source, port) -> bytes | None    the answer, to be sent from that port to `source`
    core.answer_not_sent(source, port)           the kernel refused to send it
    core.packet(data, leaves, interface)         a packet at a network interface, from its IP header on
    core.first_read(number), first_written(number)       the first bytes, TLS or not, of a connection
    core.replace_ports(PortState)                the ports changed

A client's line is answered by Send; where the answer needs a value, a question comes first, and the answer when
`on_result` has its result. Without sockets that is, for ReadCounters a Measurement(), for AskLocalStun False, for the
others None. A check in memory hands what one side sends to the other:

    for command in core.received(1, line, now): ...
"""

from __future__ import annotations

from typing import Callable

from ..core.address import Address
from ..core.plan import Transport
from .commands import Abort, Command, Question
from .connection import ServerConnection
from .interface_sightings import InterfaceSightings
from .probe_reader import ProbeReader
from .probe_responder import ProbeResponder
from .recent_clients import RecentClients
from .sessions import SessionRegistry
from .state import PortState, Settings
from .unauthenticated import UnauthenticatedConnections


class ServerCore:
    """One server without its sockets; see above."""

    def __init__(self, settings: Settings, ports: PortState, random_bytes: Callable[[int], bytes]) -> None:
        self._outbox: list[Command] = []
        self.registry = SessionRegistry(settings, ports, random_bytes, self._outbox)
        self.settings, self.tag = settings, self.registry.tag
        self._reader = reader = ProbeReader(self.registry)
        self._responder = ProbeResponder(self.registry, reader)
        self._interface = InterfaceSightings(self.registry, reader)
        self._recent_clients = RecentClients()
        self._connections: dict[int, ServerConnection] = {}
        self._unauthenticated = UnauthenticatedConnections()

    def connected(
        self, number: int, client: tuple[Address, int], local: tuple[Address, int], now: float
    ) -> list[Command]:
        """Take in a TCP connection, a sighting for the sessions of that address; too many displace the oldest."""
        port = local[1]
        for session in self.registry.of_address(client[0].packed):
            session.connections[port] += 1
            session.observer.on_accept(port, client[1])
        accepted = self._recent_clients.on_connection(client[0], local[0], port, now)
        self._connections[number] = ServerConnection(
            number, self.registry, self._responder, self._outbox, client, port, accepted, now
        )
        self._unauthenticated.add(number, client[0])
        if self._unauthenticated.count(client[0]) > self.settings.max_of_network:
            self._displace(self._unauthenticated.oldest(client[0]))
        elif len(self._connections) > self.settings.max_connections:
            self._displace(self._unauthenticated.oldest())
        return self._take_commands()

    def on_tls(self, number: int, certificate: bytes) -> None:
        """Take in that a connection speaks TLS, in which this certificate (DER) is shown, before what it brings."""
        self._connections[number].on_tls(certificate)

    def received(self, number: int, data: bytes, now: float) -> list[Command]:
        """Answer at least one byte of a connection, its TLS removed."""
        connection = self._connections[number]
        connection.receive(data, now)
        return self._after(connection)

    def closed(self, number: int) -> list[Command]:
        """Forget a connection, and end its session."""
        connection = self._connections.pop(number)
        connection.on_closed()
        self._unauthenticated.discard(number, connection.client[0])
        return self._take_commands()

    def on_result(self, question: Question, result: object, now: float) -> list[Command]:
        """Go on with the answer that waits for this; nothing, where the connection is gone."""
        connection = self._connections.get(question.connection)
        if connection is None:
            return []
        connection.on_result(question, result, now)
        return self._after(connection)

    def on_timer(self, now: float) -> list[Command]:
        """Close the connections whose time is over."""
        late = [number for number, connection in self._connections.items() if connection.deadline < now]
        return [*map(Abort, late)]

    def on_descriptors_exhausted(self) -> list[Command]:
        """Close the oldest connection of the network that has most, so that others can be accepted."""
        self._displace(self._unauthenticated.oldest())
        return self._take_commands()

    def datagram(self, data: bytes, source: tuple[Address, int], port: int) -> bytes | None:
        """Return the answer to a datagram that came in at a UDP port; None for anything that deserves silence."""
        return self._responder.answer(data, source, Transport.UDP, port)

    def answer_not_sent(self, source: tuple[Address, int], port: int) -> None:
        """Take in that the kernel would not send a UDP answer: a rule of this host's own stops it."""
        session = self.registry.of_endpoint(source[0].packed, source[1])
        if session:
            session.answers_not_sent[port] += 1

    def packet(self, data: bytes, leaves: bool, interface: str) -> None:
        """Take in a packet at a network interface, from its IP header on, that came in or leaves."""
        self._interface.on_packet(data, leaves, interface)

    def first_read(self, number: int) -> None:
        """Take in that something was read from a connection, TLS or not."""
        connection = self._connections[number]
        for session in self.registry.of_address(connection.client[0].packed):
            session.observer.on_read(connection.port, connection.client[1])

    def first_written(self, number: int) -> None:
        """Take in that something was written to a connection, TLS or not."""
        connection = self._connections[number]
        for session in self.registry.of_address(connection.client[0].packed):
            session.observer.on_write(connection.port, connection.client[1])

    def replace_ports(self, ports: PortState) -> None:
        """Replace the state of the ports."""
        self.registry.replace_ports(ports)

    def has_session(self, number: int) -> bool:
        """Return whether a connection is the control channel of a running check."""
        return self._connections[number].session is not None

    @property
    def running(self) -> int:
        """Return how many checks run."""
        return len(self.registry.sessions)

    def _after(self, connection: ServerConnection) -> list[Command]:
        if connection.session:
            self._unauthenticated.discard(connection.number, connection.client[0])
        return self._take_commands()

    def _displace(self, oldest: tuple[int, Address] | None) -> None:
        if oldest is None:
            return
        number, client = oldest
        for session in self.registry.of_address(client.packed):
            session.displaced_connections += 1
        self._unauthenticated.discard(number, client)
        self._outbox.append(Abort(number))

    def _take_commands(self) -> list[Command]:
        commands, self._outbox[:] = list(self._outbox), []
        return commands
