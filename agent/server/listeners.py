"""Which ports the server holds, which it could not take, and who has those."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from typing import Iterable, Mapping, Sequence

from ..core.address import Address, Family
from ..core.events import Unavailable
from ..core.observation import Reason
from ..core.plan import Plan, Transport, ranges_by_transport
from ..core.ports import PortRange, port_ranges
from ..system import limits
from .listen import Gap, Listener, Opener, open_port
from .loop import Loop
from .privileged import PrivilegedOperations


class Listeners:
    """The sockets of a plan, and of `control` where the plan does not have it; `loop` is given each one.

    This process opens them; later `hands` do what it may not. Those of `parts`, UDP ports, are held when that is asked.
    Raises UserError where `bind` is not an address of this machine.
    """

    def __init__(
        self,
        plan: Plan,
        control: int | None,
        bind: Address | None,
        loop: Loop,
        hands: PrivilegedOperations,
        parts: Mapping[int, int],
    ) -> None:
        self._plan, self._loop, self._hands, self._parts = plan, loop, hands, parts
        self._bind = bind
        self._lent: list[Listener] = []
        # TCP first: where descriptors run out, the control channel has one.
        wanted = [(transport, port) for transport in Transport for port in plan.ports(transport)]
        if control and not plan.has(Transport.TCP, control):
            wanted.insert(0, (Transport.TCP, control))
        self._opener = Opener(bind, limits.raise_descriptor_limit(2 * len(wanted)))
        self.families = self._opener.families
        self._taken: set[tuple[Transport, int]] = set()
        self._gaps: list[Gap] = []
        self._owners: dict[Transport, dict[int, str]] = {transport: {} for transport in Transport}
        wanted = [(transport, port) for transport, port in wanted if transport is Transport.TCP or port not in parts]
        self._take(dict.fromkeys(wanted, self.families))
        self._opener.by = self._open

    def _open(self, transport: Transport, port: int, families: tuple[Family, ...]) -> socket.socket:
        """By this process where it may: of another one thousands would take seconds."""
        try:
            return open_port(transport, port, families, self._bind)
        except PermissionError:
            return self._hands.open(transport, port, families)

    def _take(self, wanted: Mapping[tuple[Transport, int], Sequence[Family]]) -> list[Listener]:
        taken = []
        for (transport, port), families in wanted.items():
            listeners, gaps = self._opener.open(transport, port, families)
            for listener in listeners:
                self._loop.add(listener)
                self._taken.add((transport, port))
            taken += listeners
            self._gaps += gaps
        return taken

    def hold(self, part: int | None) -> None:
        """Give the ports of another part back, and hold those of this one that are free; none for None.

        What could not be taken stays known until it is tried again.
        """
        self._loop.remove(self._lent)
        self._opener.room += len(self._lent)
        self._taken.difference_update((one.transport, one.port) for one in self._lent)
        wanted = {(Transport.UDP, port): self.families for port, its in self._parts.items() if its == part}
        self._gaps = [gap for gap in self._gaps if (gap.transport, gap.port) not in wanted]
        for transport, port in wanted:
            self._owners[transport].pop(port, None)
        self._lent = self._take(wanted)

    def bind_freed(self) -> bool:
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
        planned = ((transport, port) for transport in Transport for port in self._plan.ports(transport))
        return ranges_by_transport(key for key in planned if key in held)

    def first_taken(self, transport: Transport, candidates: Iterable[int], everywhere: bool = False) -> int | None:
        """The first of these ports that is held for every family, else, unless that is a must, that is held at all."""
        taken = [port for port in candidates if (transport, port) in self._taken]
        gaps = {gap.port for gap in self._gaps if gap.transport is transport}
        return next((port for port in taken if port not in gaps), taken[0] if taken and not everywhere else None)

    def unavailable(self) -> tuple[Unavailable, ...]:
        """What could not be taken, in runs of one reason and one owner."""
        families: dict[tuple[Transport, int], list[Gap]] = defaultdict(list)
        for gap in self._gaps:
            families[gap.transport, gap.port].append(gap)
        for transport in Transport:
            for port, owner in self._hands.owners(transport, self._busy(transport)).items():
                if not owner.endswith(f"(pid {os.getpid()})"):  # which holds it for another family
                    self._owners[transport][port] = owner
        alike: dict[tuple[Transport, Reason, str | None, Family | None], list[int]] = defaultdict(list)
        for (transport, port), gaps in families.items():
            family = gaps[0].family if len(gaps) < len(self.families) else None
            alike[transport, gaps[0].reason, self._owners[transport].get(port), family].append(port)
        unavailable = [
            Unavailable(transport, run, reason, owner, family)
            for (transport, reason, owner, family), ports in alike.items()
            for run in port_ranges(ports)
        ]
        return tuple(sorted(unavailable, key=lambda one: (one.transport.value, one.ports)))

    def _busy(self, transport: Transport) -> set[int]:
        return {gap.port for gap in self._gaps if gap.transport is transport and gap.reason is Reason.BUSY}
