"""Which ports the server holds, which it could not take, and who has those."""

from __future__ import annotations

from collections import defaultdict
from typing import Callable, Iterable, Mapping, Sequence

from ..host import limits
from ..model.address import Address, Family
from ..model.notice import Untaken
from ..model.observation import Reason
from ..model.plan import Plan, Transport
from ..model.ports import PortRange, runs
from .hands import Hands
from .listen import Gap, Listener, Opener


class Holdings:
    """The sockets of a plan, and of `control` where the plan does not have it; `add` is given each one.

    This process opens them; later `hands` try those that were busy. Raises UserError where `bind` is not an address
    of this machine.
    """

    def __init__(
        self, plan: Plan, control: int | None, bind: Address | None, add: Callable[[Listener], None], hands: Hands
    ) -> None:
        self._plan, self._add, self._hands = plan, add, hands
        # TCP first: where descriptors run out, the control channel has one.
        wanted = [(transport, port) for transport in Transport for port in plan.ports(transport)]
        if control and not plan.has(Transport.TCP, control):
            wanted.insert(0, (Transport.TCP, control))
        self._opener = Opener(bind, limits.raise_descriptor_limit(2 * len(wanted)))
        self.families = self._opener.families
        self._taken: set[tuple[Transport, int]] = set()
        self._gaps: list[Gap] = []
        self._take(dict.fromkeys(wanted, self.families))
        self._opener.by = hands.open

    def _take(self, wanted: Mapping[tuple[Transport, int], Sequence[Family]]) -> None:
        for (transport, port), families in wanted.items():
            listeners, gaps = self._opener.open(transport, port, families)
            for listener in listeners:
                self._add(listener)
                self._taken.add((transport, port))
            self._gaps += gaps

    def take_freed(self) -> bool:
        """Try the ports again that were busy; whether that changed anything."""
        busy: dict[tuple[Transport, int], list[Family]] = defaultdict(list)
        for gap in self._gaps:
            if gap.reason is Reason.BUSY:
                busy[gap.transport, gap.port].append(gap.family)
        before = set(self._gaps)
        self._gaps = [gap for gap in self._gaps if gap.reason is not Reason.BUSY]
        self._take(busy)
        return set(self._gaps) != before

    @property
    def untested(self) -> dict[Family, dict[Transport, dict[int, Reason]]]:
        """Why ports could not be taken, for each family."""
        found: dict[Family, dict[Transport, dict[int, Reason]]] = {
            family: {transport: {} for transport in Transport} for family in Family
        }
        for gap in self._gaps:
            found[gap.family][gap.transport][gap.port] = gap.reason
        return found

    def listening(self) -> tuple[tuple[Transport, PortRange], ...]:
        """The planned ports that are held for every family."""
        held = self._taken - {(gap.transport, gap.port) for gap in self._gaps}
        return tuple(
            (transport, run)
            for transport in Transport
            for run in runs(port for port in self._plan.ports(transport) if (transport, port) in held)
        )

    def first_taken(self, transport: Transport, candidates: Iterable[int]) -> int | None:
        """The first of these ports that is held for every family, else the first that is held at all."""
        taken = [port for port in candidates if (transport, port) in self._taken]
        gaps = {gap.port for gap in self._gaps if gap.transport is transport}
        return next((port for port in taken if port not in gaps), taken[0] if taken else None)

    def untaken(self) -> tuple[Untaken, ...]:
        """What could not be taken, in runs of one reason and one owner."""
        families: dict[tuple[Transport, int], list[Gap]] = defaultdict(list)
        for gap in self._gaps:
            families[gap.transport, gap.port].append(gap)
        owners = {transport: self._hands.owners(transport, self._busy(transport)) for transport in Transport}
        alike: dict[tuple[Transport, Reason, str | None, Family | None], list[int]] = defaultdict(list)
        for (transport, port), gaps in families.items():
            family = gaps[0].family if len(gaps) < len(self.families) else None
            alike[transport, gaps[0].reason, owners[transport].get(port), family].append(port)
        untaken = [
            Untaken(transport, run, reason, owner, family)
            for (transport, reason, owner, family), ports in alike.items()
            for run in runs(ports)
        ]
        return tuple(sorted(untaken, key=lambda one: (one.transport.value, one.ports)))

    def _busy(self, transport: Transport) -> set[int]:
        return {gap.port for gap in self._gaps if gap.transport is transport and gap.reason is Reason.BUSY}
