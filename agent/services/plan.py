"""Which services are stopped so that a plan's ports become free, in which order, and which are left alone."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple, Set, Tuple

from ..core.plan import Plan, Transport, ranges_by_transport
from ..core.ports import PortRange
from ..core.service import LeftRunning, Service, ServiceKind
from .model import MAX_PORTS, Container, Holder, Inventory, is_name

# A range of a plan that is longer is lent from, port by port; what holds one now need not hold it again.
MAX_FIXED = 16
# The system itself, the way to it, and what runs the containers.
_NEVER = re.compile(
    r"ssh.*|systemd-.*|dbus.*|user@.*|pnmcheck.*"
    r"|(docker|containerd|snap\.docker\.dockerd|kubelet|k3s|networking|NetworkManager)\.(service|socket)"
)
# Proxies go last and come first: so users get an answer for as long as there is one.
_PROXY = re.compile(r"(haproxy|nginx|apache2|httpd|caddy|traefik|envoy)\b.*")
# What lends media ports; of all others a UDP port among those of outgoing sockets is one.
_MEDIA = re.compile(r"livekit|plugnmeet|turnserver|coturn|ingress|sip|asterisk|freeswitch|rtpengine|jvb|janus")

_Ports = Set[Tuple[Transport, int]]


class _Owner(NamedTuple):
    """What holds ports: of no kind where it is just a process."""

    kind: ServiceKind | None
    name: str


def plan_stop(found: Inventory, plan: Plan) -> tuple[tuple[Service, ...], tuple[LeftRunning, ...]]:
    """What to stop, in this order, and what is left. To be started it has the reverse order."""
    return _Planner(found, plan).result()


class _Planner:
    def __init__(self, found: Inventory, plan: Plan) -> None:
        self._found, self._plan = found, plan
        self._ports: dict[_Owner, _Ports] = defaultdict(set)
        self._names: dict[_Owner, set[str]] = defaultdict(set)
        self._members: dict[_Owner, set[str]] = defaultdict(set)
        self._why: dict[_Owner, str] = {}
        self._order: list[_Owner] = []
        self._containers = {one.id: one for one in found.containers}
        for container in found.containers:
            published = {one for one in container.published if plan.has(*one)}
            if published:
                self._add(self._of_container(container), published, {container.name})
        published = {port for one in found.containers for port in one.published}
        for holder in found.holders:
            port = (holder.transport, holder.port)
            if holder.name != "docker-proxy" or port not in published:
                self._add(self._of_holder(holder), {port}, {holder.name})

    def _add(self, owner: _Owner, ports: _Ports, names: set[str]) -> None:
        self._ports[owner] |= ports
        self._names[owner] |= {owner.name, *names}

    def _of_holder(self, holder: Holder) -> _Owner:
        if holder.container in self._containers:
            return self._of_container(self._containers[holder.container])
        if holder.unit:
            unit = self._found.units.get(holder.unit)
            # A socket goes with what it starts, where that runs.
            active = [name for name in (unit.starts if unit else ()) if self._is_active(name)]
            return _Owner(ServiceKind.UNIT, active[0] if active else holder.unit)
        owner = _Owner(None, f"{holder.name} (pid {holder.pid})")
        self._why[owner] = holder.obstacle or self._untold("Docker does not tell of its container")
        return owner

    def _of_container(self, container: Container) -> _Owner:
        unit = self._found.compose_units.get(container.folder) if container.project else None
        if unit:
            return _Owner(ServiceKind.UNIT, unit)
        if container.auto_remove:
            owner = _Owner(None, f"the container {container.name}")
            self._why[owner] = "Docker removes it when it stops"
        elif container.project and container.service:
            owner = _Owner(ServiceKind.COMPOSE, container.project)
            self._members[owner].add(container.service)
        else:
            owner = _Owner(ServiceKind.CONTAINER, container.name)
        return owner

    def result(self) -> tuple[tuple[Service, ...], tuple[LeftRunning, ...]]:
        for owner in sorted(self._ports, key=lambda one: (bool(_PROXY.match(one.name)), one.name)):
            obstacle = self._why.get(owner) or self._outgoing(owner) or self._obstacle(owner, ())
            if obstacle:
                self._why[owner] = obstacle
            else:
                self._put(owner)
        left = tuple(
            LeftRunning(one.name, ranges_by_transport(ports), self._why[one])
            for one, ports in self._ports.items()
            if one in self._why and one not in self._order
        )
        return tuple(map(self._service, self._order)), left

    def _put(self, owner: _Owner) -> None:
        """What depends on it goes before it: systemd would stop that along with it, and nobody would start it."""
        if owner not in self._order:
            for name in self._dependents(owner):
                self._put(_Owner(ServiceKind.UNIT, name))
            self._order.append(owner)

    def _outgoing(self, owner: _Owner) -> str:
        lent = all(
            transport is Transport.UDP and port in self._found.ephemeral for transport, port in self._ports[owner]
        )
        media = any(_MEDIA.search(name) for name in self._names[owner])
        return "it looks like an outgoing socket, to which the system lent this port" if lent and not media else ""

    def _obstacle(self, owner: _Owner, above: tuple[_Owner, ...]) -> str:
        """Why it cannot be stopped, and started again; empty where it can. `above` are those that it depends on."""
        if owner.kind is not ServiceKind.UNIT:
            return ""
        if _NEVER.fullmatch(owner.name):
            return "this machine, or the way to it, rests on it"
        if owner.name == self._found.own_unit:
            return "this program runs in it"
        if not is_name(ServiceKind.UNIT, owner.name):
            return "it is more than a service"
        if owner in above:
            return "it depends on itself"
        unit = self._found.units.get(owner.name)
        if unit is None:
            return self._untold("systemd does not tell of it")
        if not unit.active:
            return "systemd says that it does not run"
        members = (self._found.units[name] for name in self._triggers(owner))
        obstacle = unit.obstacle or next((one.obstacle for one in members if one.obstacle), "")
        for name in self._dependents(owner):
            other = self._obstacle(_Owner(ServiceKind.UNIT, name), (*above, owner))
            obstacle = obstacle or (other and f"{name} would be stopped along with it, and {other}")
        return obstacle

    def _untold(self, why: str) -> str:
        return "; ".join((why, *self._found.errors))

    def _is_active(self, name: str) -> bool:
        return name in self._found.units and self._found.units[name].active

    def _triggers(self, owner: _Owner) -> list[str]:
        unit = self._found.units.get(owner.name) if owner.kind is ServiceKind.UNIT else None
        return sorted(name for name in (unit.triggers if unit else ()) if self._is_active(name))

    def _dependents(self, owner: _Owner) -> list[str]:
        if owner.kind is not ServiceKind.UNIT:
            return []
        own = [owner.name, *self._triggers(owner)]
        names = {name for one in own for name in self._found.units[one].dependents if self._is_active(name)}
        return sorted(names - {*own})

    def _service(self, owner: _Owner) -> Service:
        kind = owner.kind
        assert kind
        held = {(one.transport, one.port) for one in self._found.holders}
        awaited = [port for port in self._ports[owner] if port in held and not self._lends(*port)]
        members = self._triggers(owner) if kind is ServiceKind.UNIT else sorted(self._members[owner])
        return Service(kind, owner.name, tuple(members), self._shown(owner), tuple(sorted(awaited)[:MAX_PORTS]))

    def _shown(self, owner: _Owner) -> tuple[tuple[Transport, PortRange], ...]:
        """Its ports; of a range that it lends from, all."""
        return ranges_by_transport((one, every) for one, port in self._ports[owner]
                     for every in (self._row(one, port) if self._lends(one, port) else (port,)))  # fmt: skip

    def _lends(self, transport: Transport, port: int) -> bool:
        return transport is Transport.UDP and len(self._row(transport, port)) > MAX_FIXED

    def _row(self, transport: Transport, port: int) -> PortRange:
        return next(row.ports for row in self._plan.of(transport) if port in row.ports)
