"""What holds ports: this machine's own sockets, and tools that answer, fail, hang or are not there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.services import find
from agent.services.find import find_services
from agent.system import commands
from agent.system.port_owners import bound_ports, port_holders
from tests.services.test_parse import ID, INSPECTED

TCP, UDP = Transport.TCP, Transport.UDP
HERE = "127.0.0.1"


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which alone tools are found."""
    monkeypatch.setattr(commands, "PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("systemctl", "docker"):
        stub(tmp_path, name, "exit 1")
    return tmp_path


def stub(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def plan_of(*sockets: socket.socket) -> Plan:
    rows = [
        Requirement(
            TCP if one.type is socket.SOCK_STREAM else UDP,
            PortRange(one.getsockname()[1], one.getsockname()[1]),
            "",
            Need.REQUIRED,
        )
        for one in sockets
    ]
    return Plan("mine", tuple(rows))


def test_who_holds_ports_here(stubs: Path) -> None:
    with socket.create_server((HERE, 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as bound:
        udp.bind((HERE, 0))
        bound.bind((HERE, 0))
        plan = plan_of(tcp, udp, bound)
        found = find_services(plan)
        assert {(one.transport, one.port, one.pid) for one in found.holders} == {
            (TCP, tcp.getsockname()[1], os.getpid()), (UDP, udp.getsockname()[1], os.getpid()),
        }  # fmt: skip
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
        assert [*found.ephemeral] == [*range(int(first), int(last) + 1)]
        assert found.errors[0].startswith("docker failed")
        assert tcp.getsockname()[1] in bound_ports(TCP).values()
        assert bound.getsockname()[1] not in bound_ports(TCP).values()


def test_units_and_all_that_depends_on_them(stubs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "_cgroup", lambda pid: "0::/system.slice/a.service\n")
    stub(stubs, "systemctl", 'for unit; do echo "Id=$unit\nActiveState=active\nRequiredBy=${unit#a}b.service\n"; done')
    with socket.create_server((HERE, 0)) as tcp:
        found = find_services(plan_of(tcp))
        assert found.own_unit == "a.service"
        assert found.units["a.service"].dependents == (".serviceb.service",)
        monkeypatch.setattr(find, "MAX_UNITS", 3)
        assert len(find_services(plan_of(tcp)).units) < 20


@pytest.mark.parametrize(
    ("script", "troubles", "count"),
    [
        ("exit 0", (), 0), (f"case $1 in ps) echo {ID};; *) echo '{INSPECTED}';; esac", (), 1),
        (f"case $1 in ps) echo {ID};; *) echo away >&2; exit 1;; esac", ("docker failed: away",), 0),
        ("exec sleep 60", ("docker did not answer in 0 s",), 0),
    ],
)  # fmt: skip
def test_docker(
    stubs: Path, script: str, troubles: tuple[str, ...], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "TOOL_SECONDS", 0.4)
    stub(stubs, "docker", script)
    found = find_services(Plan("none", ()))
    assert (found.errors, len(found.containers)) == (troubles, count)


def test_no_docker(stubs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PATH", "/nowhere")
    assert find_services(Plan("none", ())).errors == ()


def test_all_holders_of_a_port() -> None:
    with socket.create_server((HERE, 0)) as tcp:
        port = tcp.getsockname()[1]
        assert {pid for _, pid, _ in port_holders(TCP, {port})} == {os.getpid()}
        assert list(port_holders(TCP, ())) == []
