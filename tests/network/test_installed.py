"""Plans that are read from the machine's own configuration."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.lab import Lab, check, need, server, wrong

SHAPE = Path(__file__).parent.parent / "host" / "installed"
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
    # TLS is spoken on 8443, as haproxy would: the certificate is the server's own.
    differences = [note for note in said["notes"] if note.startswith("The documentation names")]
    assert len(differences) == 3
    assert differences == [note for note in address["notes"] if note.startswith("The documentation names")]


def test_a_plan_of_livekits_own_file(net: Lab, archive: Path, shape: Path) -> None:
    with server(net.server, archive, "--plan", f"livekit:{shape}/livekit.yaml", "--with", "whip") as running:
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, {}, plan="tcp 80,443,7000 udp 443,7885,50000-50099") == []
        assert (seen.status, seen.report["plan"]) == (0, "livekit")
        assert running.listening["notes"] == []


@pytest.mark.parametrize("plan", ["installed", "livekit:/none/livekit.yaml"])
def test_nothing_to_read(net: Lab, archive: Path, plan: str) -> None:
    hide = ("sh", "-ec", 'mount -t tmpfs none /opt; exec "$0" "$@"')
    done = net.server.run([*hide, sys.executable, archive, "server", "--json", "--plan", plan])
    assert done.returncode == 3
    said = json.loads(done.stdout)
    assert (said["event"], said["error"]["code"]) == ("stopped", "configuration")
    assert "there is no such file" in done.stderr
    assert "--plan livekit:FILE" in done.stderr
