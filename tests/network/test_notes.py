"""Notes on the server itself, by the archive: what it finds in a network, and that it asks nobody whom it must not."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import pytest

from tests import firewalls
from tests.lab import FAR_CLIENT, SERVER, Host, Lab, Server, check, lab, need, server
from tests.network import test_root
from tests.network.test_outside import PORT, stun_server


@pytest.fixture(scope="session")
def archive(pyz: Path) -> Path:
    """Who may read the one file matters here."""
    return pyz


FEW = ("--tcp", "443", "--udp", "50000-50009")
TURN = "turn.example"

LIVEKIT = """port: 7880
rtc:
  port_range_start: 50000
  port_range_end: 50009
  tcp_port: 7881
{rtc}
keys:
  APIabcdefgh: not-to-be-told
turn:
  enabled: true
  udp_port: 443
  tls_port: 5349
  external_tls: true
  domain: turn.example
"""
COMPOSE = """services:
  livekit:
    image: livekit/livekit-server
    network_mode: "host"
    volumes:
      - .:/app
    command: --config "/app/livekit.yaml" {flags}
"""
HAPROXY = """frontend http
    bind {host}:80
    acl is_certbot path_beg /.well-known/acme-challenge/
    use_backend certbot if is_certbot
backend certbot
    server certbot 127.0.0.1:9080
frontend https
    mode tcp
    bind {host}:443 ssl crt /etc/haproxy/ssl/
    default_backend web
backend web
    server local 127.0.0.1:7880
"""


@contextlib.contextmanager
def installed(
    host: Host, rtc: Sequence[str] = ("use_external_ip: true",), flags: str = "", proxy: str = "*", days: int = 90
) -> Iterator[Path]:
    """A plugNmeet's configuration in its places on this host, and there alone; the directory of livekit.yaml."""
    need("openssl")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opt, haproxy = folder / "opt", folder / "haproxy"
        (opt / "plugNmeet").mkdir(parents=True)
        (haproxy / "ssl").mkdir(parents=True)
        lines = "\n".join(f"  {one}" for one in rtc)
        (opt / "plugNmeet/livekit.yaml").write_text(LIVEKIT.format(rtc=lines), encoding="ascii")
        (opt / "plugNmeet/docker-compose.yaml").write_text(COMPOSE.format(flags=flags), encoding="ascii")
        (haproxy / "haproxy.cfg").write_text(HAPROXY.format(host=proxy), encoding="ascii")
        pem = haproxy / "ssl/meet.pem"
        made = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=x",
        ]
        named = f"subjectAltName=DNS:{TURN}"
        subprocess.run([*made, "-days", str(days), "-addext", named, "-keyout", pem, "-out", pem], check=True)
        (haproxy / "ssl").chmod(0o700)
        stack.enter_context(firewalls.own_files(host, {"/opt": opt, "/etc/haproxy": haproxy}))
        yield opt / "plugNmeet"


def notes(running: Server, number: int = 1) -> tuple[dict[str, dict[str, Any]], list[str], list[str]]:
    """The first events with notes, taken together: what is amiss by its code, what is fine and what is not known."""
    events = [running.wait_for("notes", number=one) for one in range(1, number + 1)]
    return (
        {one["code"]: one for event in events for one in event["notes"]},
        [one for event in events for one in event["fine"]],
        [one for event in events for one in event["unknown"]],
    )


def resolver(host: Host, address: str) -> None:
    """Whom the host asks for names (ip-netns(8))."""
    Path("/etc/netns", host.name, "resolv.conf").write_text(f"nameserver {address}\n", encoding="ascii")


def reserve(host: Host, ports: str = "50000-60000") -> None:
    host.must("tee", "/proc/sys/net/ipv4/ip_local_reserved_ports", input=ports)


@contextlib.contextmanager
def told(
    net: Lab, archive: Path, *args: str, names: Mapping[str, Sequence[str]] | None = None, **kw: Any
) -> Iterator[Server]:
    """A server with a plugNmeet that asks the coturn on the client's host."""
    rtc = kw.pop("rtc", ("use_external_ip: true",))
    servers = ("stun_servers:", f"  - {net.client.ipv4}:{PORT}")
    net.server.knows({TURN: [net.server.ipv4], **(names or {})})
    with contextlib.ExitStack() as stack:
        stack.enter_context(stun_server(net.client))
        stack.enter_context(installed(net.server, (*rtc, *servers), **kw))
        yield stack.enter_context(server(net.server, archive, *FEW, *args))


@pytest.fixture
def far() -> Iterator[Lab]:
    """A network with a router, which is the way out."""
    with lab(routed=True) as made:
        yield made


def test_a_server_where_all_is_in_order(far: Lab, archive: Path) -> None:
    reserve(far.server)
    with told(far, archive) as running:
        amiss, fine, unknown = notes(running, 2)
        assert amiss == {}
        assert {"interfaces", "certificates", "STUN", "hairpin", f"DNS of {TURN}"} <= {*fine}
        assert {one.partition(" ")[0] for one in unknown} <= {"clock"}  # where no systemd runs
        assert "not-to-be-told" not in repr(running.events) + running.stderr
        seen = check(far.client, archive, far.server.ipv4)
        assert (seen.status, len(running.of("notes"))) == (0, 2)


NAT = {"router prerouting nat": (f'iifname "outside" meta l4proto {{tcp, udp}} dnat ip to {SERVER[0]}',),
       "router postrouting nat": ('oifname "outside" meta nfproto ipv4 masquerade',)}  # fmt: skip


def test_a_nat_that_leads_nothing_back_and_the_rule_against_it(far: Lab, archive: Path) -> None:
    assert far.router
    far.rules(NAT)
    with told(far, archive) as running:
        amiss, fine, _ = notes(running, 2)
        assert "STUN" in fine
        assert {"no-hairpin", "dns-elsewhere"} >= {*amiss} - {"lent-ports"}
        assert far.router.ipv4 in amiss["no-hairpin"]["what"]
        (command,) = amiss["no-hairpin"]["commands"]
    far.server.must("sh", "-c", command)
    with told(far, archive) as running:
        assert "hairpin" in notes(running, 2)[1]


def test_a_nat_that_leads_packets_back(far: Lab, archive: Path) -> None:
    assert far.router
    far.rules(NAT)
    far.rules({
        "router prerouting nat": (f"iifname inside ip daddr {far.router.ipv4} dnat ip to {SERVER[0]}",),
        "router postrouting nat": (f"iifname inside oifname inside ip daddr {SERVER[0]} masquerade",),
    })  # fmt: skip
    # A firewall there keeps most of the ports back: one of some suffices.
    far.router.rules("forward", "iifname inside oifname inside udp dport 50001-50009 drop")
    with told(far, archive) as running:
        assert "hairpin" in notes(running, 2)[1]


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ({"server output": (f"udp dport {PORT} drop",)}, "stun-blocked"),
        ({"router forward": (f"udp sport {PORT} drop",)}, "stun-blocked"),
    ],
)
def test_stun_that_is_blocked(far: Lab, archive: Path, rules: Mapping[str, Sequence[str]], code: str) -> None:
    far.rules(rules)
    with told(far, archive) as running:
        amiss, fine, _ = notes(running, 2)
        assert "does not start" in amiss[code]["breaks"]
        assert "hairpin" not in fine


def test_what_is_told_of_an_installation_in_disorder(far: Lab, archive: Path) -> None:
    far.server.must("ip", "link", "add", "docker0", "type", "bridge")
    far.server.must("ip", "address", "add", "172.17.0.1/16", "dev", "docker0")
    far.server.must("ip", "link", "set", "docker0", "up")
    names = {TURN: [FAR_CLIENT[0], SERVER[1]]}
    with told(far, archive, names=names, flags="--node-ip 203.0.113.99", days=5) as running:
        amiss, *_ = notes(running, 2)
    assert {*amiss} - {"clock-unset"} == {
        "lent-ports", "extra-interfaces", "certificate-expiry", "node-ip-ignored", "dns-elsewhere", "aaaa-unserved",
    }  # fmt: skip
    assert "docker0 (172.17.0.1)" in amiss["extra-interfaces"]["what"]
    assert "includes: [eth0]" in amiss["extra-interfaces"]["fix"]
    assert "203.0.113.99" in amiss["node-ip-ignored"]["what"]
    assert FAR_CLIENT[0] in amiss["dns-elsewhere"]["what"]
    assert SERVER[1] in amiss["aaaa-unserved"]["what"]
    assert all(one["what"] and one["breaks"] and one["fix"] for one in amiss.values())
    # What is typed against a note puts it right.
    for command in amiss["lent-ports"]["commands"][:1]:
        far.server.must("sh", "-c", command)
    rtc = ("use_external_ip: true", "interfaces:", "  includes:", "  - eth0")
    with told(far, archive, rtc=rtc, proxy="[::]") as running:
        amiss, fine, _ = notes(running, 2)
    assert {*amiss} <= {"clock-unset"}
    assert {"interfaces", "certificates", "node_ip"} & {*fine} == {"interfaces", "certificates"}


def test_nothing_is_imported_for_them_once_root_is_given_up(far: Lab, archive: Path, tmp_path: Path) -> None:
    """Nobody may not read the archive, nor the certificates; names and packets are a thread's of his."""
    tmp_path.chmod(0o700)
    own, watched = Path(shutil.copy(archive, tmp_path)), tmp_path / "watched.py"
    shutil.copy(test_root.WATCHED, watched)
    far.server.knows({"stun.example": [far.client.ipv4]})
    with contextlib.ExitStack() as stack:
        stack.enter_context(stun_server(far.client))
        stack.enter_context(installed(far.server, ("use_external_ip: true", f"stun_servers: ['stun.example:{PORT}']")))
        watcher = server(far.server, own, *FEW, prefix=(sys.executable, "-B"), python=watched)
        running = stack.enter_context(watcher)
        _, fine, _ = notes(running, 2)
        assert {"STUN", "hairpin", "certificates"} <= {*fine}
        assert running.listening["root"] is False
        assert running.stop() == 130
        told = running.stderr.splitlines()
    assert [line for line in told if line.startswith("import ")] == []
    assert [line for line in told if line.startswith("open ") and not line.startswith("open /proc/")] == []


def test_a_client_that_dials_another_address(far: Lab, archive: Path) -> None:
    other = "198.51.100.9"
    far.server.also(other)
    with told(far, archive) as running:
        notes(running, 2)
        for address in (SERVER[0], other, other):
            check(far.client, archive, address)
        running.wait_for("report", number=3)
        told_of = [one for event in running.of("notes")[2:] for one in event["notes"]]
    assert [one["code"] for one in told_of] == ["advertised-elsewhere"]
    assert f"dialled {other}, but LiveKit offers {SERVER[0]}" in told_of[0]["what"]


@pytest.mark.parametrize("way", ["asks", "offline", "nothing installed", "LiveKit asks nobody"])
def test_whom_it_asks(far: Lab, archive: Path, way: str) -> None:
    """No packet but those of the check itself goes out, unless LiveKit asks too: neither STUN nor DNS."""
    assert far.router
    if way == "LiveKit asks nobody":
        far.server.knows({TURN: [far.server.ipv4]})  # or the DNS would be asked for that
    resolver(far.server, far.client.ipv4)
    far.server.rules("output", 'oifname "eth0" ct state new meta l4proto { tcp, udp } counter')
    with contextlib.ExitStack() as stack:
        if way != "nothing installed":
            asks = str(way != "LiveKit asks nobody").lower()
            rtc = [f"use_external_ip: {asks}", "stun_servers:", f"  - {far.client.ipv4}:{PORT}"]
            stack.enter_context(installed(far.server, rtc))
        offline = ("--offline",) if way == "offline" else ()
        running = stack.enter_context(server(far.server, archive, *FEW, *offline))
        _, _, unknown = notes(running, {"asks": 2, "LiveKit asks nobody": 2}.get(way, 1))
        assert check(far.client, archive, far.server.ipv4).status == 0
        running.wait_for("report")
        assert (far.server.counted() > 0) is (way == "asks")
        assert [one for one in unknown if "--offline" in one] == ["STUN, hairpin and DNS (--offline)"] * len(offline)


def test_a_configuration_that_is_not_understood(far: Lab, archive: Path) -> None:
    with installed(far.server) as folder:
        (folder / "livekit.yaml").write_text("rtc: &all\n  node_ip: not-to-be-told\n", encoding="ascii")
        with server(far.server, archive, *FEW) as running:
            _, _, unknown = notes(running)
            assert [one for one in unknown if "livekit.yaml is not understood" in one], unknown
            assert "not-to-be-told" not in repr(running.events)


@pytest.mark.alone  # the client has to come within the 2 s for which the DNS is waited for
def test_a_dns_that_hangs_keeps_nobody_waiting(far: Lab, archive: Path) -> None:
    resolver(far.server, far.client.ipv4)
    far.client.rules("input", "udp dport 53 drop")
    with installed(far.server), server(far.server, archive, *FEW) as running:
        assert check(far.client, archive, far.server.ipv4).status == 0
        amiss, _, unknown = notes(running, 2)
        assert "stun-unresolved" in amiss
        assert f"DNS of {TURN} (no answer)" in unknown
        assert running.events.index(running.of("session")[0]) < running.events.index(running.of("notes")[1])
