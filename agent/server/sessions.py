"""The server's sessions: each client's check, who may open one, and what each gets of what all of them share."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Callable, Mapping, Union

from ..core.address import Address, Family, network_of
from ..core.counters import Counters, KernelStatus
from ..core.events import ClientLost, SessionStarted
from ..core.plan import Transport
from ..core.ports import ranges_by_value
from ..protocol import messages, stun
from ..protocol.messages import PortTable
from .commands import Command, Emit, ReleasePartitions, WatchClient
from .limits import FlowQuota, ReplayWindow, SourceValidator, TokenBucket
from .packet_observer import PacketObserver, ServiceFlows
from .state import Endpoint, Measurement, PortState, Settings

# More checks at once than one machine's network is likely to get; each keeps about 1 MiB of sightings.
MAX_SESSIONS = 64
# Of one address that is not paired (of IPv6 a whole /64, which one host may have): an office behind a NAT has no more
# at a time, and a single stranger does not keep the others out.
MAX_UNPAIRED = 16
# What one core of a small server answers beside its capture of the interfaces: of more than a few sessions each gets
# its share, since what waits for seconds at the ports looks lost. A few find their pace by themselves.
PROBES_A_SECOND, FEW_SESSIONS = 10_000, 4
# Tries of one port in one session: four at least, more under loss; past that somebody uses us as a mirror.
ANSWERS_PER_PORT = 64
# Client's ends of UDP flows, all sessions': some NATs take another port for each of ten thousand.
MAX_ENDPOINTS = 100_000
# Times that a partition is bound: two for each address of a host, and a few checks one after the other; then, each
# takes a tenth of a second of a server that is in service.
BINDS, BINDS_A_SECOND = 30, 0.5

_Table = Union[Mapping[int, int], Mapping[int, str]]


@dataclass
class Session:
    """The id and key of one client's check, and what the server saw of its probes."""

    id: str
    key: bytes
    client: Address
    family: Family
    answers_left: int
    paired: bool = False
    at_start: Measurement = field(default_factory=Measurement)
    accepted_before: frozenset[int] = frozenset()  # TCP ports that took connections from its address shortly before
    sightings: dict[Transport, Counter[int]] = field(default_factory=lambda: {t: Counter() for t in Transport})
    redirected: dict[Transport, dict[int, int]] = field(default_factory=lambda: {t: {} for t in Transport})
    connections: Counter[int] = field(default_factory=Counter)
    displaced_connections: int = 0  # TCP connections from its address that were closed to make room for others
    unanswered: Counter[int] = field(default_factory=Counter)  # UDP probes that were sighted and not to be answered
    answers_not_sent: Counter[int] = field(default_factory=Counter)  # by the UDP port whose answer the kernel refused
    sources: SourceValidator = field(default_factory=SourceValidator)
    at_interface: ReplayWindow = field(default_factory=ReplayWindow)  # UDP probes by their numbers
    at_socket: ReplayWindow = field(default_factory=ReplayWindow)
    observer: PacketObserver = field(default_factory=PacketObserver)
    service_flows: ServiceFlows = field(default_factory=ServiceFlows)
    local_answers: dict[int, bool] = field(default_factory=dict)  # by port: a silent UDP service answers here
    flow_quota: int | None = None  # the most that it was told of the entries that connection tracking has free
    partition: int = -1  # the last that it had
    report: list[str] = field(default_factory=list)
    finished: bool = False

    def spend_answer(self) -> bool:
        """Return whether there is one more answer to give; then it is given."""
        self.answers_left -= 1
        return self.answers_left >= 0

    def counters(self, now: Measurement) -> Counters:
        """Return what the kernel dropped since the session began."""
        counters = now.kernel.counters.since(self.at_start.kernel.counters)
        if self.displaced_connections:
            counters = replace(counters, listen_drops=(counters.listen_drops or 0) + self.displaced_connections)
        return counters

    def rows(self, ask: messages.AskRows, settings: Settings, ports: PortState, now: Measurement) -> messages.Rows:
        """Return one page of what the client may know of its own session; `now` is for the receive drops alone."""
        transport = ask.transport
        # Of as many as fit into a line.
        owners = sorted(ports.owners.get(transport, {}).items())[: messages.MAX_OWNERS if self.paired else 0]
        tables: dict[PortTable, Callable[[], _Table]] = {
            PortTable.SIGHTINGS: lambda: self.sightings[transport],
            PortTable.AT_INTERFACE: lambda: self.observer.at_interface[transport],
            PortTable.REDIRECTED: lambda: self.redirected[transport],
            PortTable.UNTESTED: lambda: ports.untested.get(self.family, {}).get(transport, {}),
            PortTable.OWNERS: lambda: {port: owner[: messages.MAX_TEXT] for port, owner in owners},
            PortTable.SERVED: lambda: ports.served.get(transport, {}),
        }
        of_udp: dict[PortTable, Callable[[], _Table]] = {
            PortTable.RECEIVE_DROPS: lambda: Counter(now.receive_drops) - Counter(self.at_start.receive_drops),
            PortTable.UNANSWERED: lambda: self.unanswered,
            PortTable.ANSWERS_SENT: lambda: self.observer.answers_sent if settings.capture else self._answers_sent(),
            PortTable.PARTITIONS: lambda: ports.partitions,
        }
        of_tcp: dict[PortTable, Callable[[], _Table]] = {
            PortTable.PLACES: lambda: self.observer.places(settings.plan.ports(Transport.TCP)),
            PortTable.CONNECTIONS: lambda: self.connections,
            PortTable.ACCEPTED_BEFORE: lambda: dict.fromkeys(self.accepted_before, 1),
        }
        tables.update(of_udp if transport is Transport.UDP else of_tcp)
        table = tables[ask.table]() if ask.table in tables else {}
        ascending = ((port, table[port]) for port in sorted(table) if port >= ask.start)
        rows = list(itertools.islice(ranges_by_value(ascending), messages.MAX_ROWS + 1))
        following = rows[messages.MAX_ROWS][0].first if len(rows) > messages.MAX_ROWS else None
        return messages.Rows(tuple(rows[: messages.MAX_ROWS]), following)

    def _answers_sent(self) -> Mapping[int, int]:
        return self.sightings[Transport.UDP] - self.unanswered - self.answers_not_sent


class SessionRegistry:
    """All sessions of one server. `random_bytes` gives so many; to `outbox` all append what is to be done."""

    def __init__(self, settings: Settings, ports: PortState, random_bytes: Callable[[int], bytes]) -> None:
        self.settings, self.ports, self.random_bytes = settings, ports, random_bytes
        self.outbox: list[Command] = []
        self.sessions: dict[str, Session] = {}
        # With it the kernel tells probes from junk: whoever has no session guesses one of 4,294,967,296.
        self.tag = random_bytes(stun.TAG_DIGITS // 2).hex()
        self._endpoints: dict[tuple[bytes, int], str] = {}
        self._quota, self._binds = FlowQuota(), TokenBucket(BINDS, BINDS_A_SECOND)
        self._ports = {transport: sum(1 for _ in settings.plan.ports(transport)) for transport in Transport}

    def refusal_reason(self, client: Address, paired: bool) -> str:
        """Return why there is no room for another session of this client; empty where there is."""
        if self.settings.live and self.sessions:
            return "another check is running, and with --live there is one at a time"
        if len(self.sessions) >= MAX_SESSIONS:
            return f"{MAX_SESSIONS} checks are running already"
        network = network_of(client)
        unpaired = sum(not own.paired and network_of(own.client) == network for own in self.sessions.values())
        if not paired and unpaired >= MAX_UNPAIRED:
            return f"{MAX_UNPAIRED} checks without a pairing key are running already from that address"
        return ""

    def open(
        self, client: Address, family: Family, accepted_before: frozenset[int], secret: str | None, now: Measurement
    ) -> Session:
        """Open a session, for which there has to be room; a paired one brings its secret along."""
        ids = (self.tag + self.random_bytes(stun.TAG_DIGITS // 2).hex() for _ in itertools.count())
        session = Session(
            next(drawn for drawn in ids if drawn not in self.sessions),
            (secret or self.random_bytes(32).hex()).encode(), client, family,
            ANSWERS_PER_PORT * sum(self._ports.values()), secret is not None, now, accepted_before,
        )  # fmt: skip
        # What the others are going to make, one flow for each port, before they ask whether there is room.
        planned = ((min((own.flow_quota or 0) // 2, self._ports[Transport.UDP]), own) for own in self.sessions.values())
        promised = sum(max(0, flows - len(own.sightings[Transport.UDP])) for flows, own in planned)
        self.sessions[session.id] = session
        session.flow_quota = self._quota.at_start(now.kernel.free_flows, self._shares(client), promised)
        self.outbox.append(Emit(SessionStarted(client)))
        if self.settings.live:
            self.outbox.append(WatchClient(client))
        return session

    def close(self, session: Session) -> None:
        """End a session: its control channel is gone."""
        del self.sessions[session.id]
        self.release_partitions()
        if self.settings.live:
            self.outbox.append(WatchClient(None))
        if not session.finished:
            self.outbox.append(Emit(ClientLost(session.client)))

    def release_partitions(self) -> None:
        """Have the ports that are not bound all at a time closed, where there are any."""
        if self.ports.partitions:
            self.outbox.append(ReleasePartitions())

    def may_bind(self, session: Session, partition: int, now: float) -> bool:
        """Return whether a session may have this partition bound, each once and in order; then it counts as had."""
        if partition <= session.partition or not self.ports.partitions:
            return False
        session.partition = partition
        return self._binds.consume(now)

    def kernel(self, session: Session, now: Measurement) -> KernelStatus:
        """Return the session's share of what the kernel has room for, and what it dropped since the session began."""
        # Anyone may be told, unpaired too: these are packets that the check itself may have cost, and they decide
        # whether its silence is a firewall's. What the host dropped before is its own affair.
        shares = self._shares(session.client)
        flows = self._quota.later(now.kernel.free_flows, shares, session.flow_quota)
        if flows is not None:
            session.flow_quota = max(flows, session.flow_quota or 0)
        rate = PROBES_A_SECOND // shares if len(self.sessions) > FEW_SESSIONS else None
        return KernelStatus(flows, session.counters(now), rate)

    def of_address(self, client: bytes) -> list[Session]:
        """Return the sessions of a client's packed address."""
        return [session for session in self.sessions.values() if session.client.packed == client]

    def remember_endpoint(self, source: Endpoint, session: Session) -> None:
        """Remember whose end of a UDP flow this is: it was answered there."""
        self._endpoints[source[0].packed, source[1]] = session.id
        if len(self._endpoints) > MAX_ENDPOINTS:
            del self._endpoints[next(iter(self._endpoints))]

    def of_endpoint(self, address: bytes, port: int) -> Session | None:
        """Return the session that was answered at this end of a UDP flow."""
        return self.sessions.get(self._endpoints.get((address, port), ""))

    def _shares(self, client: Address) -> int:
        """Return of how many parts a session of this client's has one: each network has the same for all of its own."""
        networks = Counter(network_of(session.client) for session in self.sessions.values())
        return len(networks) * networks[network_of(client)]
