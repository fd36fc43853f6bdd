"""The server's loop: it moves bytes between the sockets and the core, and does what the core says."""

from __future__ import annotations

import errno
import itertools
import selectors
import socket
import time
from collections import deque
from typing import Any, Callable, Iterable

from ..core.plan import Transport
from ..net import addresses, tls
from .capture import Capture
from .commands import AskLocalStun, CatchUp, Close, Command, ReadCounters, Send
from .core import ServerCore
from .kernel_counters import KernelCounters
from .listen import Listener
from .local_stun import LocalStunRequest
from .outside import HairpinProbe
from .packet_observer import Progress
from .state import Measurement
from .tcp_connection import TcpConnection
from .udp_ports import UdpPorts

# What a stranger may send until its session begins: a TLS client hello of up to 4 KiB, and a request of as much.
MAX_STRANGE_BYTES = 16 * 1024
# Connections taken from one port a turn, so that the others get theirs too.
ACCEPTED_A_TURN = 32
# Turns in which all UDP ports are read before a client is told what came: where junk is kept out, one is enough.
TURNS_BEFORE_ANSWER = 16
# How long the loop sleeps at most: deadlines are whole seconds, and Windows notices ctrl-C only between two sleeps.
TICK = 0.5
# Beyond that a turn is slow: an answer by TCP takes two or three turns, for which a client waits four seconds.
SLOW_SECONDS = 0.25
# Of a turn for the UDP ports: where thousands wait, connections, which carry the control channels, do not wait for all.
UDP_SECONDS = 0.1
# Packets of the capture a turn, so that the sockets get theirs too; and at most as many as its buffer holds.
CAPTURED_A_TURN, MAX_CAPTURED = 256, 30_000


class Loop:
    """Every socket of one server. Commands of the core that are not the sockets' are kept for `take_commands`."""

    def __init__(
        self,
        core: ServerCore,
        secure: tls.ServerTls | None,
        capture: Capture | None,
        counters: KernelCounters,
        hairpin: HairpinProbe,
    ) -> None:
        self._core, self._secure, self._capture, self._counters = core, secure, capture, counters
        self._selector = selectors.DefaultSelector()
        self._numbers = itertools.count(1)
        self._connections: dict[int, TcpConnection] = {}
        self._listeners: dict[Listener, None] = {}
        self._udp = UdpPorts(core, hairpin)
        self._local_stun: dict[LocalStunRequest, AskLocalStun] = {}
        self._commands: list[Command] = []
        self._slow_turns, self._caught_up = 0, False
        if capture:
            self._selector.register(capture, selectors.EVENT_READ, (self._read_capture, CAPTURED_A_TURN))

    def add(self, listener: Listener) -> None:
        """Serve one more port."""
        tcp = listener.transport is Transport.TCP
        handler: Callable[[Listener], None] = self._accept if tcp else self._udp.on_readable
        self._selector.register(listener.socket, selectors.EVENT_READ, (handler, listener))
        self._listeners[listener] = None

    def remove(self, listeners: Iterable[Listener]) -> None:
        """Close UDP ports at once. Of a turn that runs they may be told to be readable yet, and are in vain."""
        for listener in listeners:
            self._selector.unregister(listener.socket)
            self._udp.on_closing(listener)
            del self._listeners[listener]
            listener.socket.close()

    def close(self) -> None:
        """Close every port, connection and file."""
        for connection in list(self._connections.values()):
            self._drop(connection)
        for listener in self._listeners:
            listener.socket.close()
        for request in self._local_stun:
            request.socket.close()
        if self._capture:
            self._capture.close()
        self._counters.close()
        self._selector.close()

    def run(self, go_on: Callable[[], bool]) -> None:
        """Serve as long as `go_on`, which is asked after every turn, says so."""
        last_timer = last_turn = time.monotonic()
        while go_on():
            now = time.monotonic()
            self._slow_turns += now - last_turn > TICK + SLOW_SECONDS
            last_turn, self._caught_up = now, False
            for key, _ in self._selector.select(self._sleep(now)):
                handler, subject = key.data
                handler(subject)
            self._answer_udp(UDP_SECONDS)
            now = time.monotonic()
            for request in [request for request in self._local_stun if request.deadline < now]:
                self._end_local_stun(request, answered=False)
            if now - last_timer > TICK:
                last_timer = now
                self.perform(self._core.on_timer(now))

    def take_commands(self) -> list[Command]:
        """Return the commands since the last call that are not for the sockets."""
        commands, self._commands = self._commands, []
        return commands

    def perform(self, commands: Iterable[Command]) -> None:
        """Do what the core says, and what it says then, in this order."""
        waiting = deque(commands)
        written: dict[int, None] = {}
        while waiting:
            command = waiting.popleft()
            if isinstance(command, (Send, Close)):
                written[command.connection] = None
            waiting.extend(self._do(command))
        for number in written:
            if number in self._connections:
                self._flush(self._connections[number])

    def receive_drops(self) -> dict[int, int]:
        """Return by UDP port how many packets its socket had no room for."""
        return self._udp.receive_drops(port for port in self._listeners if port.transport is Transport.UDP)

    def catch_up(self) -> None:
        """Hand the core all that came so far, at the UDP ports and at the interfaces."""
        if not self._caught_up:  # once a turn, or nobody else had theirs
            self._caught_up = True
            self._read_udp()
        self._read_capture(MAX_CAPTURED)

    def _sleep(self, now: float) -> float:
        if self._udp.readable:
            return 0.0
        return max(0.0, min([TICK, *(request.deadline - now for request in self._local_stun)]))

    def _do(self, command: Command) -> list[Command]:
        if isinstance(command, (Send, Close)):
            connection = self._connections.get(command.connection)
            if connection and isinstance(command, Send):
                connection.queue(command.data)
            elif connection and isinstance(command, Close) and command.at_once:
                self._drop(connection)
            elif connection:
                connection.end()
        elif isinstance(command, CatchUp):
            self.catch_up()
            return self._core.on_result(command, None, time.monotonic())
        elif isinstance(command, ReadCounters):
            drops = self.receive_drops() if command.receive_drops else {}
            measurement = Measurement(self._counters.read(self._slow_turns), drops)
            return self._core.on_result(command, measurement, time.monotonic())
        elif isinstance(command, AskLocalStun):
            return self._ask_local_stun(command)
        else:
            self._commands.append(command)
        return []

    def _ask_local_stun(self, command: AskLocalStun) -> list[Command]:
        now = time.monotonic()
        try:
            request = LocalStunRequest(command.address, command.port, now)
        except OSError:
            return self._core.on_result(command, False, now)
        self._local_stun[request] = command
        self._selector.register(request.socket, selectors.EVENT_READ, (self._read_local_stun, request))
        return []

    def _read_local_stun(self, request: LocalStunRequest) -> None:
        self._end_local_stun(request, request.read())

    def _end_local_stun(self, request: LocalStunRequest, answered: bool) -> None:
        command = self._local_stun.pop(request)
        self._selector.unregister(request.socket)
        request.socket.close()
        self.perform(self._core.on_result(command, answered, time.monotonic()))

    def _read_capture(self, most: int) -> None:
        if self._capture:
            for data, leaves, interface in self._capture.read(most):
                self._core.packet(data, leaves, interface)

    def _read_udp(self) -> None:
        """Answer all that waits at the UDP ports: junk may have kept this from it."""
        ends = time.monotonic() + UDP_SECONDS
        for _ in range(TURNS_BEFORE_ANSWER):
            for key, _ in self._selector.select(0):
                handler, subject = key.data
                if handler == self._udp.on_readable:
                    handler(subject)
            left = ends - time.monotonic()
            if not self._udp.readable or left <= 0:
                break
            self._answer_udp(left)

    def _answer_udp(self, seconds: float) -> None:
        # What came and what left: so the capture's buffer fills no faster than the ports'.
        self._read_capture(2 * self._udp.answer_readable(seconds))

    def _accept(self, listener: Listener) -> None:
        for _ in range(ACCEPTED_A_TURN):
            try:
                opened, source = listener.socket.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self.perform(self._core.on_descriptors_exhausted())
                return
            self._add_connection(opened, source, listener.port)

    def _add_connection(self, opened: socket.socket, source: Any, port: int) -> None:
        opened.setblocking(False)
        connection = TcpConnection(next(self._numbers), opened, self._secure)
        self._connections[connection.number] = connection
        self._selector.register(opened, selectors.EVENT_READ, (self._serve, connection))
        client, (local, _) = addresses.endpoint(source), addresses.endpoint(opened.getsockname())
        self.perform(self._core.connected(connection.number, client, (local, port), time.monotonic()))

    def _serve(self, connection: TcpConnection) -> None:
        if connection.number not in self._connections:  # dropped earlier in this turn
            return
        try:
            if not connection.has_unsent:
                self._read(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        if connection.number in self._connections:
            self._flush(connection)

    def _read(self, connection: TcpConnection) -> None:
        first = not connection.bytes_read
        data = connection.read()
        if connection.bytes_read > MAX_STRANGE_BYTES and not self._core.has_session(connection.number):
            raise ConnectionResetError
        if first:
            self._core.on_progress(connection.number, Progress.READ)
            certificate = connection.start_tls(data)
            if certificate is not None:
                self._core.on_tls(connection.number, certificate)
        plain = connection.decrypt(data)
        if plain:
            self.perform(self._core.received(connection.number, plain, time.monotonic()))

    def _flush(self, connection: TcpConnection) -> None:
        """Send what waits, and close what has ended."""
        try:
            if connection.has_unsent:
                if not connection.bytes_written:
                    self._core.on_progress(connection.number, Progress.WRITTEN)
                connection.write()
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        if connection.finished:
            self._drop(connection)
            return
        # Nothing is read from a peer that does not read: so its answers cannot pile up.
        wanted = selectors.EVENT_WRITE if connection.has_unsent else selectors.EVENT_READ
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, (self._serve, connection))

    def _drop(self, connection: TcpConnection) -> None:
        del self._connections[connection.number]
        self._selector.unregister(connection.socket)
        connection.close()
        self.perform(self._core.closed(connection.number))
