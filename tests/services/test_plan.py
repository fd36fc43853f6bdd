"""Which services are stopped for a plan, in which order, and which are left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable, Mapping

import pytest

from agent.core.events import LeftRunning, Service, ServiceKind
from agent.core.plan import PLANS, Plan, Transport, build_plan
from agent.core.ports import PortRange
from agent.services.model import Container, Holder, Inventory, Unit
from agent.services.plan import plan_stop

TCP, UDP = Transport.TCP, Transport.UDP
PLAN = Plan("plugnmeet", PLANS["plugnmeet"])
ID, OTHER = "a" * 64, "b" * 64
HAPROXY = [Holder(TCP, 80, 68, "haproxy", "haproxy.service"), Holder(TCP, 443, 68, "haproxy", "haproxy.service")]
LIVEKIT = [Holder(TCP, 7881, 71, "livekit-server", "plugnmeet.service"),
           Holder(UDP, 443, 71, "livekit-server", "plugnmeet.service"),
           Holder(UDP, 50_005, 71, "livekit-server", "plugnmeet.service")]  # fmt: skip
IN_CONTAINER = [replace(one, unit="", container=ID) for one in LIVEKIT]
PROXY_PORTS = ((TCP, PortRange(80, 80)), (TCP, PortRange(443, 443)))
MEDIA_PORTS = ((TCP, PortRange(7881, 7881)), (UDP, PortRange(443, 443)), (UDP, PortRange(50_000, 60_000)))
PROXY = Service(ServiceKind.UNIT, "haproxy.service", (), PROXY_PORTS, ((TCP, 80), (TCP, 443)))
MEDIA = Service(ServiceKind.UNIT, "plugnmeet.service", (), MEDIA_PORTS, ((TCP, 7881), (UDP, 443)))


def unit(name: str, active: bool = True, obstacle: str = "", **lists: tuple[str, ...]) -> Unit:
    return Unit(name, active, obstacle, **lists)  # type: ignore[arg-type]


def found(
    holders: Iterable[Holder],
    units: Iterable[Unit] = (unit("haproxy.service"), unit("plugnmeet.service")),
    containers: tuple[Container, ...] = (),
    runners: Mapping[str, str] | None = None,
    own: str = "",
    troubles: tuple[str, ...] = (),
) -> Inventory:
    named = {one.name: one for one in units}
    return Inventory(tuple(holders), named, containers, runners or {}, own, range(32_768, 61_000), troubles)


def names(services: Iterable[Service]) -> list[str]:
    return [one.name for one in services]


def left_of(one: Inventory, plan: Plan = PLAN) -> dict[str, str]:
    return {left.owner: left.why for left in plan_stop(one, plan)[1]}


def test_a_plugnmeet_server() -> None:
    assert plan_stop(found([*HAPROXY, *LIVEKIT]), PLAN) == ((MEDIA, PROXY), ())


def test_nothing_holds_a_port() -> None:
    assert plan_stop(found([]), PLAN) == ((), ())


@pytest.mark.parametrize(
    "holders",
    [
        [*HAPROXY[:1], Holder(TCP, 443, 5, "caddy", "caddy.service"), *LIVEKIT],
        [*LIVEKIT[::-1], Holder(TCP, 443, 5, "caddy", "caddy.service"), *HAPROXY],
    ],
)
def test_proxies_go_last_and_then_it_goes_by_name(holders: list[Holder]) -> None:
    units = [unit(name) for name in ("plugnmeet.service", "haproxy.service", "caddy.service")]
    services, _ = plan_stop(found(holders, units), PLAN)
    assert names(services) == ["plugnmeet.service", "caddy.service", "haproxy.service"]


def test_what_depends_on_a_unit_goes_before_it() -> None:
    units = [
        unit("haproxy.service", dependents=("b.service", "idle.service")),
        unit("b.service", dependents=("a.service",), triggers=("b.timer",)),
        unit("a.service"), unit("b.timer"), unit("idle.service", active=False),
    ]  # fmt: skip
    services, left = plan_stop(found(HAPROXY, units), PLAN)
    assert names(services) == ["a.service", "b.service", "haproxy.service"]
    assert services[1] == Service(ServiceKind.UNIT, "b.service", ("b.timer",))
    assert left == ()


def test_a_dependent_that_holds_ports_too_stands_once() -> None:
    units = [unit("haproxy.service", dependents=("plugnmeet.service",)), unit("plugnmeet.service")]
    assert plan_stop(found([*HAPROXY, *LIVEKIT], units), PLAN) == ((MEDIA, PROXY), ())


def test_a_socket_goes_with_what_it_starts() -> None:
    socket = unit("haproxy.socket", starts=("haproxy.service",))
    holders = [*HAPROXY, Holder(TCP, 80, 1, "systemd", "haproxy.socket")]
    running = unit("haproxy.service", triggers=("haproxy.socket",))
    (service,), _ = plan_stop(found(holders, [socket, running]), PLAN)
    assert (service.name, service.members) == ("haproxy.service", ("haproxy.socket",))
    idle = unit("haproxy.service", active=False, triggers=("haproxy.socket",))
    (service,), _ = plan_stop(found(holders[-1:], [socket, idle]), PLAN)
    assert (service.name, service.members, service.awaited) == ("haproxy.socket", (), ((TCP, 80),))


@pytest.mark.parametrize(
    ("units", "why"),
    [
        ([unit("haproxy.service", obstacle="it refuses")], "it refuses"),
        ([unit("haproxy.service", active=False)], "systemd reports that it is not running"),
        ([], "systemd reports nothing about it; systemctl did not answer in 5 s"),
        ([unit("haproxy.service", dependents=("multi-user.target",)), unit("multi-user.target")],
         "multi-user.target would be stopped along with it, and it is not a service"),
        ([unit("haproxy.service", dependents=("ssh.service",)), unit("ssh.service")],
         "ssh.service would be stopped along with it, and the server, or the way to reach it, depends on it"),
        ([unit("haproxy.service", triggers=("haproxy.socket",)), unit("haproxy.socket", obstacle="it refuses")],
         "it refuses"),
        ([unit("haproxy.service", dependents=("a.service",)), unit("a.service", dependents=("haproxy.service",))],
         "a.service would be stopped along with it, and haproxy.service would be stopped along with it, and it depends "
         "on itself"),
    ],
)  # fmt: skip
def test_a_unit_that_cannot_be_stopped(units: list[Unit], why: str) -> None:
    one = found(HAPROXY, units, troubles=("systemctl did not answer in 5 s",))
    assert plan_stop(one, PLAN) == ((), (LeftRunning("haproxy.service", PROXY_PORTS, why),))


@pytest.mark.parametrize("name", ["ssh.service", "sshd@4.service", "systemd-resolved.service", "dbus.service",
                                  "docker.service", "containerd.service", "NetworkManager.service", "user@0.service",
                                  "pnmcheck-guardian.service", "docker.socket", "networking.service"])  # fmt: skip
def test_what_is_never_stopped(name: str) -> None:
    assert list(left_of(found([Holder(TCP, 443, 5, "x", name)], [unit(name)]))) == [name]


@pytest.mark.parametrize("name", ["docker-compose@livekit.service", "livekit-docker.service", "sslh.service"])
def test_what_only_has_a_name_alike(name: str) -> None:
    assert left_of(found([Holder(TCP, 443, 5, "x", name)], [unit(name)])) == {}


def test_what_this_program_runs_in() -> None:
    assert left_of(found(HAPROXY, own="haproxy.service")) == {"haproxy.service": "this program runs in it"}


def test_a_process_of_nobodys() -> None:
    holder = Holder(TCP, 443, 5, "python3", obstacle="it was started by a user")
    assert left_of(found([holder])) == {"python3 (pid 5)": "it was started by a user"}


@pytest.mark.parametrize(
    ("name", "program", "left"),
    [
        ("chrony.service", "chronyd", True), ("plugnmeet.service", "node", False),
        ("x.service", "livekit-server", False), ("coturn.service", "turnserver", False),
    ],
)  # fmt: skip
def test_a_port_that_was_lent_to_an_outgoing_socket(name: str, program: str, left: bool) -> None:
    holders = [Holder(UDP, 50_123, 9, program, name)]
    services, others = plan_stop(found(holders, [unit(name)]), PLAN)
    assert (bool(services), bool(others)) == (not left, left)
    if left:
        assert others[0].ports == ((UDP, PortRange(50_123, 50_123)),)
    also = [*holders, Holder(TCP, 443, 9, program, name)]
    assert names(plan_stop(found(also, [unit(name)]), PLAN)[0]) == [name]


def test_udp_ports_that_are_not_lent_from_a_range_are_awaited() -> None:
    plan = build_plan("plugnmeet", ["sip"])
    holders = [Holder(UDP, port, 9, "livekit-sip", "sip.service") for port in (5060, 5061, 10_017)]
    (service,), _ = plan_stop(found(holders, [unit("sip.service")]), plan)
    assert service.awaited == ((UDP, 5060), (UDP, 5061))
    assert service.ports == ((UDP, PortRange(5060, 5061)), (UDP, PortRange(10_000, 20_000)))


COMPOSED = Container(ID, "plugnmeet-livekit-1", "plugnmeet", "livekit", "/opt/plugNmeet")


def test_a_compose_project_that_a_unit_runs() -> None:
    one = found([*HAPROXY, *IN_CONTAINER], containers=(COMPOSED,), runners={"/opt/plugNmeet": "plugnmeet.service"})
    assert plan_stop(one, PLAN) == ((MEDIA, PROXY), ())


def test_a_compose_project_of_its_own() -> None:
    web = Container(OTHER, "plugnmeet-web-1", "plugnmeet", "web", "/opt/plugNmeet", published=((TCP, 80), (TCP, 8080)))
    proxied = Holder(TCP, 80, 300, "docker-proxy", "docker.service")
    one = found([*IN_CONTAINER, proxied], [unit("docker.service")], (COMPOSED, web), {"/srv": "other.service"})
    (service,), left = plan_stop(one, PLAN)
    assert (service.kind, service.name, service.members) == (ServiceKind.COMPOSE, "plugnmeet", ("livekit", "web"))
    assert service.awaited == ((TCP, 80), (TCP, 7881), (UDP, 443))
    assert left == ()


def test_a_container_of_its_own() -> None:
    lone = Container(ID, "turn", published=((UDP, 443), (UDP, 53)))
    assert plan_stop(found([], containers=(lone,)), PLAN) == (
        (Service(ServiceKind.CONTAINER, "turn", (), ((UDP, PortRange(443, 443)),)),),
        (),
    )


@pytest.mark.parametrize(
    ("containers", "left"),
    [
        ((Container(ID, "turn", auto_remove=True),), {"the container turn": "Docker removes it when it stops"}),
        ((), {"livekit-server (pid 71)": "Docker reports nothing about its container; docker did not answer in 5 s"}),
    ],
)
def test_a_container_that_cannot_be_stopped(containers: tuple[Container, ...], left: dict[str, str]) -> None:
    one = found(IN_CONTAINER, containers=containers, troubles=("docker did not answer in 5 s",))
    assert left_of(one) == left


def test_a_proxy_of_dockers_whose_container_is_unknown() -> None:
    one = found([Holder(TCP, 443, 300, "docker-proxy", "docker.service")], [unit("docker.service")])
    assert list(left_of(one)) == ["docker.service"]
