"""The ports of an installed plugNmeet, or of a LiveKit alone, by their configuration files.

What keys, flags and variables mean, which of them wins, and what holds without them, is by the sources of LiveKit, its
ingress and its SIP service: cmd/server/main.go, pkg/config/config.go of each, rtcconfig of mediatransportutil.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Iterable, Iterator, Mapping, Sequence

from ..core import plan
from ..core.address import parse_address
from ..core.errors import UserError
from ..core.plan import HTTP_PORT, HTTPS_PORT, Need, Requirement, Transport
from ..core.ports import PortRange, list_ports, port_set
from ..system.files import read_configuration
from . import compose
from .flat_yaml import read_yaml
from .haproxy import Bind, Haproxy, parse_haproxy
from .model import Installed
from .settings import Setting, Settings

DIRECTORY, HAPROXY = "/opt/plugNmeet", "/etc/haproxy/haproxy.cfg"
# What docker compose reads beside docker-compose.yaml, or in its place.
_BESIDE = ("compose.yaml", "compose.yml", "docker-compose.override.yaml", "docker-compose.override.yml")

# LiveKit has a flag and a variable for each of these, which beat its file.
_LIVEKIT = (
    "port", "development", "rtc.tcp_port", "rtc.udp_port", "rtc.port_range_start", "rtc.port_range_end",
    "rtc.force_tcp", "rtc.use_external_ip", "rtc.node_ip", "rtc.external_ip_only",
    "turn.enabled", "turn.domain", "turn.udp_port", "turn.tls_port", "turn.external_tls",
)  # fmt: skip
_FLAGS = {"development": "dev", "rtc.node_ip": "node-ip", "rtc.udp_port": "udp-port"}
_VARIABLES = {key: f"LIVEKIT_{key.upper().replace('.', '_')}" for key in _LIVEKIT}
_VARIABLES.update({"rtc.node_ip": "NODE_IP", "rtc.udp_port": "UDP_PORT"})
_STUN = "rtc.stun_servers"
_LISTS = (_STUN, *(f"rtc.{what}.{how}" for what in ("interfaces", "ips") for how in ("includes", "excludes")))
_INGRESS = ("rtmp_port", "whip_port", *(f"rtc_config.{key}" for key in (
    "udp_port", "port_range_start", "port_range_end", "force_tcp")))  # fmt: skip
_SIP = ("sip_port", "rtp_port", "tls.port")
# The variables that have a whole configuration in them, and those that name its file.
_BODIES = ("LIVEKIT_CONFIG", "INGRESS_CONFIG_BODY", "SIP_CONFIG_BODY")
_FILES = ("INGRESS_CONFIG_FILE", "SIP_CONFIG_FILE")

# The installer runs them, whether anybody uses them or not: a meeting needs none. Who does says --with.
_EXTRA = Need.RECOMMENDED
_HOST = re.compile(r"[\w.:\[\]-]{1,255}")
_TCP, _UDP = Transport.TCP, Transport.UDP
_CLOSED = "rules made by it leave ports closed that are needed"
_MORE = "rules made by it open more than is needed"


def read_livekit(file: str, processors: int | None = None) -> Installed:
    """The ports of a LiveKit without plugNmeet, by its configuration; UserError where that cannot be read.

    Its signal port is not for users: browsers want HTTPS, which a proxy before it has on 443. Its certificates need not
    come by HTTP-01.
    """
    processors = processors or _processors()
    settings = _settings(file, (*_LIVEKIT, *(f"{one}.[]" for one in _LISTS)), ("rtc",))
    rows = [
        Requirement(_TCP, PortRange(HTTPS_PORT, HTTPS_PORT), plan.HTTPS_PROXY, Need.REQUIRED),
        Requirement(_TCP, PortRange(HTTP_PORT, HTTP_PORT), plan.ACME, Need.RECOMMENDED),
        *_livekit(settings, processors),
    ]
    if not settings.flag("turn.external_tls"):
        # A balancer of loads leads there: LiveKit has its clients ask for TURN/TLS on 443, whatever this is.
        rows += _rows(settings, _turn(settings, "tls_port"), _TCP, "turn.tls_port", plan.TURN_TLS, Need.RECOMMENDED)
    return _installed(rows, settings)


def read_installed(directory: str = DIRECTORY, haproxy: str = HAPROXY, processors: int | None = None) -> Installed:
    """The ports of plugNmeet as its installer sets it up; UserError where its configuration cannot be read.

    `processors` are this machine's, where they are not given.
    """
    processors = processors or _processors()
    file = os.path.join(directory, "docker-compose.yaml")
    found = read_yaml(
        read_configuration(file), file, compose.wanted((*_VARIABLES.values(), *_BODIES, *_FILES)), ["services"]
    )
    services = {
        image: compose.services(found, file, f"livekit/{image}")[:1] for image in ("livekit-server", "ingress", "sip")
    }
    if not services["livekit-server"]:
        raise UserError("configuration", f"{file} is not understood", "no service in it has the image of LiveKit",
                        "if LiveKit runs in another way, name its configuration: --plan livekit:FILE")  # fmt: skip
    (livekit,) = services["livekit-server"]
    settings = _settings(
        _configuration(livekit), (*_LIVEKIT, *(f"{one}.[]" for one in _LISTS)), ("rtc", "keys"), _over(livekit)
    )
    proxy = parse_haproxy(read_configuration(haproxy), haproxy)
    rows = [*_of_haproxy(proxy, haproxy, settings.number("port", 7880)), *_livekit(settings, processors)]
    for service in services["ingress"]:
        ingress = _settings(_configuration(service), _INGRESS, ("redis",))
        rows += _of_ingress(ingress, proxy, haproxy, processors)
    for service in services["sip"]:
        rows += _of_sip(_settings(_configuration(service), _SIP, ("redis",)))
    read = _installed(rows, settings)
    return replace(
        read,
        certificates=tuple((one.ports.first, path) for one in proxy.binds for path in one.certificates),
        acme=proxy.acme,
        ipv4_only=_ipv4_only(proxy, read),
        compose=directory,
        notes=(*_unread(directory, [one for found in services.values() for one in found]), *_differences(read)),
    )


def _processors() -> int:
    """As many as LiveKit uses: of several ports in `rtc.udp_port` it takes one for each."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _settings(
    file: str, keys: Sequence[str], needed: Sequence[str], over: Mapping[str, Setting] | None = None
) -> Settings:
    return Settings(file, read_yaml(read_configuration(file), file, keys, needed), over or {})


def _configuration(service: compose.Service) -> str:
    """The file that a service reads."""
    options, variables = service.options(), service.variables(_FILES)
    if "config-body" in options or service.variables(_BODIES):
        service.refuse("has its configuration in docker-compose.yaml itself, which is not read")
    named = options.get("config") or next(iter(variables.values()), None)
    if not named:
        service.refuse("is started without --config")
    return service.on_host(named.text)


def _over(service: compose.Service) -> dict[str, Setting]:
    """What beats LiveKit's file: its flags, and the variables that they beat."""
    options, variables = service.options(), service.variables(list(_VARIABLES.values()))
    found = {key: options.get(_FLAGS.get(key, key)) or variables.get(_VARIABLES[key]) for key in _LIVEKIT}
    return {key: one for key, one in found.items() if one}


def _installed(rows: Iterable[Requirement], settings: Settings) -> Installed:
    planned: list[Requirement] = []
    for row in sorted(rows, key=lambda row: row.need is not Need.REQUIRED):
        plan.add_row(planned, row)
    domain = settings.text("turn.domain") if settings.flag("turn.enabled") else ""
    return Installed(
        tuple(planned),
        settings.number("port", 7880),
        settings.number("rtc.tcp_port", 7881) or None,
        settings.flag("rtc.use_external_ip"),
        tuple(_addresses(settings.text("rtc.node_ip"))),
        tuple(one for one in settings.items(_STUN) if _HOST.fullmatch(one)),
        domain if _HOST.fullmatch(domain) else None,
        _turn(settings, "udp_port") or None,
        _turn(settings, "tls_port") or None,
        interfaces=(settings.items(_LISTS[1]), settings.items(_LISTS[2])),
        addresses_filtered=settings.flag("rtc.external_ip_only") or any(map(settings.items, _LISTS[3:])),
    )


def _addresses(text: str) -> Iterator[str]:
    """What is not an address is a variable of docker compose, or was never filled in."""
    for part in text.split(","):
        try:
            yield str(parse_address(part.strip()))
        except ValueError:
            pass


def _turn(settings: Settings, key: str) -> int:
    return settings.number(f"turn.{key}") if settings.flag("turn.enabled") else 0


def _rows(
    settings: Settings, port: int, transport: Transport, key: str, purpose: str, need: Need = Need.REQUIRED
) -> list[Requirement]:
    """One row, or none for port 0."""
    return [Requirement(transport, PortRange(port, port), purpose, need, settings.source(key))] if port > 0 else []


def _livekit(settings: Settings, processors: int) -> list[Requirement]:
    usual = PortRange(7882, 7882) if settings.flag("development") else PortRange(50000, 60000)
    return [
        *_rows(settings, settings.number("rtc.tcp_port", 7881), _TCP, "rtc.tcp_port", plan.ICE_TCP),
        *_media(settings, "rtc.", plan.MEDIA, usual, processors),
        *_rows(settings, _turn(settings, "udp_port"), _UDP, "turn.udp_port", plan.TURN_UDP, Need.RECOMMENDED),
    ]


def _media(
    settings: Settings, prefix: str, purpose: str, usual: PortRange, processors: int, need: Need = Need.REQUIRED
) -> Iterator[Requirement]:
    """A range of ports, else a few that all share, else the usual."""
    first, last = settings.number(f"{prefix}port_range_start"), settings.number(f"{prefix}port_range_end")
    shared = settings.run(f"{prefix}udp_port")
    one = not (first and last) and (shared or len(usual) == 1)
    key = f"{prefix}udp_port" if one else f"{prefix}port_range_start"
    if settings.flag(f"{prefix}force_tcp"):
        return
    if first and last:
        usual = settings.range(f"{prefix}port_range_end", first, last)
    elif shared:
        used = min(shared.last, shared.first + processors - 1)
        if used < shared.last:  # on a larger machine they are used
            more = PortRange(used + 1, shared.last)
            yield Requirement(_UDP, more, purpose, Need.OPTIONAL, settings.source(key))
        usual = PortRange(shared.first, used)
    elif first:
        settings.refuse(key, f"has no {prefix}port_range_end beside it, so that any port may be used")
    yield Requirement(_UDP, usual, purpose, need, settings.source(key))


def _of_haproxy(proxy: Haproxy, file: str, signal_port: int) -> list[Requirement]:
    rows = []
    for bind in proxy.binds:
        if HTTPS_PORT in bind.ports or (bind.ssl and signal_port in bind.leads_to):
            rows.append(_bound(bind, file, plan.HTTPS))
        elif HTTP_PORT in bind.ports:
            rows.append(_bound(bind, file, plan.ACME))
    if not any(row.purpose == plan.HTTPS for row in rows):
        why = "nothing in it listens with ssl for LiveKit's users"
        hint = f"if another proxy does, check with --plan livekit:{DIRECTORY}/livekit.yaml"
        raise UserError("configuration", f"{file} is not understood", why, hint)
    return rows


def _ipv4_only(proxy: Haproxy, read: Installed) -> tuple[int, ...]:
    needed = {port for row in read.requirements if row.purpose in (plan.ACME, plan.HTTPS) for port in row.ports}
    return tuple(sorted(needed.difference(*(one.ports for one in proxy.binds if one.ipv6))))


def find_installed(directory: str = DIRECTORY, haproxy: str = HAPROXY) -> tuple[Installed | None, str]:
    """What is installed here, for who did not ask for its plan; and why that is not known where there is something."""
    file = os.path.join(directory, "livekit.yaml")
    if not os.path.exists(file):
        return None, ""
    try:
        return read_installed(directory, haproxy), ""
    except UserError:  # LiveKit's own part may do
        pass
    try:
        return read_livekit(file), ""
    except UserError as error:
        return None, error.message


def _bound(bind: Bind, file: str, purpose: str, need: Need = Need.REQUIRED) -> Requirement:
    return Requirement(_TCP, bind.ports, purpose, need, f"{file}, bind in line {bind.line}")


def _of_ingress(settings: Settings, proxy: Haproxy, haproxy: str, processors: int) -> Iterator[Requirement]:
    port = settings.number("rtmp_port", least=-1) or 1935
    before = [_bound(bind, haproxy, plan.RTMP, _EXTRA) for bind in proxy.binds if port in bind.leads_to]
    yield from before or _rows(settings, port, _TCP, "rtmp_port", plan.RTMP, _EXTRA)
    if settings.number("whip_port", least=-1) >= 0:
        yield from _media(settings, "rtc_config.", plan.WHIP, PortRange(7885, 7885), processors, _EXTRA)


def _of_sip(settings: Settings) -> Iterator[Requirement]:
    for transport in Transport:
        yield from _rows(settings, settings.number("sip_port") or 5060, transport, "sip_port", plan.SIP, _EXTRA)
    yield from _rows(settings, settings.number("tls.port"), _TCP, "tls.port", plan.SIP_TLS, _EXTRA)
    media = settings.run("rtp_port") or PortRange(10000, 20000)
    yield Requirement(_UDP, media, plan.SIP_MEDIA, _EXTRA, settings.source("rtp_port"))


def _unread(directory: str, services: Sequence[compose.Service]) -> Iterator[str]:
    for name in _BESIDE:
        if os.path.exists(os.path.join(directory, name)):
            yield f"docker compose minds {directory}/{name} too, which was not read: ports may be others."
    for service in services:
        if service.has_env_file:
            yield f"The service {service.name} has an env_file, which was not read: it may name other ports."


def _differences(read: Installed) -> Iterator[str]:
    """Where the documentation names other ports than are installed."""
    for row in (*plan.PLANS["plugnmeet"], *(row for addon in plan.ADDONS.values() for row in addon)):
        transport = row.transport.value
        installed = [one for one in read.requirements if (one.transport, one.purpose) == (row.transport, row.purpose)]
        found = list_ports((one.ports for one in installed), transport) if installed else "none"
        named = f"The documentation names {row.ports}/{transport} ({row.purpose}), installed is {found}"
        if port_set(one.ports for one in installed) - port_set([row.ports]):
            yield f"{named} ({installed[0].source}): {_CLOSED}."
        elif row in plan.PLANS["plugnmeet"] and sum(len(one.ports) for one in installed) < len(row.ports):
            yield f"{named}: {_MORE}."
