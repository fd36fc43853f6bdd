"""Find out which services hold a plan's ports, from /proc, systemd and Docker (proc(5), systemctl(1), docker(1))."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Collection, Iterator, Mapping

from ..core.plan import Plan, Transport
from ..system.commands import run_tool
from ..system.files import read_text
from ..system.port_owners import list_directory, port_holders
from ..system.sysctl import read_ephemeral_ports
from . import parse
from .model import Container, Holder, Inventory, Unit

MAX_CGROUP = 16 * 1024  # a line for each hierarchy, of which there are a dozen
MAX_COMMAND = 4096  # bytes of a command line: what matters comes first
MAX_UNITS = 500  # with all that depends on them; a machine has some hundreds
MAX_CONTAINERS = 200


def find_services(plan: Plan) -> Inventory:
    """Return what holds the ports of a plan. This needs root, and takes a second, or some where a tool hangs."""
    holders = [
        _with_runner(Holder(transport, *holder))
        for transport in Transport
        for holder in port_holders(transport, frozenset(plan.ports(transport)))
    ]
    containers, docker_error = _containers()
    compose_units = dict(_compose_units()) if any(container.project for container in containers) else {}
    names = {*filter(None, (holder.unit for holder in holders)), *compose_units.values()}
    if any(holder.pid == 1 for holder in holders):
        names.add("*.socket")  # systemd holds the port for a service that is not needed yet
    units, systemd_error = _units(names)
    return Inventory(
        tuple(_with_socket_unit(holder, units) if holder.pid == 1 else holder for holder in holders),
        units,
        containers,
        compose_units,
        parse.cgroup(_cgroup("self"))[0],
        read_ephemeral_ports() or (),
        tuple(filter(None, (docker_error, systemd_error))),
    )


def _with_runner(holder: Holder) -> Holder:
    unit, container, obstacle = parse.cgroup(_cgroup(str(holder.pid)))
    return replace(holder, unit=unit, container=container, obstacle=obstacle)


def _cgroup(pid: str) -> str:
    return read_text(f"/proc/{pid}/cgroup", MAX_CGROUP)


def _with_socket_unit(holder: Holder, units: Mapping[str, Unit]) -> Holder:
    port = (holder.transport, holder.port)
    name = next((unit.name for unit in units.values() if port in unit.listens and unit.active), "")
    return replace(holder, unit=name, obstacle="" if name else "systemd itself holds the port")


def _units(names: Collection[str]) -> tuple[dict[str, Unit], str]:
    """Return these units and all that they trigger, start or depend on, and why some are unknown."""
    units: dict[str, Unit] = {}
    asked: set[str] = set()
    wanted = set(names)
    while wanted and len(units) < MAX_UNITS:
        properties = f"--property={','.join(parse.UNIT_PROPERTIES)}"
        result = run_tool("systemctl", "show", "--no-pager", properties, "--", *sorted(wanted))
        if result.output is None:
            return units, result.error
        asked |= wanted
        new = {unit.name: unit for unit in parse.units(result.output)}
        units.update(new)
        wanted = {name for unit in new.values() for name in (*unit.triggers, *unit.starts, *unit.dependents)} - asked
    return units, ""


def _containers() -> tuple[tuple[Container, ...], str]:
    """Return the running containers, none where there is no Docker, and why they are unknown."""
    result = run_tool("docker", "ps", "--quiet", "--no-trunc")
    if result.missing:
        return (), ""
    ids = (result.output or "").split()[:MAX_CONTAINERS]
    if ids:
        result = run_tool("docker", "inspect", "--format", parse.INSPECT_FORMAT, *ids)
    containers = parse.containers(result.output or "") if ids else ()
    return tuple(replace(container, folder=container.folder and os.path.realpath(container.folder))
                 for container in containers), result.error  # fmt: skip


def _compose_units() -> Iterator[tuple[str, str]]:
    """Yield the folders in which a unit runs `docker compose up`, each with that unit."""
    for pid in filter(str.isdigit, list_directory("/proc")):
        words = read_text(f"/proc/{pid}/cmdline", MAX_COMMAND).split("\0")
        unit = parse.cgroup(_cgroup(pid))[0] if parse.is_compose_up(words) else ""
        if unit:
            yield os.path.realpath(os.path.join(f"/proc/{pid}/cwd", parse.compose_folder(words))), unit
