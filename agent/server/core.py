"""The server's core: it takes bytes, packets, values and `now`, and returns what is to be done. It does no I/O.

The caller numbers its TCP connections, does the commands that it gets in their order, and hands in the results of those
that are questions: in memory a Measurement() for ReadCounters, False for AskLocalStun, None for the others.
"""

from __future__ import annotations

from typing import Callable

from ..core.address import Address
from ..core.plan import Transport
from .commands import Close, Command, Question
from .connection import ServerConnection
from .limits import UnauthenticatedConnections
from .packet_observer import Progress
from .probes import ProbeResponder
from .sessions import SessionRegistry
from .state import Endpoint, PortState, Settings

# Addresses whose connections are kept in mind, and for how many seconds: many limits accept a client again after half a
# minute or a minute in which it did not come (ufw's, iptables' `recent`).
MAX_CLIENTS, KEPT_SECONDS = 1000, 60.0


class ServerCore:
    """One server without its sockets; `random_bytes` is os.urandom, say. Every probe's username begins with `tag`."""

    def __init__(self, settings: Settings, ports: PortState, random_bytes: Callable[[int], bytes]) -> None:
        self.registry = SessionRegistry(settings, ports, random_bytes)
        self.settings, self.tag = settings, self.registry.tag
        self._probes = ProbeResponder(self.registry)
        # When a client connected the last time, and to which ports; by its address and the one that it connected to.
        self._recent_clients: dict[tuple[Address, Address], tuple[float, frozenset[int]]] = {}
        self._connections: dict[int, ServerConnection] = {}
        self._unauthenticated = UnauthenticatedConnections()

    def connected(self, number: int, client: Endpoint, local: Endpoint, now: float) -> list[Command]:
        """Take in a TCP connection, a sighting for the sessions of that address; too many displace the oldest."""
        address, port = client[0], local[1]
        for session in self.registry.of_address(address.packed):
            session.connections[port] += 1
            session.observer.on_progress(port, client[1], Progress.ACCEPTED)
        ports = self._record_client(address, local, now)
        self._connections[number] = ServerConnection(number, self._probes, client, port, ports, now)
        if self._unauthenticated.add(number, address) > self.settings.max_of_network:
            self._displace(self._unauthenticated.oldest(address))
        elif len(self._connections) > self.settings.max_connections:
            self._displace(self._unauthenticated.oldest())
        return self._take_commands()

    def on_tls(self, number: int, certificate: bytes) -> None:
        """Take in that a connection speaks TLS, in which this certificate (DER) is shown, before what it brings."""
        self._connections[number].control.certificate = certificate

    def received(self, number: int, data: bytes, now: float) -> list[Command]:
        """Answer at least one byte of a connection, its TLS removed."""
        connection = self._connections[number]
        connection.receive(data, now)
        return self._after(connection)

    def closed(self, number: int) -> list[Command]:
        """Forget a connection that was closed, by whichever side, and end its session."""
        connection = self._connections.pop(number)
        if connection.control.session:
            self.registry.close(connection.control.session)
        self._unauthenticated.discard(number, connection.client[0])
        return self._take_commands()

    def on_result(self, question: Question, result: object, now: float) -> list[Command]:
        """Go on with the answer that waits for this; nothing, where the connection is gone."""
        connection = self._connections.get(question.connection)
        if connection is None:
            return []
        connection.control.on_result(question, result, now)
        return self._after(connection)

    def on_timer(self, now: float) -> list[Command]:
        """Close the connections whose time is over; to be called every second or so."""
        return [Close(number, at_once=True) for number, own in self._connections.items() if own.control.deadline < now]

    def on_descriptors_exhausted(self) -> list[Command]:
        """Close the oldest connection of the network that has most, so that others can be accepted."""
        self._displace(self._unauthenticated.oldest())
        return self._take_commands()

    def datagram(self, data: bytes, source: Endpoint, port: int) -> bytes | None:
        """Return the answer to a datagram that came in at a UDP port; None for anything that deserves silence."""
        return self._probes.answer(data, source, Transport.UDP, port)

    def answer_not_sent(self, source: Endpoint, port: int) -> None:
        """Take in that the kernel would not send a UDP answer: a rule of this host's own stops it."""
        session = self.registry.of_endpoint(source[0].packed, source[1])
        if session:
            session.answers_not_sent[port] += 1

    def packet(self, data: bytes, leaves: bool, interface: str) -> None:
        """Take in a packet at a network interface, from its IP header on, that came in or leaves."""
        self._probes.on_packet(data, leaves, interface)

    def on_progress(self, number: int, progress: Progress) -> None:
        """Take in that the first of a connection was read or written, TLS or not."""
        address, client_port = self._connections[number].client
        for session in self.registry.of_address(address.packed):
            session.observer.on_progress(self._connections[number].port, client_port, progress)

    def replace_ports(self, ports: PortState) -> None:
        """Replace the state of the ports."""
        self.registry.ports = ports

    def has_session(self, number: int) -> bool:
        """Return whether a connection is the control channel of a running check."""
        return self._connections[number].control.session is not None

    def _record_client(self, client: Address, local: Endpoint, now: float) -> frozenset[int]:
        """Return the TCP ports that a client used in the last 60 s, that of this connection among them."""
        last, ports = self._recent_clients.pop((client, local[0]), (now, frozenset()))
        # Each connection keeps them for another while: one that is stopped there may keep a limit alive.
        ports = (ports if now - last <= KEPT_SECONDS else frozenset()) | {local[1]}
        self._recent_clients[client, local[0]] = now, ports
        if len(self._recent_clients) > MAX_CLIENTS:
            del self._recent_clients[next(iter(self._recent_clients))]
        return ports

    def _after(self, connection: ServerConnection) -> list[Command]:
        if connection.control.session:
            self._unauthenticated.discard(connection.number, connection.client[0])
        return self._take_commands()

    def _displace(self, oldest: tuple[int, Address] | None) -> None:
        if oldest:
            number, client = oldest
            for session in self.registry.of_address(client.packed):
                session.displaced_connections += 1
            self._unauthenticated.discard(number, client)
            self.registry.outbox.append(Close(number, at_once=True))

    def _take_commands(self) -> list[Command]:
        commands, self.registry.outbox[:] = list(self.registry.outbox), []
        return commands
