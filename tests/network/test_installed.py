"""Plans that are read from the machine's own configuration."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config.haproxy import parse_haproxy
from tests.lab import Lab, check, need, server, until, wrong

SHAPE = Path(__file__).parent.parent / "config" / "installed"
CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x -keyout - -out -"
)
# Puts an installation where the installer puts it, for one command; the namespace's mounts are its own.
AT_HOME = (
    "sh", "-ec",
    'mount -t tmpfs none /opt; cp -r "$0" /opt/plugNmeet; mount -t tmpfs none /etc/haproxy; '
    'cp "$0/haproxy.cfg" /etc/haproxy; exec "$@"',
)  # fmt: skip


@pytest.fixture
def shape(tmp_path: Path) -> Path:
    """An installation with other ports than the documentation's."""
    made = tmp_path / "shape"
    shutil.copytree(SHAPE, made)
    for name, old, new in (
        ("livekit.yaml", "port_range_end: 60000", "port_range_end: 50099"),
        ("livekit.yaml", "tcp_port: 7881", "tcp_port: 7000"),
        ("haproxy.cfg", "bind *:443 ssl", "bind *:8443 ssl"),
        ("sip.yaml", "10000-20000", "10000-10099"),
    ):
        text = (made / name).read_text(encoding="utf-8")
        assert old in text
        (made / name).write_text(text.replace(old, new), encoding="utf-8")
    return made


def test_what_is_installed_is_checked(net: Lab, archive: Path, shape: Path) -> None:
    need("haproxy")  # for its directory
    plan = "tcp 80,1935,5060,7000,8443 udp 443,5060,7885,10000-10099,50000-50099"
    net.server.rules("input", "tcp dport 7000 drop", "udp dport 50090-50099 drop")
    with server(net.server, archive, "--plan", "installed", prefix=(*AT_HOME, str(shape))) as running:
        said = running.listening
        seen = check(net.client, archive, net.server.ipv4)
        told = running.wait_for("report")["report"]
    blocked = {"tcp 7000": "filtered server-host", "udp 50090-50099": "filtered server-host"}
    assert wrong(seen.report, blocked, plan=plan) == []
    # Who is not paired learns where nothing comes from, the server's own terminal learns it of every port.
    assert {one["source"] for one in seen.address["findings"]} == {None}
    assert "/opt" not in json.dumps(seen.report)
    (address,) = told["addresses"]
    found = {(one["transport"], one["first"]): one["source"] for one in address["findings"]}
    assert found["tcp", 7000] == "/opt/plugNmeet/livekit.yaml, rtc.tcp_port"
    assert found["udp", 50090] == "/opt/plugNmeet/livekit.yaml, rtc.port_range_start"
    assert found["tcp", 8443] == "/etc/haproxy/haproxy.cfg, bind in line 24"
    assert all(found.values())
    assert {one["source"] for one in said["planned"]} == set(found.values())
    differences = [note for note in said["notes"] if note.startswith("The documentation names")]
    assert len(differences) == 3
    assert differences == [note for note in address["notes"] if note.startswith("The documentation names")]


def test_a_plan_of_livekits_own_file(net: Lab, archive: Path, shape: Path) -> None:
    with server(net.server, archive, "--plan", f"livekit:{shape}/livekit.yaml", "--with", "whip") as running:
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, {}, plan="tcp 80,443,7000 udp 443,7885,50000-50099") == []
        assert (seen.status, seen.report["plan"]) == (0, "livekit")
        assert running.listening["notes"] == []


def test_haproxy_listens_where_it_is_read_to(net: Lab, tmp_path: Path) -> None:
    need("haproxy", "openssl", "ss")
    made = subprocess.run(CERTIFICATE.split(), cwd=tmp_path, capture_output=True, check=True)
    (tmp_path / "one.pem").write_bytes(made.stdout)
    text = (SHAPE / "haproxy.cfg").read_text(encoding="utf-8")
    text = text.replace("bind *:1935", f"bind {net.server.ipv4}:1935,[::]:1936 v6only\n  bind *:2000-2002 accept-proxy")
    kept = [line for line in text.splitlines() if not re.search("errorfile|stats socket|-base", line)]
    kept = [line.replace("/etc/haproxy/ssl/", f"{tmp_path}/one.pem") for line in kept]
    (tmp_path / "it.cfg").write_text("\n".join([*kept, ""]), encoding="utf-8")
    with net.server.popen(["haproxy", "-db", "-f", tmp_path / "it.cfg"], stderr=subprocess.DEVNULL) as running:
        try:
            until(lambda: ":2002" in net.server.must("ss", "-Hltn"), "haproxy listens on its last port")
            ports = {int(line.split()[3].rpartition(":")[2]) for line in net.server.must("ss", "-Hltn").splitlines()}
        finally:
            running.kill()
    read = parse_haproxy((tmp_path / "it.cfg").read_text(encoding="utf-8"), "it.cfg")
    assert {port for one in read for port in one.ports} == ports - {81, 2000, 2001, 2002}
    assert {81, 443, 2002} < ports


@pytest.mark.parametrize("plan", ["installed", "livekit:/none/livekit.yaml"])
def test_nothing_to_read(net: Lab, archive: Path, plan: str) -> None:
    hide = ("sh", "-ec", 'mount -t tmpfs none /opt; exec "$0" "$@"')
    done = net.server.run([*hide, sys.executable, archive, "server", "--json", "--plan", plan])
    assert done.returncode == 3
    said = json.loads(done.stdout)
    assert (said["event"], said["error"]["code"]) == ("stopped", "configuration")
    assert "there is no such file" in done.stderr
    assert "--plan livekit:FILE" in done.stderr
