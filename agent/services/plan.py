"""Decide which services are stopped so that a plan's ports become free, in which order, and which go on running."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Iterator, Optional, Set, Tuple

from ..core.events import LeftRunning, Service, ServiceKind
from ..core.plan import Plan, Transport, ranges_by_transport
from ..core.ports import PortRange
from .model import MAX_PORTS, Container, Holder, Inventory, is_name

# Of a longer range services take ports as calls need them; what holds one now need not hold it again.
MAX_FIXED = 16
# The system itself, the way to reach it, and what runs the containers.
_NEVER = re.compile(
    r"ssh.*|systemd-.*|dbus.*|user@.*|pnmcheck.*"
    r"|(docker|containerd|snap\.docker\.dockerd|kubelet|k3s|networking|NetworkManager)\.(service|socket)"
)
# Proxies are stopped last and started first, so that users get an answer for as long as possible.
_PROXY = re.compile(r"(haproxy|nginx|apache2|httpd|caddy|traefik|envoy)\b.*")
# Services that take media ports; of any other a UDP port in the range for outgoing sockets is an outgoing socket.
_MEDIA = re.compile(r"livekit|plugnmeet|turnserver|coturn|ingress|sip|asterisk|freeswitch|rtpengine|jvb|janus")

_Ports = Set[Tuple[Transport, int]]
_Key = Tuple[Optional[ServiceKind], str]


@dataclass
class _Candidate:
    """What holds planned ports and may be stopped; without a kind it is just a process or a container."""

    kind: ServiceKind | None
    name: str
    obstacle: str = ""
    ports: _Ports = field(default_factory=set)
    programs: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)  # services of a compose project

    @property
    def key(self) -> _Key:
        return self.kind, self.name


def plan_stop(inventory: Inventory, plan: Plan) -> tuple[tuple[Service, ...], tuple[LeftRunning, ...]]:
    """Return the services to stop, in this order, and what is left running. They are started in the reverse order."""
    units = _Units(inventory)
    candidates = _candidates(inventory, units, plan)
    order: list[_Key] = []
    for key in sorted(candidates, key=lambda key: (bool(_PROXY.match(key[1])), key[1])):
        candidate = candidates[key]
        candidate.obstacle = candidate.obstacle or _outgoing_obstacle(candidate, inventory)
        if key[0] is ServiceKind.UNIT:
            candidate.obstacle = candidate.obstacle or units.obstacle(candidate.name)
        if not candidate.obstacle:
            above = units.stop_order(candidate.name) if key[0] is ServiceKind.UNIT else ()
            order += [*((ServiceKind.UNIT, name) for name in above), key]
    order = list(dict.fromkeys(order))
    left = tuple(LeftRunning(candidate.name, ranges_by_transport(candidate.ports), candidate.obstacle)
                 for candidate in candidates.values() if candidate.obstacle and candidate.key not in order)  # fmt: skip
    held = {(holder.transport, holder.port) for holder in inventory.holders}
    services = (_service(candidates.get(key) or _Candidate(*key), units, held, plan) for key in order)
    return tuple(services), left


def _candidates(inventory: Inventory, units: _Units, plan: Plan) -> dict[_Key, _Candidate]:
    """Return what holds planned ports, once each."""
    found: dict[_Key, _Candidate] = {}

    def add(candidate: _Candidate, ports: _Ports, program: str) -> None:
        known = found.setdefault(candidate.key, candidate)
        known.ports |= ports
        known.programs |= {candidate.name, program}
        known.members |= candidate.members

    by_id = {container.id: container for container in inventory.containers}
    for container in inventory.containers:
        ports = {port for port in container.published if plan.has(*port)}
        if ports:
            add(_container_candidate(container, inventory), ports, container.name)
    published = {port for container in inventory.containers for port in container.published}
    for holder in inventory.holders:
        port = (holder.transport, holder.port)
        if holder.container in by_id:
            add(_container_candidate(by_id[holder.container], inventory), {port}, holder.name)
        elif holder.name != "docker-proxy" or port not in published:
            add(_process_candidate(holder, units), {port}, holder.name)
    return found


def _process_candidate(holder: Holder, units: _Units) -> _Candidate:
    if holder.unit:
        return _Candidate(ServiceKind.UNIT, units.stopped_with(holder.unit))
    obstacle = holder.obstacle or units.unknown("Docker reports nothing about its container")
    return _Candidate(None, f"{holder.name} (pid {holder.pid})", obstacle)


def _container_candidate(container: Container, inventory: Inventory) -> _Candidate:
    unit = inventory.compose_units.get(container.folder) if container.project else None
    if unit:
        return _Candidate(ServiceKind.UNIT, unit)
    if container.auto_remove:
        return _Candidate(None, f"the container {container.name}", "Docker removes it when it stops")
    if container.project and container.service:
        return _Candidate(ServiceKind.COMPOSE, container.project, members={container.service})
    return _Candidate(ServiceKind.CONTAINER, container.name)


def _outgoing_obstacle(candidate: _Candidate, inventory: Inventory) -> str:
    outgoing = all(transport is Transport.UDP and port in inventory.ephemeral for transport, port in candidate.ports)
    media = any(_MEDIA.search(name) for name in candidate.programs)
    return "" if media or not outgoing else "it looks like an outgoing socket, to which Linux gave this port"


class _Units:
    """The units of systemd: what stops along with one, what starts one again, and what must not be stopped."""

    def __init__(self, inventory: Inventory) -> None:
        self._units, self._own, self._errors = inventory.units, inventory.own_unit, inventory.errors

    def obstacle(self, name: str, above: tuple[str, ...] = ()) -> str:
        """Return why a unit cannot be stopped and started again, or empty; it depends on the units `above`."""
        unit = self._units.get(name)
        if _NEVER.fullmatch(name):
            return "the server, or the way to reach it, depends on it"
        if name == self._own:
            return "this program runs in it"
        if not is_name(ServiceKind.UNIT, name):
            return "it is not a service"
        if name in above:
            return "it depends on itself"
        if unit is None:
            return self.unknown("systemd reports nothing about it")
        if not unit.active:
            return "systemd reports that it is not running"
        members = (self._units[trigger] for trigger in self.triggers(name))
        obstacle = unit.obstacle or next((member.obstacle for member in members if member.obstacle), "")
        for dependent in self._dependents(name):
            other = self.obstacle(dependent, (*above, name))
            obstacle = obstacle or (other and f"{dependent} would be stopped along with it, and {other}")
        return obstacle

    def unknown(self, what: str) -> str:
        """Return what is not known, with the errors of the tools that should know it."""
        return "; ".join((what, *self._errors))

    def stopped_with(self, name: str) -> str:
        """Return the running unit that a socket starts, which the socket stops with; else the unit itself."""
        unit = self._units.get(name)
        return next((other for other in (unit.starts if unit else ()) if self._active(other)), name)

    def triggers(self, name: str) -> list[str]:
        """Return the active units that would start a unit again."""
        unit = self._units.get(name)
        return sorted(trigger for trigger in (unit.triggers if unit else ()) if self._active(trigger))

    def stop_order(self, name: str) -> Iterator[str]:
        """Yield a unit after all that depend on it: systemd would stop those too, and nothing would start them."""
        for dependent in self._dependents(name):
            yield from self.stop_order(dependent)
        yield name

    def _dependents(self, name: str) -> list[str]:
        own = [name, *self.triggers(name)]
        return sorted({dependent for unit in own for dependent in self._units[unit].dependents
                       if self._active(dependent)} - {*own})  # fmt: skip

    def _active(self, name: str) -> bool:
        return name in self._units and self._units[name].active


def _service(candidate: _Candidate, units: _Units, held: _Ports, plan: Plan) -> Service:
    assert candidate.kind
    is_unit = candidate.kind is ServiceKind.UNIT
    members = units.triggers(candidate.name) if is_unit else sorted(candidate.members)
    fixed = {port for port in candidate.ports if not _shared_range(plan, *port)}
    shared = {(transport, port) for transport, number in candidate.ports - fixed
              for port in _shared_range(plan, transport, number)}  # fmt: skip
    awaited = tuple(sorted(fixed & held)[:MAX_PORTS])
    return Service(candidate.kind, candidate.name, tuple(members), ranges_by_transport(fixed | shared), awaited)


def _shared_range(plan: Plan, transport: Transport, port: int) -> PortRange | tuple[()]:
    """Return the range from which a service takes UDP ports as calls need them; empty where the port is fixed."""
    row = plan.row(transport, port)
    return row.ports if row and transport is Transport.UDP and len(row.ports) > MAX_FIXED else ()
