"""The server's sessions: who may open one, and what each gets of what all of them share."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Callable, Iterator

from ..core.address import Address, Family, network_of
from ..core.counters import KernelStatus
from ..core.events import ClientLost, SessionStarted
from ..core.plan import Transport
from ..protocol import stun
from .commands import Command, Emit, ReleasePartitions, WatchClient
from .flow_quota import FlowQuota
from .session import Session
from .state import Measurement, PortState, Settings
from .token_bucket import TokenBucket

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


class SessionRegistry:
    """All sessions of one server. `random_bytes` gives so many; what is to be done goes to `outbox`."""

    def __init__(
        self, settings: Settings, ports: PortState, random_bytes: Callable[[int], bytes], outbox: list[Command]
    ) -> None:
        self.settings, self.ports, self.random_bytes, self._outbox = settings, ports, random_bytes, outbox
        self.sessions: dict[str, Session] = {}
        # With it the kernel tells probes from junk: whoever has no session guesses one of 4,294,967,296.
        self.tag = random_bytes(stun.TAG_DIGITS // 2).hex()
        self._endpoints: dict[tuple[bytes, int], str] = {}
        self._quota, self._binds = FlowQuota(), TokenBucket(BINDS, BINDS_A_SECOND)
        self._udp_ports = sum(1 for _ in settings.plan.ports(Transport.UDP))
        self._tcp_ports = sum(1 for _ in settings.plan.ports(Transport.TCP))

    def replace_ports(self, ports: PortState) -> None:
        """Replace the state of the ports."""
        self.ports = ports

    def refusal_reason(self, client: Address, paired: bool) -> str:
        """Return why there is no room for another session of this client; empty where there is."""
        if self.settings.live and self.sessions:
            return "another check is running, and with --live there is one at a time"
        if len(self.sessions) >= MAX_SESSIONS:
            return f"{MAX_SESSIONS} checks are running already"
        network = network_of(client)
        unpaired = sum(not session.paired and network_of(session.client) == network for session in self)
        if not paired and unpaired >= MAX_UNPAIRED:
            return f"{MAX_UNPAIRED} checks without a pairing key are running already from that address"
        return ""

    def open(
        self, client: Address, family: Family, accepted_before: frozenset[int], secret: str | None, now: Measurement
    ) -> Session:
        """Open a session, for which there has to be room; a paired one brings its secret along."""
        session = Session(
            self._new_id(), (secret or self.random_bytes(32).hex()).encode(), client, family,
            ANSWERS_PER_PORT * (self._udp_ports + self._tcp_ports), secret is not None, now, accepted_before,
        )  # fmt: skip
        promised = sum(map(self._flows_to_come, self))
        self.sessions[session.id] = session
        session.flow_quota = self._quota.at_start(now.kernel.free_flows, self._shares(client), promised)
        self._outbox.append(Emit(SessionStarted(client)))
        if self.settings.live:
            self._outbox.append(WatchClient(client))
        return session

    def close(self, session: Session) -> None:
        """End a session: its control channel is gone."""
        del self.sessions[session.id]
        self.release_partitions()
        if self.settings.live:
            self._outbox.append(WatchClient(None))
        if not session.finished:
            self._outbox.append(Emit(ClientLost(session.client)))

    def release_partitions(self) -> None:
        """Have the ports that are not bound all at a time closed, where there are any."""
        if self.ports.partitions:
            self._outbox.append(ReleasePartitions())

    def may_bind(self, session: Session, partition: int, now: float) -> bool:
        """Return whether a session may have this partition bound, each once and in order; then it counts as had."""
        if partition <= session.partition or not self.ports.partitions:
            return False
        session.partition = partition
        return self._binds.consume(now)

    def kernel(self, session: Session, now: Measurement) -> KernelStatus:
        """Return the session's share of what the kernel has room for, and what it dropped since the session began.

        Anyone may be told, unpaired too: these are packets that the check itself may have cost, and they decide whether
        its silence is a firewall's. Only the difference is told, since what the host dropped before is its own affair.
        """
        shares = self._shares(session.client)
        flows = self._quota.later(now.kernel.free_flows, shares, session.flow_quota)
        if flows is not None:
            session.flow_quota = max(flows, session.flow_quota or 0)
        rate = PROBES_A_SECOND // shares if len(self.sessions) > FEW_SESSIONS else None
        return KernelStatus(flows, session.counters(now), rate)

    def of_address(self, client: bytes) -> list[Session]:
        """Return the sessions of a client's packed address."""
        return [session for session in self if session.client.packed == client]

    def remember_endpoint(self, source: tuple[Address, int], session: Session) -> None:
        """Remember whose end of a UDP flow this is: it was answered there."""
        self._endpoints[source[0].packed, source[1]] = session.id
        if len(self._endpoints) > MAX_ENDPOINTS:
            del self._endpoints[next(iter(self._endpoints))]

    def of_endpoint(self, address: bytes, port: int) -> Session | None:
        """Return the session that was answered at this end of a UDP flow."""
        return self.sessions.get(self._endpoints.get((address, port), ""))

    def key_of(self, session_id: str) -> bytes | None:
        """Return a session's key, None where there is no such session."""
        session = self.sessions.get(session_id)
        return session.key if session else None

    def __iter__(self) -> Iterator[Session]:
        return iter(self.sessions.values())

    def _new_id(self) -> str:
        ids = (self.tag + self.random_bytes(stun.TAG_DIGITS // 2).hex() for _ in itertools.count())
        return next(drawn for drawn in ids if drawn not in self.sessions)

    def _shares(self, client: Address) -> int:
        """Return of how many equal parts of what they share a session of this client's has one.

        Each network has the same, however many sessions it holds, and that is cut among its sessions.
        """
        networks = Counter(network_of(session.client) for session in self)
        return len(networks) * networks[network_of(client)]

    def _flows_to_come(self, session: Session) -> int:
        """Return how many flows a session is going to make, one for each port, before it asks whether there is room."""
        planned = min((session.flow_quota or 0) // 2, self._udp_ports)
        return max(0, planned - len(session.sightings[Transport.UDP]))
