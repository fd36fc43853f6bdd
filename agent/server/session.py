"""One client's check, as the server keeps it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Mapping

from ..core.address import Address, Family
from ..core.counters import Counters
from ..core.plan import Transport
from .packet_observer import PacketObserver
from .replay_window import ReplayWindow
from .service_flows import ServiceFlows
from .source_validator import SourceValidator
from .state import Measurement


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
    report_size: int = 0
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

    def receive_drops(self, now: Measurement) -> Mapping[int, int]:
        """Return by port the UDP packets that sockets did not take since the session began.

        A socket's count has what its filter dropped, too; where no receive buffer was full at all, that was all of it.
        """
        if self.counters(now).receive_errors == 0:
            return {}
        return Counter(now.receive_drops) - Counter(self.at_start.receive_drops)
