from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Callable

import pytest

from agent.config import compose
from agent.config.installed import find_installed, read_installed, read_livekit
from agent.config.model import Installed
from agent.core.errors import UserError
from agent.core.plan import Need, build_plan
from agent.system.commands import CommandResult
from tests.config import mutations

DATA = Path(__file__).parent / "installed"
FILES = ("livekit.yaml", "docker-compose.yaml", "ingress.yaml", "sip.yaml", "haproxy.cfg")
Change = Callable[[str, str, str], None]


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """docker compose is not there, but for the tests of tests/config/test_compose.py."""
    monkeypatch.setattr(compose, "run_tool", lambda *_, **__: CommandResult(None, "there is no docker here", True))


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """A directory with all that an installation has."""
    for name in FILES:
        shutil.copy(DATA / name, tmp_path)
    return tmp_path


@pytest.fixture
def change(at: Path) -> Change:
    """Puts one text in the place of another, which has to be there."""

    def put(name: str, old: str, new: str) -> None:
        text = (at / name).read_text(encoding="utf-8")
        assert old in text
        (at / name).write_text(text.replace(old, new), encoding="utf-8")

    return put


def read(at: Path) -> Installed:
    return read_installed(str(at), str(at / "haproxy.cfg"), 4)


def rows(installed: Installed) -> list[str]:
    return [f"{row.ports}/{row.transport.value} {row.need.value}: {row.purpose}" for row in installed.requirements]


HTTPS = "HTTPS: haproxy hands on to the other services"


def sources(installed: Installed, at: Path) -> dict[str, str]:
    return {
        f"{row.ports}/{row.transport.value}": (row.source or "").replace(f"{at}/", "") for row in installed.requirements
    }


REQUIRED = [
    "80/tcp required: Let's Encrypt certificates (HTTP-01)",
    "443/tcp required: HTTPS: haproxy hands on to the other services",
    "7881/tcp required: WebRTC over TCP, for clients that cannot use UDP",
    "50000-60000/udp required: WebRTC media",
]
TURN = "443/udp recommended: TURN/UDP"
RTMP = "1935/tcp recommended: RTMP ingest"
WHIP = "7885/udp recommended: WHIP media"
SIP = [
    "5060/tcp recommended: SIP signalling",
    "5060/udp recommended: SIP signalling",
    "10000-20000/udp recommended: SIP media",
]


def test_what_the_installer_sets_up(at: Path) -> None:
    installed = read(at)
    assert rows(installed) == [*REQUIRED, TURN, RTMP, WHIP, *SIP]
    assert sources(installed, at) == {
        "80/tcp": "haproxy.cfg, bind in line 12",
        "443/tcp": "haproxy.cfg, bind in line 24",
        "7881/tcp": "livekit.yaml, rtc.tcp_port",
        "50000-60000/udp": "livekit.yaml, rtc.port_range_start",
        "443/udp": "livekit.yaml, turn.udp_port",
        "1935/tcp": "haproxy.cfg, bind in line 57",
        "7885/udp": "default of rtc_config.udp_port, not in ingress.yaml",
        "5060/tcp": "sip.yaml, sip_port",
        "5060/udp": "sip.yaml, sip_port",
        "10000-20000/udp": "sip.yaml, rtp_port",
    }
    assert Installed((), *list(vars(installed).values())[1:]) == Installed(
        (), True, ("203.0.113.10",), (), "turn.example.com", ((443, "/etc/haproxy/ssl/"),), (), (80, 443),
    )  # fmt: skip
    assert "SECRET" not in repr(installed)


# A change of a file, and what becomes of the usual rows: "" is none as a value, and one more row as a key.
MEDIA, RANGE = REQUIRED[3], "  port_range_start: 50000\n  port_range_end: 60000\n"
CHANGES = [
    ("livekit.yaml", "end: 60000", "end: 55000", {MEDIA: "50000-55000/udp required: WebRTC media"}),
    ("livekit.yaml", "tcp_port: 7881", "tcp_port: 0", {REQUIRED[2]: ""}),
    ("livekit.yaml", "  tcp_port: 7881\n", "", {}),
    ("livekit.yaml", RANGE, "", {}),
    ("livekit.yaml", "  port_range_start: 50000\n", "", {}),
    ("livekit.yaml", RANGE, "  udp_port: 7882\n", {MEDIA: "7882/udp required: WebRTC media"}),
    ("livekit.yaml", RANGE, '  udp_port: "7872-7875"\n', {MEDIA: "7872-7875/udp required: WebRTC media"}),
    # Four processors, so that it takes four.
    ("livekit.yaml", RANGE, "  udp_port: 7872 - 7882\n",
     {MEDIA: "7872-7875/udp required: WebRTC media", "": "7876-7882/udp optional: WebRTC media"}),
    ("livekit.yaml", "rtc:", "rtc:\n  udp_port: 7882", {}),
    ("livekit.yaml", "rtc:", "rtc:\n  force_tcp: true", {MEDIA: ""}),
    ("livekit.yaml", "enabled: true", "enabled: false", {TURN: ""}),
    ("livekit.yaml", "enabled: true", "enabled: yes", {}),
    ("livekit.yaml", "udp_port: 443", "udp_port: 3478", {TURN: "3478/udp recommended: TURN/UDP"}),
    ("livekit.yaml", "udp_port: 443", "udp_port: 50001", {TURN: ""}),  # each port once
    ("livekit.yaml", "external_tls: true", "external_tls: false", {}),
    ("docker-compose.yaml", "livekit/ingress", "livekit/egress", {RTMP: "", WHIP: ""}),
    ("docker-compose.yaml", "livekit/sip", "livekit/sipx", dict.fromkeys(SIP, "")),
    ("docker-compose.yaml", "livekit/sip", "docker.io/livekit/sip:v1.2@sha256:0", {}),
    ("docker-compose.yaml", "image: livekit/sip", "profiles: [x]\n    image: livekit/sip", dict.fromkeys(SIP, "")),
    ("ingress.yaml", "rtmp_port: 1936", "rtmp_port: 1937", {RTMP: "1937/tcp recommended: RTMP ingest"}),
    ("ingress.yaml", "rtmp_port: 1936", "rtmp_port: 0", {}),
    ("ingress.yaml", "rtmp_port: 1936", "rtmp_port: -1", {RTMP: ""}),
    ("ingress.yaml", "whip_port: 8089", "whip_port: -1", {WHIP: ""}),
    ("ingress.yaml", "whip_port: 8089\n", "rtc_config:\n  udp_port: 7886\n",
     {WHIP: "7886/udp recommended: WHIP media"}),
    ("ingress.yaml", "whip_port: 8089\n", "rtc_config:\n  port_range_start: 2000\n  port_range_end: 2001\n",
     {WHIP: "2000-2001/udp recommended: WHIP media"}),
    ("sip.yaml", "sip_port: 5060", "tls:\n  port: 5061\nsip_port: 5070", {
        SIP[0]: "5070/tcp recommended: SIP signalling", SIP[1]: "5070/udp recommended: SIP signalling",
        "": "5061/tcp recommended: SIP over TLS"}),
    ("sip.yaml", "sip_port: 5060\nrtp_port: 10000-20000\n", "", {}),
    ("sip.yaml", "10000-20000", "40000-50000", {SIP[2]: "40000-49999/udp recommended: SIP media"}),
    ("haproxy.cfg", "bind :80", "bind 127.0.0.1:80", {REQUIRED[0]: ""}),
    ("haproxy.cfg", "bind *:443 ssl", "bind *:8443 ssl", {REQUIRED[1]: f"8443/tcp required: {HTTPS}"}),
    ("haproxy.cfg", "bind *:443 ssl crt /etc/haproxy/ssl/", "bind *:443", {}),
    ("haproxy.cfg", "listen rtmp", "frontend other\n bind *:9443 ssl\n default_backend renewal\nlisten rtmp", {}),
    ("haproxy.cfg", "bind *:1935", "bind *:1940", {RTMP: "1940/tcp recommended: RTMP ingest"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "changes"), CHANGES)
def test_what_is_installed_otherwise(
    at: Path, change: Change, name: str, old: str, new: str, changes: dict[str, str]
) -> None:
    usual = [*REQUIRED, TURN, RTMP, WHIP, *SIP]
    change(name, old, new)
    expected = [*(changes.get(row, row) for row in usual), changes.get("", "")]
    assert sorted(rows(read(at))) == sorted(filter(None, expected))


def test_a_livekit_for_developers(at: Path, change: Change) -> None:
    change("livekit.yaml", RANGE, "")
    change("livekit.yaml", "port: 7880", "development: true")
    assert "7882/udp required: WebRTC media" in rows(read(at))


COMMAND = '--config "/app/livekit.yaml" --node-ip 203.0.113.10'


@pytest.mark.parametrize(
    ("command", "environment", "ports", "source"),
    [
        (f"{COMMAND} --rtc.tcp_port 7000", "", "7000/tcp", "docker-compose.yaml, --rtc.tcp_port"),
        (f"{COMMAND} --rtc.tcp_port=7000 --dev", "", "7000/tcp", "docker-compose.yaml, --rtc.tcp_port"),
        (f"-rtc.tcp_port 7000 {COMMAND}", "", "7000/tcp", "docker-compose.yaml, --rtc.tcp_port"),
        (f"{COMMAND} --turn.udp_port 3479", "", "3479/udp", "docker-compose.yaml, --turn.udp_port"),
        (f"{COMMAND} --udp-port 7882", "", "50000-60000/udp", "livekit.yaml, rtc.port_range_start"),
        (f"{COMMAND} --rtc.port_range_start 0 --udp-port 7882", "", "7882/udp", "docker-compose.yaml, --udp-port"),
        (COMMAND, "- LIVEKIT_RTC_TCP_PORT=7001", "7001/tcp", "docker-compose.yaml, LIVEKIT_RTC_TCP_PORT"),
        (COMMAND, "LIVEKIT_RTC_TCP_PORT: 7001", "7001/tcp", "docker-compose.yaml, LIVEKIT_RTC_TCP_PORT"),
        (COMMAND, "- LIVEKIT_RTC_TCP_PORT=", "7881/tcp", "livekit.yaml, rtc.tcp_port"),
        (f"{COMMAND} --rtc.tcp_port 7000", "LIVEKIT_RTC_TCP_PORT: 7001", "7000/tcp",
         "docker-compose.yaml, --rtc.tcp_port"),
    ],
)  # fmt: skip
def test_flags_beat_variables_and_both_beat_the_file(
    at: Path, change: Change, command: str, environment: str, ports: str, source: str
) -> None:
    change("docker-compose.yaml", COMMAND, command)
    if environment:
        change("docker-compose.yaml", "    healthcheck:\n      test: wget --spider http",
               f"    environment:\n      {environment}\n    healthcheck:\n      test: wget --spider http")  # fmt: skip
    assert sources(read(at), at)[ports] == source


def test_a_command_may_be_a_list_and_have_its_program_before_it(at: Path, change: Change) -> None:
    words = '["--config", "/app/livekit.yaml"]\n    entrypoint: /livekit-server --rtc.tcp_port 7000 --turn.enabled'
    change("docker-compose.yaml", COMMAND, words)
    change("livekit.yaml", "  enabled: true\n", "")
    installed = read(at)
    assert ("7000/tcp" in sources(installed, at), TURN in rows(installed), installed.node_ip) == (True, True, ())


def test_the_configuration_is_where_the_volumes_say(at: Path, change: Change) -> None:
    (at / "conf").mkdir()
    (at / "livekit.yaml").rename(at / "conf" / "lk.yaml")
    change(
        "docker-compose.yaml",
        "- .:/app\n      - /etc/ssl",
        "- data:/app\n      - ./wrong:/ap\n      - ./conf:/app/:ro\n      - /etc/ssl",
    )
    change("docker-compose.yaml", "/app/livekit.yaml", "/app/lk.yaml")
    assert sources(read(at), at)["7881/tcp"] == "conf/lk.yaml, rtc.tcp_port"


def test_the_file_may_be_named_by_a_variable(at: Path, change: Change) -> None:
    change("docker-compose.yaml", 'command: --config "/app/sip.yaml"', "restart: always")
    change("docker-compose.yaml", "- SECRET_TOKEN", "- SIP_CONFIG_FILE=/app/sip.yaml\n      - SECRET_TOKEN")
    assert SIP[0] in rows(read(at))


def test_addresses_that_it_advertises(at: Path, change: Change) -> None:
    change("docker-compose.yaml", "--node-ip 203.0.113.10", "--node-ip 203.0.113.11,2001:db8::1,PUBLIC_IP")
    change("livekit.yaml", "use_external_ip: true", "stun_servers:\n    - stun.example.com:3478\n    - a b\n")
    change("livekit.yaml", "turn.example.com", "SECRET turn")
    installed = read(at)
    assert installed.node_ip == ("203.0.113.11", "2001:db8::1")
    assert (installed.use_external_ip, installed.stun_servers, installed.turn_domain) == (
        False,
        ("stun.example.com:3478",),
        None,
    )


def test_what_was_not_read_is_told(at: Path, change: Change) -> None:
    (at / "docker-compose.override.yml").touch()
    change("docker-compose.yaml", "    healthcheck:\n      test: wget --spider http:",
           "    env_file: SECRET\n    healthcheck:\n      test: wget --spider http:")  # fmt: skip
    beside, variables = read(at).notes
    assert beside.startswith(f"{at}/docker-compose.override.yml was not read, although docker compose uses it")
    assert variables.startswith("The env_file of the service livekit was not read")


@pytest.mark.parametrize(
    ("name", "old", "new", "note"),
    [
        ("livekit.yaml", "end: 60000", "end: 55000",
         "names 50000-60000/udp (WebRTC media), installed is 50000-55000/udp: firewall rules"),
        ("livekit.yaml", "end: 60000", "end: 61000",
         "installed is 50000-61000/udp (AT/livekit.yaml, rtc.port_range_start): firewall rules by"),
        ("livekit.yaml", "tcp_port: 7881", "tcp_port: 0",
         "7881/tcp (WebRTC over TCP, for clients that cannot use UDP), installed is none: firewall rules"),
        ("sip.yaml", "10000-20000", "10000-20001", "installed is 10000-20001/udp (AT/sip.yaml, rtp_port): firewall"),
        ("sip.yaml", "10000-20000", "10000-19999", ""),
    ],
)  # fmt: skip
def test_where_the_documentation_names_other_ports(
    at: Path, change: Change, name: str, old: str, new: str, note: str
) -> None:
    change(name, old, new)
    notes = read(at).notes
    assert len(notes) == bool(note)
    assert note in "".join(notes).replace(str(at), "AT")


@pytest.mark.parametrize(
    ("name", "old", "new", "kind"),
    [
        ("livekit.yaml", "port_range_end: 60000", "# SECRET", "line 4: rtc.port_range_start has no"),
        ("livekit.yaml", "50000", "SECRET", "line 4: rtc.port_range_start is not a number"),
        ("livekit.yaml", "60000", "65536", "line 5: rtc.port_range_end is not a number"),
        ("livekit.yaml", "60000", "49999", "line 5: rtc.port_range_end does not make a range"),
        ("livekit.yaml", "7881", "07881", "line 6: rtc.tcp_port is not a number"),
        ("livekit.yaml", "7881", "0x1EC9", "line 6: rtc.tcp_port is not a number"),
        ("livekit.yaml", "7881", "-1", "line 6: rtc.tcp_port is not a number"),
        ("livekit.yaml", "enabled: true", "enabled: SECRET", "turn.enabled is neither true nor false"),
        ("livekit.yaml", "rtc:", "rtx:", "line 1: there is no rtc"),
        ("livekit.yaml", "keys:", "kexs:", "line 1: there is no keys"),
        ("docker-compose.yaml", "--node-ip 203.0.113.10", "--udp-port SECRET", "line 9: --udp-port is not a number"),
        ("docker-compose.yaml", "--node-ip 203.0.113.10", "--config-body SECRET", "line 3: the service livekit has"),
        ("docker-compose.yaml", "--node-ip 203.0.113.10", "'SECRET", "line 9: an unclosed quote"),
        ("docker-compose.yaml", "/app/livekit.yaml", "/SECRET/livekit.yaml", "line 3: the service livekit has"),
        ("docker-compose.yaml", '--config "/app/livekit.yaml"', "", "line 3: the service livekit is started"),
        ("docker-compose.yaml", "- SECRET_TOKEN=", "- SIP_CONFIG_BODY=", "line 23: the service livekit-"),
        ("docker-compose.yaml", "- SECRET_TOKEN=SECRET-token", "- SIP_CONFIG_FILE", "line 29: SIP_CONFIG_FILE has its"),
        ("docker-compose.yaml", 'network_mode: "host"', "ports: []", "line 3: the service livekit has a network"),
        ("docker-compose.yaml", '"host"', "SECRET", "line 3: the service livekit has a network"),
        ("docker-compose.yaml", "livekit/livekit-server", "SECRET", "no service in it"),
        ("docker-compose.yaml", "services:", "SECRET:", "line 1: there is no services"),
        ("ingress.yaml", "redis:", "rediss:", "line 1: there is no redis"),
        ("haproxy.cfg", "bind *:443 ssl", "bind SECRET", "line 24: an address"),
        ("haproxy.cfg", "bind *:443 ssl", "# bind", "no bind in it takes LiveKit's users with ssl"),
    ],
)  # fmt: skip
def test_what_is_refused(at: Path, change: Change, name: str, old: str, new: str, kind: str) -> None:
    change(name, old, new)
    with pytest.raises(UserError) as raised:
        read(at)
    assert raised.value.code == "configuration"
    assert raised.value.what == f"{at / name} is not understood"
    assert raised.value.why.startswith(kind) or kind in raised.value.why
    assert "SECRET" not in raised.value.message + raised.value.hint


@pytest.mark.drawn
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_went_wrong_is_read_or_refused(at: Path, name: str) -> None:
    text, understood, begun = (at / name).read_text(encoding="utf-8"), 0, time.monotonic()
    for changed in mutations.of(text, random.Random(name), 1000):
        (at / name).write_text(changed, encoding="utf-8", newline="")
        try:
            installed = read(at)
            understood += 1
            build_plan("installed", ["rtmp"], read=installed.requirements)
            shown = repr(installed)
        except UserError as error:
            shown = error.message + error.hint
        if "SECRET" in shown:
            raise AssertionError(changed)
    assert 100 < understood < 1000
    assert time.monotonic() - begun < 120


def test_who_needs_a_service_says_so(at: Path, change: Change) -> None:
    change("haproxy.cfg", "bind *:1935", "bind *:1940")
    plan = build_plan("installed", ["rtmp", "whip"], read=read(at).requirements)
    needed = {row.purpose: (str(row.ports), row.need) for row in plan.requirements if row.need is not Need.RECOMMENDED}
    assert needed["RTMP ingest"] == ("1940", Need.REQUIRED)
    assert needed["WHIP media"] == ("7885", Need.REQUIRED)
    assert "SIP media" not in needed


# What stands in the place of a file.


@pytest.mark.parametrize("name", FILES)
def test_bad_files(at: Path, name: str) -> None:
    path = at / name
    text = path.read_bytes()

    def why() -> str:
        with pytest.raises(UserError) as raised:
            read(at)
        assert raised.value.what == f"{path} cannot be read"
        assert raised.value.hint
        return raised.value.why

    path.write_bytes(text + b"# \xff\n")
    assert why() == f"byte {len(text) + 2} is not UTF-8"
    path.write_bytes(text + b"#" * 10 * 1024 * 1024)
    assert why() == "it has more than 1024 KiB"
    os.truncate(path, 2**40)  # more than any machine could read
    assert why() == "it has more than 1024 KiB"
    path.unlink()
    assert why() == "there is no such file"
    os.mkfifo(path)
    assert why() == "it is not a regular file"
    path.unlink()
    path.mkdir()
    assert why() == "it is not a regular file"
    path.rmdir()
    path.symlink_to("/dev/zero")
    assert why() == "it is not a regular file"
    path.unlink()
    path.symlink_to(path)
    assert why() == "Too many levels of symbolic links"
    path.unlink()
    (at / "elsewhere").write_bytes(text)
    path.symlink_to(at / "elsewhere")
    assert rows(read(at)) == [*REQUIRED, TURN, RTMP, WHIP, *SIP]


def test_a_file_that_only_root_may_read(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)  # root may read all
    with pytest.raises(UserError) as raised:
        read_livekit(str(at / "livekit.yaml"))
    assert (raised.value.why, raised.value.hint) == ("this user may not read it", "start with sudo")


def test_a_name_that_none_can_be() -> None:
    with pytest.raises(UserError) as raised:
        read_livekit("\0")
    assert raised.value.why == "this cannot be the name of a file"


# LiveKit alone.


def test_livekit_alone(at: Path, change: Change) -> None:
    installed = read_livekit(str(at / "livekit.yaml"))
    assert rows(installed) == [
        "443/tcp required: HTTPS: a proxy hands on to LiveKit",
        *REQUIRED[2:],
        "80/tcp recommended: Let's Encrypt certificates (HTTP-01)",
        TURN,
    ]
    assert sources(installed, at)["443/tcp"] == ""
    assert (installed.certificates, installed.notes) == ((), ())
    change("livekit.yaml", "external_tls: true", "external_tls: false")
    assert "5349/tcp recommended: TURN/TLS" in rows(read_livekit(str(at / "livekit.yaml")))
    change("livekit.yaml", "tls_port: 5349", "tls_port: 443")
    assert rows(read_livekit(str(at / "livekit.yaml"))) == rows(installed)
    change("livekit.yaml", "  enabled: true\n", "")
    off = read_livekit(str(at / "livekit.yaml"))
    assert (off.turn_domain, [row for row in rows(off) if "TURN" in row]) == (None, [])


def test_livekit_alone_with_nothing_but_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("rtc:\n")
    installed = read_livekit(str(tmp_path / "x.yaml"))
    assert rows(installed)[1:3] == REQUIRED[2:]
    assert sources(installed, tmp_path)["7881/tcp"] == "default of rtc.tcp_port, not in x.yaml"


def test_a_source_has_room_in_a_report(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 200)
    deep.mkdir()
    (deep / "x.yaml").write_text("rtc:\n  tcp_port: 7881\n")
    source = read_livekit(str(deep / "x.yaml")).requirements[1].source or ""
    assert len(source) == 200
    assert source.startswith("...x")
    assert source.endswith("/x.yaml, rtc.tcp_port")


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ("bind :80", "bind [::]:80 v4v6", (443,)),
        ("bind *:443", "bind :::443 v4v6", (80,)),
        ("bind *:443", "bind ipv4@:443,ipv6@:443", (80,)),
        ("bind *:443", "bind 203.0.113.10:443", (80, 443)),
    ],
)
def test_where_haproxy_has_no_ipv6(at: Path, change: Change, old: str, new: str, left: tuple[int, ...]) -> None:
    change("haproxy.cfg", old, new)
    assert read(at).ipv4_only == left


@pytest.mark.parametrize(
    ("lines", "interfaces", "picks"),
    [
        ("interfaces:\n    includes: []", ((), ()), False),
        ("interfaces:\n    includes: [eth0, eth1]", (("eth0", "eth1"), ()), False),
        ("interfaces:\n    excludes:\n    - docker0", ((), ("docker0",)), False),
        ("ips:\n    includes: [203.0.113.0/24]", ((), ()), True),
        ("ips:\n    excludes: [172.17.0.0/16]", ((), ()), True),
        ("external_ip_only: true", ((), ()), True),
    ],
)
def test_which_interfaces_it_is_told_to_use(
    at: Path, change: Change, lines: str, interfaces: object, picks: bool
) -> None:
    change("livekit.yaml", "rtc:\n", f"rtc:\n  {lines}\n")
    installed = read(at)
    assert (installed.interfaces, installed.addresses_filtered) == (interfaces, picks)


def test_what_is_there_for_who_did_not_ask(at: Path, change: Change) -> None:
    proxy = str(at / "haproxy.cfg")
    assert find_installed(str(at / "nowhere"), proxy) == (None, "")
    assert find_installed(str(at), proxy) == (read_installed(str(at), proxy), "")
    (at / "haproxy.cfg").unlink()
    installed, why = find_installed(str(at), proxy)
    assert (installed and installed.turn_domain, why) == ("turn.example.com", "")
    change("livekit.yaml", "rtc:\n", "rtc: &all\n")
    installed, why = find_installed(str(at), proxy)
    assert installed is None
    assert "livekit.yaml is not understood" in why
