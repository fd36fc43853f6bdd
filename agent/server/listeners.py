"""Binds the server's ports, and knows which of them it could not bind, and who has those."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from typing import Iterable, Mapping, Sequence

from ..core.address import Family
from ..core.errors import UserError
from ..core.events import Unavailable
from ..core.observation import Reason
from ..core.plan import HTTPS_PORT, Transport, ranges_by_transport
from ..core.ports import PortRange, port_ranges
from ..system import limits
from .listen import Gap, Listener, Opener, open_port
from .loop import Loop
from .options import Options
from .privileged import PrivilegedOperations
from .state import PortState, served_ports

# What is proposed for the control channel where services have all planned ports; none of plugNmeet's is near.
SPARE_PORT = 9443


class Listeners:
    """The sockets of a plan, and of the control port where the plan does not have it; `loop` is given each one.

    This process opens them; what it may not, `privileged` does. The UDP ports of `partitions` are bound when that is
    asked. Raises UserError where the address to bind is not one of this machine.
    """

    def __init__(
        self, options: Options, loop: Loop, privileged: PrivilegedOperations, partitions: Mapping[int, int]
    ) -> None:
        self._options, self._loop, self._privileged, self._partitions = options, loop, privileged, partitions
        self._of_partition: list[Listener] = []
        plan, control = options.plan, options.control
        # TCP first: where descriptors run out, the control channel has one.
        wanted = [(transport, port) for transport in Transport for port in plan.ports(transport)]
        if control and not plan.has(Transport.TCP, control):
            wanted.insert(0, (Transport.TCP, control))
        self._opener = Opener(options.bind, limits.raise_descriptor_limit(2 * len(wanted)))
        self.families = self._opener.families
        self._bound: set[tuple[Transport, int]] = set()
        self._gaps: list[Gap] = []
        self._owners: dict[Transport, dict[int, str]] = {transport: {} for transport in Transport}
        self._bind({(transport, port): self.families for transport, port in wanted
                    if transport is Transport.TCP or port not in partitions})  # fmt: skip
        self._opener.open_socket = self._open
        self.unavailable = self._find_unavailable()

    def bind_partition(self, partition: int) -> None:
        """Close the ports of another partition, and bind those of this one that are free."""
        self.release_partition()
        wanted = {(Transport.UDP, port): self.families for port, own in self._partitions.items() if own == partition}
        self._gaps = [gap for gap in self._gaps if (gap.transport, gap.port) not in wanted]
        for transport, port in wanted:
            self._owners[transport].pop(port, None)
        self._of_partition = self._bind(wanted)
        self.unavailable = self._find_unavailable()

    def release_partition(self) -> None:
        """Close the ports of a partition. What could not be bound stays known until it is tried again."""
        self._loop.remove(self._of_partition)
        self._opener.room += len(self._of_partition)
        self._bound.difference_update((listener.transport, listener.port) for listener in self._of_partition)
        self._of_partition = []

    def bind_freed(self) -> bool:
        """Try the ports again that were busy; return whether that changed anything."""
        busy: dict[tuple[Transport, int], list[Family]] = defaultdict(list)
        for gap in self._gaps:
            if gap.reason is Reason.BUSY:
                busy[gap.transport, gap.port].append(gap.family)
        before = set(self._gaps)
        self._gaps = [gap for gap in self._gaps if gap.reason is not Reason.BUSY]
        self._bind(busy)
        changed = set(self._gaps) != before
        if changed:
            self.unavailable = self._find_unavailable()
        return changed

    def state(self) -> PortState:
        """Return the state of the ports for the core."""
        untested: dict[Family, dict[Transport, dict[int, Reason]]] = {
            family: {transport: {} for transport in Transport} for family in Family
        }
        for gap in self._gaps:
            untested[gap.family][gap.transport][gap.port] = gap.reason
        busy = {transport: {port for run in self.unavailable if run.transport is transport and run.reason is Reason.BUSY
                            for port in run.ports} for transport in Transport}  # fmt: skip
        owners = {transport: {port: run.owner for run in self.unavailable if run.transport is transport and run.owner
                              for port in run.ports} for transport in Transport}  # fmt: skip
        served = served_ports(self._options.plan, busy) if self._options.live else {}
        return PortState(untested, owners, served, self._partitions)

    def listening(self) -> tuple[tuple[Transport, PortRange], ...]:
        """Return the planned ports that are bound for every family."""
        bound = self._bound - {(gap.transport, gap.port) for gap in self._gaps}
        planned = ((transport, port) for transport in Transport for port in self._options.plan.ports(transport))
        return ranges_by_transport(key for key in planned if key in bound)

    def control_port(self) -> int:
        """Return the port that a client is best told: the one asked for, else 443, else the first that is bound.

        Raises UserError where none is.
        """
        asked, live, plan = self._options.control, self._options.live, self._options.plan
        candidates = [asked] if asked else [HTTPS_PORT, *plan.ports(Transport.TCP)]
        # Where haproxy has 443 on IPv4 alone, as plugNmeet installs it, clients would find that.
        port = self._first_bound(candidates, for_all_families=live and not asked)
        if port:
            return port
        problem = f"Port {asked} cannot be bound" if asked else "No TCP port is left"
        why = ", ".join(f"{run.ports}/tcp is {run.reason.value}" + (f" ({run.owner})" if run.owner else "")
                        for run in self.unavailable if run.transport is Transport.TCP)  # fmt: skip
        hint = ("start with `--control PORT` and a TCP port that is free and open, or with `--stop-services` to have "
                "what holds the ports stopped for the check and started again")  # fmt: skip
        if live and not asked:
            hint = (f"open one more TCP port in the firewall for the time of the check, {SPARE_PORT} say; start with "
                    f"`--live --control {SPARE_PORT}`, and give the client `--control {SPARE_PORT}` too")  # fmt: skip
        raise UserError("no-control-port", f"{problem} for the control channel", why, hint)

    def _first_bound(self, candidates: Iterable[int], for_all_families: bool) -> int | None:
        """Return the first of these TCP ports bound for every family, else, unless that is a must, bound at all."""
        bound = [port for port in candidates if (Transport.TCP, port) in self._bound]
        gaps = {gap.port for gap in self._gaps if gap.transport is Transport.TCP}
        complete = next((port for port in bound if port not in gaps), None)
        return complete or (bound[0] if bound and not for_all_families else None)

    def _open(self, transport: Transport, port: int, families: tuple[Family, ...]) -> socket.socket:
        """Open a port in this process where it may: asking another one for thousands would take seconds."""
        try:
            return open_port(transport, port, families, self._options.bind)
        except PermissionError:
            return self._privileged.open(transport, port, families)

    def _bind(self, wanted: Mapping[tuple[Transport, int], Sequence[Family]]) -> list[Listener]:
        bound = []
        for (transport, port), families in wanted.items():
            listeners, gaps = self._opener.open(transport, port, families)
            for listener in listeners:
                self._loop.add(listener)
                self._bound.add((transport, port))
            bound += listeners
            self._gaps += gaps
        return bound

    def _find_unavailable(self) -> tuple[Unavailable, ...]:
        """Return what could not be bound, in runs of one reason and one owner."""
        families: dict[tuple[Transport, int], list[Gap]] = defaultdict(list)
        for gap in self._gaps:
            families[gap.transport, gap.port].append(gap)
        for transport in Transport:
            busy = {gap.port for gap in self._gaps if gap.transport is transport and gap.reason is Reason.BUSY}
            for port, owner in self._privileged.owners(transport, busy).items():
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
        return tuple(sorted(unavailable, key=lambda run: (run.transport.value, run.ports)))
