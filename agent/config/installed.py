"""Read the ports of an installed plugNmeet, or of a LiveKit alone, from their configuration files.

What keys, flags and variables mean, which of them wins, and the defaults are those of LiveKit, its ingress and its SIP
service: cmd/server/main.go, pkg/config/config.go of each, rtcconfig of mediatransportutil.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Iterable, Iterator, Sequence

from ..core import plan
from ..core.address import parse_address
from ..core.errors import UserError
from ..core.plan import HTTP_PORT, HTTPS_PORT, Need, Requirement, Transport
from ..core.ports import PortRange, list_ports, port_set
from ..system.files import read_configuration
from .compose import Service, read_compose, services_of_image
from .document import Document
from .flat_yaml import read_yaml
from .haproxy import Bind, parse_haproxy
from .model import Installed
from .settings import Setting, Settings

DIRECTORY, HAPROXY = "/opt/plugNmeet", "/etc/haproxy/haproxy.cfg"

# LiveKit has a flag and a variable for each of these, which override its file.
_LIVEKIT = (
    "port", "development", "rtc.tcp_port", "rtc.udp_port", "rtc.port_range_start", "rtc.port_range_end",
    "rtc.force_tcp", "rtc.use_external_ip", "rtc.node_ip", "rtc.external_ip_only",
    "turn.enabled", "turn.domain", "turn.udp_port", "turn.tls_port", "turn.external_tls",
)  # fmt: skip
_FLAGS = {"development": "dev", "rtc.node_ip": "node-ip", "rtc.udp_port": "udp-port"}
_VARIABLES = {key: f"LIVEKIT_{key.upper().replace('.', '_')}" for key in _LIVEKIT}
_VARIABLES.update({"rtc.node_ip": "NODE_IP", "rtc.udp_port": "UDP_PORT"})
_LISTS = tuple(f"rtc.{kind}.{choice}" for kind in ("interfaces", "ips") for choice in ("includes", "excludes"))
# The variables that have a whole configuration in them, and those that name its file.
_BODIES = ("LIVEKIT_CONFIG", "INGRESS_CONFIG_BODY", "SIP_CONFIG_BODY")
_FILES = ("INGRESS_CONFIG_FILE", "SIP_CONFIG_FILE")

# The installer runs these whether anybody uses them or not: a meeting needs none. Whoever does adds --with.
_EXTRA = Need.RECOMMENDED
_HOST = re.compile(r"[\w.:\[\]-]{1,255}")
_TCP, _UDP = Transport.TCP, Transport.UDP
_CLOSED = "firewall rules by the documentation leave needed ports closed"
_MORE = "firewall rules by the documentation open more than is needed"


def read_livekit(file: str, processors: int | None = None) -> Installed:
    """Return the ports of a LiveKit without plugNmeet; UserError where its configuration file cannot be read.

    Its signal port is not for users: browsers want HTTPS, which a proxy before it has on 443. Its certificates need not
    come by HTTP-01. `processors` are this machine's, where they are not given.
    """
    settings = Settings(_document(file, "rtc"))
    rows = [
        Requirement(_TCP, PortRange(HTTPS_PORT, HTTPS_PORT), plan.HTTPS_PROXY, Need.REQUIRED),
        Requirement(_TCP, PortRange(HTTP_PORT, HTTP_PORT), plan.ACME, Need.RECOMMENDED),
        *_livekit(settings, processors or _processors()),
    ]
    if not settings.flag("turn.external_tls"):
        # A load balancer leads there: LiveKit has its clients ask for TURN/TLS on 443, whatever this is.
        rows += _rows(settings, _turn(settings, "tls_port"), _TCP, "turn.tls_port", plan.TURN_TLS, Need.RECOMMENDED)
    return _installed(rows, settings)


def read_installed(directory: str = DIRECTORY, haproxy: str = HAPROXY, processors: int | None = None) -> Installed:
    """Return the ports of plugNmeet as its installer sets it up; UserError where its configuration cannot be read.

    `processors` are this machine's, where they are not given.
    """
    processors = processors or _processors()
    document, unread = read_compose(directory)
    document.require("services")
    livekit, ingress, sip = (
        services_of_image(document, directory, f"livekit/{image}")[:1] for image in ("livekit-server", "ingress", "sip")
    )
    if not livekit:
        raise UserError("configuration", f"{document.file} is not understood", "no service in it has LiveKit's image",
                        "if LiveKit runs in another way, name its configuration: --plan livekit:FILE")  # fmt: skip
    settings = Settings(_document(_configuration(livekit[0]), "rtc", "keys"), _overrides(livekit[0]))
    binds = parse_haproxy(read_configuration(haproxy), haproxy)
    rows = [*_of_haproxy(binds, haproxy, settings.number("port", 7880)), *_livekit(settings, processors)]
    for service in ingress:
        rows += _of_ingress(Settings(_document(_configuration(service), "redis")), binds, haproxy, processors)
    for service in sip:
        rows += _of_sip(Settings(_document(_configuration(service), "redis")))
    installed = _installed(rows, settings)
    return replace(
        installed,
        certificates=tuple((bind.ports.first, path) for bind in binds for path in bind.certificates),
        ipv4_only=_ipv4_only(binds, installed),
        notes=(*unread, *_env_files([*livekit, *ingress, *sip]), *_differences(installed)),
    )


def find_installed(directory: str = DIRECTORY, haproxy: str = HAPROXY) -> tuple[Installed | None, str]:
    """Return what is installed here, None where nothing is; and why that is unknown where something is."""
    file = os.path.join(directory, "livekit.yaml")
    if not os.path.exists(file):
        return None, ""
    try:
        return read_installed(directory, haproxy), ""
    except UserError:  # LiveKit's own part may be enough
        pass
    try:
        return read_livekit(file), ""
    except UserError as error:
        return None, error.message


def _processors() -> int:
    """Return how many LiveKit uses: of several ports in `rtc.udp_port` it takes one for each."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _document(file: str, *needed: str) -> Document:
    document = read_yaml(read_configuration(file), file)
    document.require(*needed)
    return document


def _configuration(service: Service) -> str:
    """Return the path of the file that a service reads."""
    flags, variables = service.flags(), service.variables(_FILES)
    if "config-body" in flags or service.variables(_BODIES):
        service.refuse("has its configuration in docker-compose.yaml itself, which is not read")
    named = flags.get("config") or next(iter(variables.values()), None)
    if not named:
        service.refuse("is started without --config")
    return service.host_path(named.text)


def _overrides(service: Service) -> dict[str, Setting]:
    """Return what overrides LiveKit's file: its flags, and the variables that they override."""
    flags, variables = service.flags(), service.variables(list(_VARIABLES.values()))
    settings = {key: flags.get(_FLAGS.get(key, key)) or variables.get(_VARIABLES[key]) for key in _LIVEKIT}
    return {key: setting for key, setting in settings.items() if setting}


def _installed(rows: Iterable[Requirement], settings: Settings) -> Installed:
    planned: list[Requirement] = []
    for row in sorted(rows, key=lambda row: row.need is not Need.REQUIRED):
        plan.add_row(planned, row)
    domain = settings.text("turn.domain") if settings.flag("turn.enabled") else ""
    includes, excludes, *ips = map(settings.items, _LISTS)
    return Installed(
        tuple(planned),
        settings.flag("rtc.use_external_ip"),
        tuple(_addresses(settings.text("rtc.node_ip"))),
        tuple(server for server in settings.items("rtc.stun_servers") if _HOST.fullmatch(server)),
        domain if _HOST.fullmatch(domain) else None,
        interfaces=(includes, excludes),
        addresses_filtered=settings.flag("rtc.external_ip_only") or any(ips),
    )


def _addresses(text: str) -> Iterator[str]:
    """Yield addresses; anything else is a variable of docker compose, or was never filled in."""
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
    """Return one row; none for port 0, or -1."""
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
    """Yield a range of ports, else a few that all participants share, else the usual."""
    first, last = settings.number(f"{prefix}port_range_start"), settings.number(f"{prefix}port_range_end")
    shared = settings.port_range(f"{prefix}udp_port")
    is_shared = not (first and last) and (shared or len(usual) == 1)
    key = f"{prefix}udp_port" if is_shared else f"{prefix}port_range_start"
    if settings.flag(f"{prefix}force_tcp"):
        return
    if first and last:
        usual = settings.range_of(f"{prefix}port_range_end", first, last)
    elif shared:
        used = min(shared.last, shared.first + processors - 1)
        if used < shared.last:  # on a larger machine they are used
            more = PortRange(used + 1, shared.last)
            yield Requirement(_UDP, more, purpose, Need.OPTIONAL, settings.source(key))
        usual = PortRange(shared.first, used)
    elif first:
        settings.refuse(key, f"has no {prefix}port_range_end beside it, so LiveKit may use any port")
    yield Requirement(_UDP, usual, purpose, need, settings.source(key))


def _of_haproxy(binds: Sequence[Bind], file: str, signal_port: int) -> list[Requirement]:
    rows = []
    for bind in binds:
        if HTTPS_PORT in bind.ports or (bind.ssl and signal_port in bind.backend_ports):
            rows.append(_bound(bind, file, plan.HTTPS))
        elif HTTP_PORT in bind.ports:
            rows.append(_bound(bind, file, plan.ACME))
    if not any(row.purpose == plan.HTTPS for row in rows):
        why = "no bind in it takes LiveKit's users with ssl"
        hint = f"if another proxy does, check with --plan livekit:{DIRECTORY}/livekit.yaml"
        raise UserError("configuration", f"{file} is not understood", why, hint)
    return rows


def _ipv4_only(binds: Sequence[Bind], installed: Installed) -> tuple[int, ...]:
    needed = {port for row in installed.requirements if row.purpose in (plan.ACME, plan.HTTPS) for port in row.ports}
    return tuple(sorted(needed.difference(*(bind.ports for bind in binds if bind.ipv6))))


def _bound(bind: Bind, file: str, purpose: str, need: Need = Need.REQUIRED) -> Requirement:
    return Requirement(_TCP, bind.ports, purpose, need, f"{file}, bind in line {bind.line}")


def _of_ingress(settings: Settings, binds: Sequence[Bind], haproxy: str, processors: int) -> Iterator[Requirement]:
    port = settings.number("rtmp_port", least=-1) or 1935
    proxied = [_bound(bind, haproxy, plan.RTMP, _EXTRA) for bind in binds if port in bind.backend_ports]
    yield from proxied or _rows(settings, port, _TCP, "rtmp_port", plan.RTMP, _EXTRA)
    if settings.number("whip_port", least=-1) >= 0:
        yield from _media(settings, "rtc_config.", plan.WHIP, PortRange(7885, 7885), processors, _EXTRA)


def _of_sip(settings: Settings) -> Iterator[Requirement]:
    for transport in Transport:
        yield from _rows(settings, settings.number("sip_port") or 5060, transport, "sip_port", plan.SIP, _EXTRA)
    yield from _rows(settings, settings.number("tls.port"), _TCP, "tls.port", plan.SIP_TLS, _EXTRA)
    media = settings.port_range("rtp_port") or PortRange(10000, 20000)
    yield Requirement(_UDP, media, plan.SIP_MEDIA, _EXTRA, settings.source("rtp_port"))


def _env_files(services: Sequence[Service]) -> Iterator[str]:
    for service in services:
        if service.has_env_file:
            yield f"The env_file of the service {service.name} was not read: it may name other ports."


def _differences(installed: Installed) -> Iterator[str]:
    """Yield a sentence for each row of the documentation that names other ports than are installed."""
    for row in (*plan.PLANS["plugnmeet"], *(row for addon in plan.ADDONS.values() for row in addon)):
        transport = row.transport.value
        same = [other for other in installed.requirements
                if (other.transport, other.purpose) == (row.transport, row.purpose)]  # fmt: skip
        ports = list_ports((other.ports for other in same), transport) if same else "none"
        named = f"The documentation names {row.ports}/{transport} ({row.purpose}), installed is {ports}"
        if port_set(other.ports for other in same) - port_set([row.ports]):
            yield f"{named} ({same[0].source}): {_CLOSED}."
        elif row in plan.PLANS["plugnmeet"] and sum(len(other.ports) for other in same) < len(row.ports):
            yield f"{named}: {_MORE}."
