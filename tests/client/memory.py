"""A whole check in memory: the client's order joined to the server's core by a path that has one fault.

It needs no socket and no root. The clock is virtual: a check with its waits and its passes takes milliseconds.
"""

from __future__ import annotations

import functools
import heapq
import ipaddress
import itertools
import random
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence
from unittest import mock

from agent.client import steps, tcp
from agent.client.control_client import ControlClient, ControlLost, Greeting, Peer
from agent.client.order import AddressCheck
from agent.client.steps import Step, run_steps
from agent.core.address import Family
from agent.core.counters import KernelStatus
from agent.core.observation import Hop, Observation, Refusal, Reply
from agent.core.plan import ACME, ICE_TCP, MEDIA, Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.core.report import AddressReport
from agent.net.connect import Attempt, Target
from agent.packet.ip import ACK, RST, SYN, TCP, UDP
from agent.protocol import messages, stun
from agent.server import commands
from agent.server.core import ServerCore
from agent.server.packet_observer import Progress
from agent.server.state import Measurement, PortState, Settings
from agent.verdict.evidence import ControlEvidence, TcpEvidence, UdpEvidence
from tests.packet import test_ip as packets

SERVER, CLIENT, ROUTER = map(ipaddress.ip_address, ("198.51.100.9", "203.0.113.2", "192.0.2.77"))
MEDIA_PORTS = PortRange(50000, 50299)


def plan_of(ports: int) -> Plan:
    """A plan of so many UDP ports."""
    rows = ((Transport.TCP, PortRange(80, 80), ACME), (Transport.TCP, PortRange(7881, 7881), ICE_TCP),
            (Transport.UDP, PortRange(50000, 49999 + ports), MEDIA))  # fmt: skip
    return Plan("mine", tuple(Requirement(*row, Need.REQUIRED) for row in rows))


PLAN = plan_of(len(MEDIA_PORTS))
KEY = "of twenty characters or more"
DELAY = 0.01  # seconds, one way
SEND_SECONDS = 50e-6  # for each datagram
LARGE = 400  # bytes: more has a large probe alone
TICK = 0.2
TURN_SECONDS = 20e-6  # what a turn of the loop takes by itself
MAX_TURNS = 200_000
PAGE = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\n\r\nhi"

# What happens to the packets of a port; without any they pass.
BEFORE, HOST, BACK, REFUSED, FOREIGN, SMALL = "before", "host", "back", "refused", "foreign", "small"


@dataclass
class Path:
    """The way between the two, and the server's firewall. `udp` and `tcp` have the fault of a port, if it has one.

    A number as the fault of a UDP port is that of the port to which the way forwards it. `loss` is the share of
    datagrams that are lost each way. `table` is how many flows something on the way lets pass, for ever.
    `stops_at` is when the server stops, on the clock; `interrupts_at` when the user does.
    """

    udp: Mapping[int, str | int] = field(default_factory=dict)
    tcp: Mapping[int, str] = field(default_factory=dict)
    loss: float = 0.0
    table: int | None = None
    stops_at: float = 1e9
    interrupts_at: float = 1e9


class MemoryCheck:
    """One check. `run` has the report; `core` is the server, and `clock` the time on both sides."""

    def __init__(
        self,
        path: Path,
        plan: Plan = PLAN,
        key: str | None = None,
        server_key: str | None = None,
        certificate: bytes = b"",
        **settings: Any,
    ) -> None:
        self._path, self._rng, self.clock = path, random.Random(7), 0.0
        settings = {"capture": True, "key": server_key, **settings}
        self.core = ServerCore(Settings(plan, "0.2.0", **settings), PortState(), self._random_bytes)
        self._numbers = itertools.count(1)
        self._sent: dict[int, bytes] = {}  # what the server sent, by connection
        self.partitions: list[int] = []
        self.events: list[object] = []
        peer = Peer(80, certificate, str(CLIENT))
        self.control = ControlClient(peer, Greeting("0.2.0", Family.IPV4, key), self._random_bytes(16))
        self._control_number = self._connect(80, 40000)
        self._greet()
        assert self.control.welcome
        self.welcome = self.control.welcome
        self._key = self.control.secret.encode()
        target = Target(socket.AF_INET, (str(SERVER), 0))
        self._context = tcp.ProbeContext(
            target, self.welcome.session, self._key, "meet.example", self.welcome.tls, plan
        )
        self._transactions = itertools.count(1)
        self._pending: dict[bytes, tuple[int, Callable[[float], object]]] = {}
        self._arrivals: list[tuple[float, bytes, int]] = []
        self._pongs: list[float] = []
        self._flows: set[tuple[int, int]] = set()
        self._tcp: dict[int, Observation] = {}
        self.refusals: dict[int, Refusal] = {}
        self.foreign: dict[int, str] = {}
        self.traced: list[tuple[Transport, int]] = []

    def run(self, through: str = str(SERVER), sample: int | None = None) -> AddressReport:
        """Return the report of the check."""
        route = ControlEvidence(str(SERVER), Family.IPV4, through)
        self.order = AddressCheck(route, self.control, self.welcome, random.Random(11), wanted=sample)
        return run_steps(self.order.run(), self._carry_out)

    # The steps

    def _carry_out(self, step: Step) -> Any:
        if self.clock >= self._path.interrupts_at:
            self._path.interrupts_at = 1e9
            raise KeyboardInterrupt
        actions: dict[type, Callable[[Any], Any]] = {
            steps.Now: lambda step: self.clock,
            steps.Ask: lambda step: self._ask(step.question, step.expected),
            steps.StartTcp: lambda step: self._tcp.update({port: self._probe_tcp(port) for port in step.ports}),
            steps.WaitForTcp: lambda step: dict(self._tcp),
            steps.TryOpenTcp: lambda step: None,
            steps.RunSweep: self._run_sweep,
            steps.ProbePorts: self._probe_ports,
            steps.Trace: self._trace,
            steps.WaitForServices: lambda step: {},
            steps.Finish: lambda step: (
                UdpEvidence(refusals=self.refusals, foreign=self.foreign),
                TcpEvidence(self._tcp),
                {},
            ),
        }
        action = actions.get(type(step))
        return action(step) if action else None

    def _trace(self, step: steps.Trace) -> Hop:
        self.traced.append((step.transport, step.port))
        return Hop(str(ROUTER), 4)

    # The control channel

    def _greet(self) -> None:
        line = self.control.ask(self.control.hello, self.clock)
        while line:
            line = self.control.receive(self._exchange(line), self.clock)

    def _ask(self, question: messages.Message, expected: type[Any]) -> Any:
        if self.control.lost or self.clock >= self._path.stops_at:
            raise ControlLost
        self.control.receive(self._exchange(self.control.ask(question, self.clock)), self.clock)
        return self.control.take_answer(expected)

    def _exchange(self, line: bytes) -> bytes:
        """Return what the server answers, a round trip later."""
        self.clock += 2 * DELAY
        self._perform(self.core.received(self._control_number, line, self.clock))
        return self._sent.pop(self._control_number, b"")

    def _perform(self, todo: Iterable[commands.Command]) -> None:
        for command in todo:
            result: object = None
            if isinstance(command, commands.Send):
                self._sent[command.connection] = self._sent.get(command.connection, b"") + command.data
            elif isinstance(command, commands.Emit):
                self.events.append(command.event)
            elif isinstance(command, (commands.CatchUp, commands.ReadCounters, commands.BindPartition)):
                if isinstance(command, commands.ReadCounters):
                    result = Measurement(KernelStatus())
                elif isinstance(command, commands.BindPartition):
                    self.partitions.append(command.partition)
                self._perform(self.core.on_result(command, result, self.clock))

    # TCP

    def _connect(self, port: int, source: int) -> int:
        number = next(self._numbers)
        self._see(packets.tcp(SYN, port=port, source=source), TCP, leaves=False)
        self._see(packets.tcp(SYN | ACK, port=source, source=port), TCP, leaves=True)
        self._perform(self.core.connected(number, (CLIENT, source), (SERVER, port), self.clock))
        return number

    def _probe_tcp(self, port: int) -> Observation:
        with mock.patch.object(tcp, "race", self._race):
            return tcp.probe(port, self._context, lambda: False)

    def _race(self, target: Target, ports: Sequence[int], *_: object, **__: object) -> Iterator[Attempt]:
        for port in ports:
            fault, source = self._path.tcp.get(port), 41000 + next(self._numbers)
            if fault == FOREIGN:
                yield Attempt(port, _Connection(lambda data: PAGE), Reply.MUTE)
                continue
            if fault in (HOST, REFUSED):
                self._see(packets.tcp(SYN, port=port, source=source), TCP, leaves=False)
            if fault == REFUSED:
                self._see(packets.tcp(RST | ACK, port=source, source=port), TCP, leaves=True)
                yield Attempt(port, None, Reply.REFUSED, str(SERVER))
            elif fault or self.clock >= self._path.stops_at:
                yield Attempt(port, None, Reply.NOTHING)
            else:
                number = self._connect(port, source)
                yield Attempt(port, _Connection(functools.partial(self._converse, number)), Reply.MUTE)

    def _converse(self, number: int, data: bytes) -> bytes:
        self.core.on_progress(number, Progress.READ)
        self._perform(self.core.received(number, data, self.clock))
        self.core.on_progress(number, Progress.WRITTEN)
        return self._sent.pop(number, b"")

    # UDP

    def _run_sweep(self, step: steps.RunSweep) -> None:
        sweep, turns = step.sweep, 0
        while not sweep.done and not self.control.lost:
            self.clock, turns = self.clock + TURN_SECONDS, turns + 1
            assert turns < MAX_TURNS, "it hangs"
            if self.clock >= self._path.interrupts_at:
                self._path.interrupts_at = 1e9
                raise KeyboardInterrupt
            probes = sweep.probes_to_send(self.clock)
            for probe in probes:
                # What follows up goes in the flows that a first probe opened.
                source = 20000 if step.large else 20000 + probe.socket
                self._send(probe.port, source, step.large, functools.partial(sweep.on_answer, probe.number))
            if sweep.wants_ping(self.clock):
                sweep.on_ping_sent(self.clock)
                self._pongs.append(self.clock + 2 * DELAY)
            if not probes and not sweep.done:
                coming = [at for at, *_ in self._arrivals[:1]] + self._pongs[:1]
                self.clock = max(self.clock, min([sweep.next_timer(self.clock), self.clock + TICK, *coming]))
            self._receive()
            if self._pongs and self._pongs[0] <= self.clock:
                self._pongs.pop(0)
                sweep.on_pong(self.clock, self.welcome.flows)
            self.control.lost |= sweep.is_unreachable(self.clock) or self.clock >= self._path.stops_at

    def _probe_ports(self, step: steps.ProbePorts) -> frozenset[int]:
        silent = dict.fromkeys(step.ports)

        def answered(port: int, now: float) -> None:
            silent.pop(port, None)

        for _ in range(step.tries):
            for port in list(silent):
                source = 20000 if step.large else 30000
                self._send(port, source, step.large, functools.partial(answered, port))
            if silent:
                self.clock += step.timeout
                self._receive()
        return frozenset(silent)

    def _send(self, port: int, source: int, large: bool, on_answer: Callable[[float], object]) -> None:
        """Send a probe: what the path and the server make of it."""
        self.clock += SEND_SECONDS
        transaction = stun.make_transaction(next(self._transactions), self._random_bytes(stun.RANDOM_BYTES))
        padding = stun.PADDING if large else 0
        data = stun.encode_request(stun.Request(self.welcome.session, transaction, port, padding), self._key)
        self._pending[transaction] = port, on_answer
        fault, path = self._path.udp.get(port), self._path
        if (source, port) not in self._flows and path.table is not None and len(self._flows) >= path.table:
            return
        self._flows.add((source, port))
        if self._is_lost() or fault == BEFORE or (fault == SMALL and len(data) > LARGE):
            return
        if fault == REFUSED:
            errors = self.refusals[port].errors if port in self.refusals else 0
            self.refusals[port] = Refusal(errors + 1, str(ROUTER), "administratively prohibited")
        elif fault == FOREIGN:
            self.foreign[port] = "the probe itself: an echo"
        elif self.clock < path.stops_at:
            self._arrive(data, source, fault if isinstance(fault, int) else port, fault)

    def _arrive(self, data: bytes, source: int, port: int, fault: str | int | None) -> None:
        self._see(packets.udp(data, port, source), UDP, leaves=False)
        answer = None if fault == HOST else self.core.datagram(data, (CLIENT, source), port)
        if answer:
            self._see(packets.udp(answer, source, port), UDP, leaves=True)
            if fault != BACK and not self._is_lost():
                heapq.heappush(self._arrivals, (self.clock + 2 * DELAY, answer, port))

    def _receive(self) -> None:
        while self._arrivals and self._arrivals[0][0] <= self.clock:
            _, answer, port = heapq.heappop(self._arrivals)
            transaction = answer[stun.HEADER.size - stun.TRANSACTION_BYTES : stun.HEADER.size]
            asked, on_answer = self._pending[transaction]
            if asked == port and stun.is_answer(answer, transaction, self._key):
                on_answer(self.clock)

    def _random_bytes(self, size: int) -> bytes:
        return self._rng.getrandbits(8 * size).to_bytes(size, "big")

    def _is_lost(self) -> bool:
        return self._rng.random() < self._path.loss

    def _see(self, segment: bytes, protocol: int, leaves: bool) -> None:
        """Show the server's interface a packet of the two."""
        ends = (SERVER.packed, CLIENT.packed) if leaves else (CLIENT.packed, SERVER.packed)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 7, 0, 64, protocol, 0)
        self.core.packet(head + b"".join(ends) + segment, leaves, "eth0")


class _Connection(socket.socket):
    """A TCP connection in memory: what is sent is answered at once; a read without an answer runs into its timeout."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:  # no socket of the system's is opened
        self._answer, self._received = answer, b""

    def settimeout(self, _: float | None) -> None:
        pass

    def sendall(self, data: Any, *_: Any) -> None:
        self._received += self._answer(data)

    def recv(self, most: int, *_: Any) -> bytes:
        data, self._received = self._received[:most], self._received[most:]
        if not data:
            raise socket.timeout
        return data

    def __exit__(self, *_: object) -> None:
        pass
