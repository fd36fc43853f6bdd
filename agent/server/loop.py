"""The server's loop: it moves bytes between the sockets and the desk, and looks at the clock."""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from collections import Counter
from typing import Any, Callable, Collection, Iterable

from ..core.address import Address, network_of
from ..core.errors import DecodeError
from ..core.plan import Transport
from ..net import addresses, tls
from ..protocol import first_bytes, stun
from ..system.limits import CONNECTIONS
from . import listen
from .capture import Capture
from .connection import ServerConnection
from .listen import Listener
from .sessions import SessionRegistry

# Of one client's address: fifty clients behind one have half as many at a time.
MAX_STRANGERS = CONNECTIONS // 2
# What a stranger may send until its session begins: a TLS client hello of up to 4 KiB, and a request of as much.
MAX_STRANGE_BYTES = 16 * 1024
# Connections taken from one port a turn, so that the others get theirs too.
ACCEPTED_A_TURN = 32
# Datagrams of strangers that a UDP port reads before the kernel is asked to keep them out, which takes 8 KiB of its
# memory: a scanner leaves one or two.
MAX_JUNK = 8
# Datagrams read from such a port at once, then: more than any receive buffer of a usual size holds.
MAX_WAITING = 1000
# Turns in which all UDP ports are read before a client is told what came: where junk is kept out, one is enough.
TURNS_BEFORE_ANSWER = 16
# How long the loop sleeps at most: deadlines are whole seconds, and Windows notices ctrl-C only between two sleeps.
TICK = 0.5
# Beyond that a turn is slow: an answer by TCP takes two or three turns, for which a client waits four seconds.
SLOW_SECONDS = 0.25
# Of a turn for the UDP ports: where thousands wait, connections, which carry the control channels, do not wait for all.
UDP_SECONDS = 0.1
CHUNK = 65536
# Packets of the capture a turn, so that the sockets get theirs too; and at most as many as its buffer holds.
CAPTURED_A_TURN, MAX_CAPTURED = 256, 30_000


class Connection:
    """One TCP connection of the server."""

    def __init__(
        self, opened: socket.socket, conversation: ServerConnection, client: Address, secure: tls.ServerTls | None
    ) -> None:
        self.socket, self.conversation, self.client = opened, conversation, client
        self._secure = secure
        self._layer: tls.ServerLayer | None = None
        self._heard = self._said = self._ended = False
        self._strange_bytes = 0
        self.unsent = b""

    @property
    def finished(self) -> bool:
        """Whether all has been said and sent."""
        return not self.unsent and (self._ended or self.conversation.closing)

    def read(self, now: float) -> None:
        """Take what came in; ConnectionError where the peer is gone."""
        data = self.socket.recv(CHUNK)
        self._strange_bytes += 0 if self.conversation.has_session else len(data)
        if not data or self._strange_bytes > MAX_STRANGE_BYTES:
            raise ConnectionResetError
        if not self._heard:
            self._heard = True
            self.conversation.heard()
            if self._secure and _is_tls(data):
                self._layer = tls.ServerLayer(self._secure)
                self.conversation.certificate = self._secure.certificate
        try:
            plain, out = self._layer.receive(data) if self._layer else (data, b"")
            self.unsent += out
            if plain:
                answer = self.conversation.receive(plain, now)
                self.unsent += self._layer.send(answer) if self._layer else answer
        except tls.TlsError as error:
            self.unsent += error.alert
            self._ended = True

    def write(self) -> None:
        """Send what the peer takes; OSError where it is gone."""
        if not self._said:
            self._said = True
            self.conversation.said()
        self.unsent = self.unsent[self.socket.send(self.unsent) :]


def _is_tls(data: bytes) -> bool:
    try:
        return first_bytes.detect_protocol(data) is first_bytes.StreamProtocol.TLS
    except DecodeError:
        return False


class UnauthenticatedConnections:
    """The connections without a session, the oldest first, by the networks that they come from."""

    def __init__(self) -> None:
        self._of: dict[bytes, dict[Connection, None]] = {}

    def add(self, peer: Connection) -> None:
        """One more."""
        self._of.setdefault(network_of(peer.client), {})[peer] = None

    def discard(self, peer: Connection) -> None:
        """One less, if it is there."""
        own = self._of.get(network_of(peer.client), {})
        own.pop(peer, None)
        if not own:
            self._of.pop(network_of(peer.client), None)

    def of(self, peer: Connection) -> Collection[Connection]:
        """Those of the same network."""
        return self._of.get(network_of(peer.client), {})

    def most(self) -> Collection[Connection]:
        """Those of the network that has most: who floods gives way to himself."""
        return max(self._of.values(), key=len, default=())


class Loop:
    """Every socket of one server."""

    def __init__(self, desk: SessionRegistry, secure: tls.ServerTls | None, capture: Capture | None) -> None:
        self._desk, self._secure, self._capture = desk, secure, capture
        self._selector = selectors.DefaultSelector()
        self._peers: dict[Connection, None] = {}
        self._strangers = UnauthenticatedConnections()
        self._junk: Counter[socket.socket] = Counter()
        self._waiting: dict[Listener, None] = {}  # UDP ports that can be read, in the order in which they are
        self.slow_turns = 0
        self._caught_up = False
        # A packet that is sent to ourselves, and whether it came: in the shape of a probe, as its way may ask for.
        about = stun.Request(f"{desk.tag:0<16}", stun.make_transaction(0, desk.draw(stun.RANDOM_BYTES)), 0)
        self.echo, self.echoed = stun.encode_request(about, desk.draw(stun.TRANSACTION_BYTES)), threading.Event()
        self._listeners: dict[Listener, None] = {}
        self._overrun: Counter[int] = Counter()  # of ports that were given back
        if capture:
            self._selector.register(capture, selectors.EVENT_READ, (self._watch, None))

    def add(self, listener: Listener) -> None:
        """Serve one more port."""
        handle: Callable[[Listener], None] = self._accept if listener.transport is Transport.TCP else self._wait
        self._selector.register(listener.socket, selectors.EVENT_READ, (handle, listener))
        self._listeners[listener] = None

    def remove(self, listeners: Iterable[Listener]) -> None:
        """Give UDP ports back at once. Of a turn that runs they may be told to be readable yet, and are in vain."""
        for listener in listeners:
            self._selector.unregister(listener.socket)
            self._overrun[listener.port] += listen.overrun(listener.socket)
            self._junk.pop(listener.socket, None)
            self._waiting.pop(listener, None)
            del self._listeners[listener]
            listener.socket.close()

    def close(self) -> None:
        """Give every port and connection back."""
        for peer in list(self._peers):
            self._drop(peer)
        for listener in self._listeners:
            listener.socket.close()
        if self._capture:
            self._capture.close()
        self._selector.close()

    def run(self, go_on: Callable[[], bool]) -> None:
        """Serve as long as `go_on`, which is asked after every turn, says so."""
        swept = came_round = time.monotonic()
        while go_on():
            now = time.monotonic()
            self.slow_turns += now - came_round > TICK + SLOW_SECONDS
            came_round, self._caught_up = now, False
            for key, _ in self._selector.select(0 if self._waiting else TICK):
                handle, about = key.data
                handle(about)
            self._answer_waiting(UDP_SECONDS)
            now = time.monotonic()
            if now - swept > TICK:
                swept = now
                for peer in [one for one in self._peers if one.conversation.deadline < now]:
                    self._drop(peer)

    def overrun(self) -> dict[int, int]:
        """The UDP ports whose sockets had no room for some packets, and for how many."""
        counts = Counter(self._overrun)
        for one in self._listeners:
            if one.transport is Transport.UDP:
                counts[one.port] += listen.overrun(one.socket)
        return +counts

    def catch_up(self) -> None:
        """Let the desk see all that came so far, at the UDP ports and at the interfaces."""
        if not self._caught_up:
            self._caught_up = True
            self._read_waiting()
        self._watch(None, MAX_CAPTURED)

    def _watch(self, _: object, most: int = CAPTURED_A_TURN) -> None:
        if self._capture:
            for data, leaves, interface in self._capture.read(most):
                self._desk.seen(data, leaves, interface)

    def _read_waiting(self) -> None:
        """Answer what waits at the UDP ports: junk may have kept this from it. Once a turn, or nobody else had his."""
        ends = time.monotonic() + UDP_SECONDS
        for _ in range(TURNS_BEFORE_ANSWER):
            for key, _ in self._selector.select(0):
                if key.data[0] == self._wait:
                    self._wait(key.data[1])
            left = ends - time.monotonic()
            if not self._waiting or left <= 0:
                break
            self._answer_waiting(left)

    def _wait(self, listener: Listener) -> None:
        """A UDP port has something to read, when its turn comes."""
        self._waiting[listener] = None

    def _answer_waiting(self, seconds: float) -> None:
        """Answer one datagram of each port that waits, for so long at most: the others come first the next time."""
        ends, number = time.monotonic() + seconds, len(self._waiting)
        for listener in list(self._waiting):
            del self._waiting[listener]
            self._answer(listener)
            if time.monotonic() > ends:
                break
        # What came and what left: so the watch's buffer fills no faster than the ports'.
        self._watch(None, 2 * (number - len(self._waiting)))

    def _keep_out(self, listener: Listener) -> None:
        self._junk[listener.socket] += 1
        if self._junk[listener.socket] == MAX_JUNK and listen.keep_out_junk(listener.socket, self._desk.tag):
            for _ in range(MAX_WAITING):
                if not self._answer(listener):
                    break

    def _answer(self, listener: Listener) -> bool:
        """Read one datagram, and answer a probe; whether there was one."""
        # One a turn: a probe comes alone, and a socket that has more is ready again.
        try:
            data, source, ancillary = listen.receive(listener.socket, stun.MAX_BYTES + 1)
        except OSError:  # an ICMP error of an answer that is past
            return False
        if not stun.has_tag(data, self._desk.tag):
            self._keep_out(listener)
            return True
        if data == self.echo:
            self.echoed.set()
            return True
        answer = self._desk.probe(data, addresses.endpoint(source), Transport.UDP, listener.port)
        if answer:
            try:
                listen.answer(listener.socket, answer, source, ancillary)
            except OSError:  # the way back is closed here
                self._desk.unsent(addresses.endpoint(source), listener.port)
        return True

    def _accept(self, listener: Listener) -> None:
        for _ in range(ACCEPTED_A_TURN):
            try:
                opened, source = listener.socket.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._give_up(self._strangers.most())
                return
            self._take(opened, source, listener)

    def _take(self, opened: socket.socket, source: Any, listener: Listener) -> None:
        opened.setblocking(False)
        client, here, now = addresses.endpoint(source), addresses.endpoint(opened.getsockname()), time.monotonic()
        let_in = self._desk.connected(client, here, now)
        conversation = ServerConnection(self._desk, client, listener.port, now, let_in)
        peer = Connection(opened, conversation, client[0], self._secure)
        self._peers[peer] = None
        self._selector.register(opened, selectors.EVENT_READ, (self._serve, peer))
        self._strangers.add(peer)
        own = self._strangers.of(peer)
        if len(own) > MAX_STRANGERS:
            self._give_up(own)
        elif len(self._peers) > CONNECTIONS:
            self._give_up(self._strangers.most())

    def _give_up(self, strangers: Iterable[Connection]) -> None:
        """Drop the oldest of these, if any."""
        oldest = next(iter(strangers), None)
        if oldest:
            self._desk.gave_way(oldest.client)
            self._drop(oldest)

    def _serve(self, peer: Connection) -> None:
        if peer not in self._peers:  # dropped earlier in this turn
            return
        try:
            if peer.unsent:
                peer.write()
            else:
                self._read(peer)
                if peer.unsent:
                    peer.write()
        except BlockingIOError:
            pass
        except OSError:
            self._drop(peer)
            return
        if peer.finished:
            self._drop(peer)
            return
        # Nothing is read from a peer that does not read: so its answers cannot pile up.
        wanted = selectors.EVENT_WRITE if peer.unsent else selectors.EVENT_READ
        self._selector.modify(peer.socket, wanted, (self._serve, peer))

    def _read(self, peer: Connection) -> None:
        peer.read(time.monotonic())
        if peer.conversation.has_session:
            self._strangers.discard(peer)

    def _drop(self, peer: Connection) -> None:
        del self._peers[peer]
        self._strangers.discard(peer)
        self._selector.unregister(peer.socket)
        try:
            peer.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        peer.socket.close()
        peer.conversation.closed()
