"""The server's sessions: their keys, what was seen of their probes, and what a probe is answered."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Callable, Collection, Mapping

from ..core.address import Address, Family, network_of
from ..core.counters import Counters, KernelStatus
from ..core.errors import DecodeError
from ..core.events import Arrival, ClientLost, Event, SessionStarted
from ..core.observation import Reason
from ..core.plan import Plan, Transport
from ..core.ports import ranges_by_value
from ..packet import ip
from ..packet.ip import SYN
from ..protocol import http_proof, messages, stun
from ..protocol.messages import PortTable
from ..protocol.stun import Request
from .flow_quota import FlowQuota
from .packet_observer import PacketObserver
from .replay_window import ReplayWindow
from .service_flows import ServiceFlows
from .source_validator import SourceValidator

# More checks at once than one machine's network is likely to get; each keeps about 1 MiB of sightings.
MAX_SESSIONS = 64
# Of one address that is not paired (of IPv6 a whole /64, which one host may have): an office behind a NAT has no more
# at a time, and a single stranger does not keep the others out.
MAX_UNPAIRED = 16
# What one core of a small server answers beside its watch of the interfaces: of more than a few sessions each gets its
# share, since what waits for seconds at the ports looks lost. A few find their pace by themselves.
PROBES_A_SECOND, FEW_SESSIONS = 10_000, 4
# Tries of one port in one session: four at least, more under loss; past that somebody uses us as a mirror.
ANSWERS_PER_PORT = 64
# Probes that were verified at the interface or at the socket, and not yet seen at the other: one packet's two sightings
# come within a turn or two of the server's loop.
MAX_RECENT = 4096
# Addresses whose connections are kept in mind, and for how many seconds: many limits let somebody in again after half a
# minute or a minute in which he did not come (ufw's, iptables' `recent`).
MAX_CALLERS, CALLER_SECONDS = 1000, 60.0
# Client's ends of UDP flows, all sessions': some NATs take another port for each of ten thousand.
MAX_ENDPOINTS = 100_000


@dataclass
class Session:
    """One client's check: its id and key, and what the server saw of its probes."""

    id: str
    key: bytes
    client: Address
    family: Family
    answers_left: int
    sightings: dict[Transport, Counter[int]] = field(default_factory=lambda: {t: Counter() for t in Transport})
    connections: Counter[int] = field(default_factory=Counter)
    let_in: frozenset[int] = frozenset()  # TCP ports that took connections from its address shortly before
    redirected: dict[Transport, dict[int, int]] = field(default_factory=lambda: {t: {} for t in Transport})
    report: list[str] = field(default_factory=list)
    report_size: int = 0
    finished: bool = False
    kernel: KernelStatus = field(default_factory=KernelStatus)  # when it began
    flows: int | None = None  # the most that it was told of those that connection tracking has free
    watch: PacketObserver = field(default_factory=PacketObserver)
    passing: ServiceFlows = field(default_factory=ServiceFlows)
    alive: dict[int, bool] = field(default_factory=dict)  # whether the services of silent UDP ports answer here
    paired: bool = False
    unsent: Counter[int] = field(default_factory=Counter)  # UDP answers that the kernel would not send, by their port
    withheld: Counter[int] = field(default_factory=Counter)  # UDP probes that were sighted and not to be answered
    sources: SourceValidator = field(default_factory=SourceValidator)
    at_interface: ReplayWindow = field(default_factory=ReplayWindow)  # UDP probes by their numbers
    at_socket: ReplayWindow = field(default_factory=ReplayWindow)
    overrun: Mapping[int, int] = field(default_factory=dict)  # when it began, as the desk's `read_overrun` told
    gave_way: int = 0  # TCP connections from its address that had to give way to others
    part: int = -1  # of the ports that are not held all at a time, which it had last

    def spend_answer(self) -> bool:
        """Whether there is one more answer to give; then it is given."""
        self.answers_left -= 1
        return self.answers_left >= 0


@dataclass(frozen=True)
class _Caller:
    """A client's address that connected to one of ours: to which ports, the last time when."""

    last: float
    ports: frozenset[int]


Untested = Mapping[Transport, Mapping[int, Reason]]


class SessionRegistry:
    """All sessions of one server. `draw` gives random bytes, `read_kernel` what the kernel tells at the moment.

    `read_overrun` tells of each UDP port how many packets its socket did not take, where it did not take some.
    `catch_up` has all that came so far passed to `probe`, and to `seen` where the interfaces are `watched`.
    `untested` and `owners`, of busy ports, may be replaced while sessions run, `served` and `parts` too. `key`
    is the pairing key, if any. `live` says that services go on running: then there is one session at a time, and `hold`
    holds one part of the ports, or none for None, but tells False where that is asked too often. `certificates` are
    by port the fingerprints of those that the disk has for services, and `ask_here` tells whether a service answers
    STUN at an own address, packed, and a UDP port.
    """

    def __init__(
        self,
        plan: Plan,
        program: str,
        tls: bool,
        everywhere: bool,
        draw: Callable[[int], bytes],
        read_kernel: Callable[[], KernelStatus] = KernelStatus,
        catch_up: Callable[[], None] = lambda: None,
        read_overrun: Callable[[], Mapping[int, int]] = dict,
        key: str | None = None,
        watched: bool = False,
        live: bool = False,
        hold: Callable[[int | None], bool] = lambda part: True,
    ) -> None:
        self.plan, self.program, self.key, self.live = plan, program, key, live
        self.tls, self.wildcard_bind = tls, everywhere
        self.untested: Mapping[Family, Untested] = {}
        self.owners: Mapping[Transport, Mapping[int, str]] = {}
        self.served: Mapping[Transport, Mapping[int, str]] = {}
        self.parts: Mapping[int, int] = {}
        self.certificates: Mapping[int, Collection[str]] = {}
        self.ask_here: Callable[[bytes, int], bool] = lambda address, port: False
        self.events: list[Event] = []
        self.sessions: dict[str, Session] = {}
        self.draw, self._read_kernel, self._catch_up, self._hold = draw, read_kernel, catch_up, hold
        self._read_overrun, self.capture = read_overrun, watched
        self._recent: dict[bytes, Request] = {}
        # With it the kernel tells probes from junk: whoever has no session guesses one of 4,294,967,296.
        self.tag = draw(stun.TAG_DIGITS // 2).hex()
        self._endpoints: dict[tuple[bytes, int], str] = {}
        self._callers: dict[tuple[Address, Address], _Caller] = {}
        self._shares = FlowQuota()
        self._udp_ports = sum(1 for _ in plan.ports(Transport.UDP))
        self._ports = self._udp_ports + sum(1 for _ in plan.ports(Transport.TCP))

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        events, self.events = self.events, []
        return events

    def open(
        self, client: Address, family: Family, let_in: frozenset[int] = frozenset(), secret: str | None = None
    ) -> Session | None:
        """A new session, or None where it is crowded. A paired one brings its secret along."""
        if self.crowded(client, secret is not None):
            return None
        session = Session(
            self._new_id(), (secret or self.draw(32).hex()).encode(), client, family,
            ANSWERS_PER_PORT * self._ports, let_in=let_in, kernel=self._read_kernel(), paired=secret is not None,
            overrun=self._read_overrun(),
        )  # fmt: skip
        promised = sum(map(self._flows_to_come, self.sessions.values()))
        self.sessions[session.id] = session
        session.flows = self._shares.at_start(session.kernel.free_flows, self._parts(client), promised)
        self.events.append(SessionStarted(client))
        return session

    def _new_id(self) -> str:
        drawn = (self.tag + self.draw(stun.TAG_DIGITS // 2).hex() for _ in itertools.count())
        return next(one for one in drawn if one not in self.sessions)

    def crowded(self, client: Address, paired: bool) -> str:
        """Why there is no room for another session of this client; empty where there is."""
        if self.live and self.sessions:
            return "another check is running, and with --live there is one at a time"
        if len(self.sessions) >= MAX_SESSIONS:
            return f"{MAX_SESSIONS} checks are running already"
        mine = network_of(client)
        unpaired = sum(not one.paired and network_of(one.client) == mine for one in self.sessions.values())
        if not paired and unpaired >= MAX_UNPAIRED:
            return f"{MAX_UNPAIRED} checks without a pairing key are running already from that address"
        return ""

    def _parts(self, client: Address) -> int:
        """Of how many equal parts of what they share a session of this client's has one.

        Each network has the same, however many sessions it holds, and that is cut among its sessions.
        """
        networks = Counter(network_of(one.client) for one in self.sessions.values())
        return len(networks) * networks[network_of(client)]

    def _flows_to_come(self, session: Session) -> int:
        """How many flows a session is going to make, one for each port, before it asks whether there is room."""
        return max(0, min((session.flows or 0) // 2, self._udp_ports) - len(session.sightings[Transport.UDP]))

    def close(self, session: Session) -> None:
        """The session's control channel is gone, and the session with it."""
        del self.sessions[session.id]
        self.give_back()
        if not session.finished:
            self.events.append(ClientLost(session.client))

    def take(self, session: Session, part: int) -> bool:
        """Hold one part of the ports for a session, and no other; False where that is asked too often."""
        if part <= session.part or not self.parts:
            return False
        session.part = part
        return self._hold(part)

    def give_back(self) -> None:
        """The ports that are not held all at a time are needed no more."""
        self._hold(None)

    def connected(self, client: tuple[Address, int], here: tuple[Address, int], now: float) -> frozenset[int]:
        """Somebody connected to a TCP port, a sighting for the sessions from that address: to which ports of late.

        This one is among them. Each check keeps them in mind for another while: one that
        is stopped there may keep a limit alive.
        """
        port = here[1]
        for session in self._of(client[0]):
            session.connections[port] += 1
            session.watch.accepted(port, client[1])
        before = self._callers.pop((client[0], here[0]), None)
        ports = before.ports if before and now - before.last <= CALLER_SECONDS else frozenset()
        self._callers[client[0], here[0]] = _Caller(now, ports | {port})
        if len(self._callers) > MAX_CALLERS:
            del self._callers[next(iter(self._callers))]
        return ports | {port}

    def heard(self, client: tuple[Address, int], port: int) -> None:
        """Something was read from a TCP connection."""
        for session in self._of(client[0]):
            session.watch.heard(port, client[1])

    def said(self, client: tuple[Address, int], port: int) -> None:
        """Something was written to a TCP connection."""
        for session in self._of(client[0]):
            session.watch.said(port, client[1])

    def gave_way(self, client: Address) -> None:
        """A connection from there had to give way to others."""
        for session in self._of(client):
            session.gave_way += 1

    def unsent(self, client: tuple[Address, int], port: int) -> None:
        """The kernel would not send a UDP answer: a rule of this host's own stops it."""
        session = self.sessions.get(self._endpoints.get((client[0].packed, client[1]), ""))
        if session:
            session.unsent[port] += 1

    def _of(self, client: Address) -> list[Session]:
        return [session for session in self.sessions.values() if session.client == client]

    def seen(self, data: bytes, leaves: bool, interface: str) -> None:
        """A packet at a network interface, from its IP header on, that came in or leaves."""
        try:
            seen = ip.decode(data)
        except DecodeError:
            return
        if seen.transport is Transport.UDP:
            self._seen_udp(seen, leaves, interface)
        elif leaves:
            for session in self._of_packed(seen.destination):
                session.watch.went(seen)
                if self._is_served(Transport.TCP, seen.source_port):
                    session.passing.went(seen)
        elif self.plan.has(Transport.TCP, seen.port):
            mine = self._of_packed(seen.source)
            for session in mine:
                session.watch.came(seen)
                if self._is_served(Transport.TCP, seen.port):
                    session.passing.came(seen)
                session.watch.arrival = Arrival(interface, seen.destination)
            if seen.flags & SYN:
                for session in self.sessions.values():
                    if session not in mine:
                        session.watch.stranger_came(seen.port)

    def _is_served(self, transport: Transport, port: int) -> bool:
        return port in self.served.get(transport, ())

    def _of_packed(self, client: bytes) -> list[Session]:
        return [session for session in self.sessions.values() if session.client.packed == client]

    def _seen_udp(self, seen: ip.Packet, leaves: bool, interface: str) -> None:
        if leaves:
            if self._is_served(Transport.UDP, seen.source_port):
                for one in self.sessions.values():
                    one.passing.went(seen)
            session = self.sessions.get(self._endpoints.get((seen.destination, seen.port), ""))
            if session and self.plan.has(Transport.UDP, seen.source_port):
                session.watch.left[seen.source_port] += 1
            return
        request, prober = self._read_probe(seen.payload)
        if not request or not prober:
            return
        # The last of several interfaces is the one that the firewall sees.
        prober.watch.arrival = Arrival(interface, seen.destination)
        # A packet is seen again at a VLAN's or a bridge's interface; it is one probe all the same.
        number = stun.probe_number(request.transaction)
        # A service's port is tried apart from the others, by probes without a number.
        fresh = prober.at_interface.take(number) if number or not self.live else prober.passing.came(seen)
        if fresh and self.plan.has(Transport.UDP, request.port):
            prober.watch.at_interface[Transport.UDP][request.port] += 1

    def probe(self, data: bytes, source: tuple[Address, int], transport: Transport, port: int) -> bytes | None:
        """The answer to a STUN probe that came in at `port`; None for anything that deserves silence."""
        request, session = self._read_probe(data)
        if not request or not session:
            return None
        udp = transport is Transport.UDP
        if udp and not session.at_socket.take(stun.probe_number(request.transaction)):
            return None  # one that came before: the network doubled it, or somebody sends what he overheard
        if not self._sighted(session, transport, request.port, port):
            return None
        # A connection proves whose address it is; of a datagram anybody may have written the source.
        nonce = self._nonce_for(session, source[0]) if udp else ""
        if nonce is not None and session.spend_answer():
            answer = stun.encode_answer(request.transaction, *source, session.key, request.padding, nonce)
            if len(answer) <= len(data):
                self._remember(session, source)
                return answer
        session.withheld[port] += udp
        return None

    def _nonce_for(self, session: Session, source: Address) -> str | None:
        if source == session.client:
            return ""
        session.sources.note(source, self.draw)
        return session.sources.nonce_for(source)

    def _remember(self, session: Session, source: tuple[Address, int]) -> None:
        self._endpoints[source[0].packed, source[1]] = session.id
        if len(self._endpoints) > MAX_ENDPOINTS:
            del self._endpoints[next(iter(self._endpoints))]

    def _read_probe(self, data: bytes) -> tuple[Request, Session] | tuple[None, None]:
        """A probe of a live session, verified once for its two sightings, and the session; else nothing."""
        request = self._recent.get(data)
        if request is None:
            try:
                request = stun.decode_probe(data, self._key_of)
            except DecodeError:
                return None, None
            if self.capture:
                self._recent[data] = request
                if len(self._recent) > MAX_RECENT:
                    del self._recent[next(iter(self._recent))]
        session = self.sessions.get(request.username)
        return (request, session) if session else (None, None)

    def _key_of(self, session_id: str) -> bytes | None:
        session = self.sessions.get(session_id)
        return session.key if session else None

    def token(self, token: http_proof.Token, port: int, certificate: bytes) -> str | None:
        """The proof for an HTTP token that came in at `port`; None for a stranger's."""
        session = self.sessions.get(token.session)
        if session is None or not http_proof.verify_token(token, session.key):
            return None
        if not self._sighted(session, Transport.TCP, token.port, port):
            return None
        return http_proof.make_proof(token, certificate, session.key) if session.spend_answer() else None

    def _sighted(self, session: Session, transport: Transport, meant: int, port: int) -> bool:
        """Record a probe meant for one port that came in at another or the same; whether it came as it was meant."""
        if not self.plan.has(transport, meant):
            return False
        session.sightings[transport][meant] += 1
        if meant != port:
            session.redirected[transport][meant] = port
            return False
        return True

    def rows(self, session: Session, ask: messages.AskRows) -> messages.Rows:
        """One page of what a client may know of its own session."""
        self._catch_up()
        untested = self.untested.get(session.family, {}).get(ask.transport, {})
        tables: dict[PortTable, Mapping[int, int] | Mapping[int, str]] = {
            PortTable.SIGHTINGS: session.sightings[ask.transport],
            PortTable.AT_INTERFACE: session.watch.at_interface[ask.transport],
            PortTable.RECEIVE_DROPS: self._overrun(session)
            if (ask.table, ask.transport) == (PortTable.RECEIVE_DROPS, Transport.UDP)
            else {},
            PortTable.UNANSWERED: session.withheld if ask.transport is Transport.UDP else {},
            PortTable.ANSWERS_SENT: self._left(session) if ask.transport is Transport.UDP else {},
            PortTable.PLACES: session.watch.places(self.plan.ports(ask.transport))
            if ask.transport is Transport.TCP
            else {},
            PortTable.CONNECTIONS: session.connections if ask.transport is Transport.TCP else {},
            PortTable.ACCEPTED_BEFORE: dict.fromkeys(session.let_in, 1) if ask.transport is Transport.TCP else {},
            PortTable.REDIRECTED: session.redirected[ask.transport],
            PortTable.UNTESTED: {port: reason.value for port, reason in untested.items()},
            PortTable.OWNERS: self._owners(ask.transport) if session.paired else {},
            PortTable.SERVED: self.served.get(ask.transport, {}),
            PortTable.PARTITIONS: self.parts if ask.transport is Transport.UDP else {},
        }
        about = tables[ask.table]
        ascending = ((port, about[port]) for port in sorted(about) if port >= ask.start)
        page = list(itertools.islice(ranges_by_value(ascending), messages.MAX_ROWS + 1))
        following = page[messages.MAX_ROWS][0].first if len(page) > messages.MAX_ROWS else None
        return messages.Rows(tuple(page[: messages.MAX_ROWS]), following)

    def service(self, session: Session, ask: messages.AskService) -> messages.ServiceReply:
        """What passed the interface at a port that a service holds, in the flow of the client's that has this mark."""
        self._catch_up()
        told = session.passing.tell(ask)
        arrival, silent = session.watch.arrival, ask.transport is Transport.UDP and told.arrived and not told.size
        if silent and arrival and self._is_served(Transport.UDP, ask.port):
            if ask.port not in session.alive:  # it takes a while, so not as often as the client likes
                session.alive[ask.port] = self.ask_here(arrival.address, ask.port)
            told = replace(told, alive=session.alive[ask.port])
        known = self.certificates.get(ask.port) if ask.certificate else None
        return replace(told, on_disk=ask.certificate in known) if known else told

    def _overrun(self, session: Session) -> Mapping[int, int]:
        """The UDP packets that sockets did not take since the session began, by port.

        A socket's count has what its filter dropped, too; where no receive buffer was full at all, that was all of it.
        """
        if self._counters(session, self._read_kernel()).receive_errors == 0:
            return {}
        return Counter(self._read_overrun()) - Counter(session.overrun)

    def _left(self, session: Session) -> Mapping[int, int]:
        """The UDP answers that left, by port: what the interface showed, else what the kernel took to send."""
        if self.capture:
            return session.watch.left
        return session.sightings[Transport.UDP] - session.withheld - session.unsent

    def _owners(self, transport: Transport) -> dict[int, str]:
        """Who holds the busy ports, of as many as fit into a line."""
        named = sorted(self.owners.get(transport, {}).items())[: messages.MAX_OWNERS]
        return {port: owner[: messages.MAX_TEXT] for port, owner in named}

    def kernel(self, session: Session) -> KernelStatus:
        """What the kernel has room for now, the session's share, and what it dropped since that began, all clients'.

        Anyone may be told, unpaired too: these are packets that the check itself may have cost, and they decide whether
        its silence is a firewall's. Only the difference is told, since what the host dropped before is its own affair.
        """
        now, parts = self._read_kernel(), self._parts(session.client)
        flows = self._shares.later(now.free_flows, parts, session.flows)
        if flows is not None:
            session.flows = max(flows, session.flows or 0)
        rate = PROBES_A_SECOND // parts if len(self.sessions) > FEW_SESSIONS else None
        return KernelStatus(flows, self._counters(session, now), rate)

    def _counters(self, session: Session, now: KernelStatus) -> Counters:
        counters = now.counters.since(session.kernel.counters)
        if session.gave_way:
            counters = replace(counters, listen_drops=(counters.listen_drops or 0) + session.gave_way)
        return counters
