"""Real firewall managers in a host of the lab: ufw, firewalld, fail2ban, with files and sockets of that host's own.

The machine's own settings are copied, never changed. Each program that starts in the host gets the host's files in
place of the machine's, in a mount namespace of its own; so the tools find each other by their usual paths.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Iterator, Mapping

from tests.lab import Host, until

# What the managers write to. What a machine does not have is not there for the host either.
_COPIED = ("/etc/default", "/etc/fail2ban", "/etc/firewalld", "/etc/nftables.conf", "/etc/ufw")
_EMPTY = ("/run", "/var/log")

_BUS = """<busconfig>
<type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/><allow own="*"/><allow eavesdrop="true"/><allow send_destination="*" eavesdrop="true"/>
</policy>
</busconfig>
"""

# The package of that name cannot be installed beside ufw: this does the same as its plugins' `save`.
_PERSISTENT = """#!/bin/sh
[ "$*" = save ] || exit 2
iptables-save >/run/rules.v4 && ip6tables-save >/run/rules.v6
"""
_PLUGIN = "netfilter-persistent/plugins.d/15-ip4tables"


@contextlib.contextmanager
def own_files(host: Host, replaced: Mapping[str, Path] | None = None) -> Iterator[Path]:
    """Give a host files of its own, and what `replaced` puts in the place of others; its directory for more.

    What is put into the directories `bin`, `sbin` and `share` there is found in those of /usr too.
    """
    with tempfile.TemporaryDirectory(prefix="pnmcheck-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # also for programs that do not run as root
        mounts: dict[str, Path] = {}
        for path in filter(Path.exists, map(Path, _COPIED)):
            mounts[str(path)] = directory / path.name
            if path.is_dir():
                shutil.copytree(path, directory / path.name, symlinks=True)
            else:
                shutil.copy(path, directory / path.name)
        for empty in _EMPTY:
            mounts[empty] = directory / Path(empty).name
            mounts[empty].mkdir()
        mounts.update(replaced or {})
        lines = [f"mount --bind '{ours}' '{theirs}'\n" for theirs, ours in mounts.items()]
        for more in ("bin", "sbin", "share"):
            (directory / more).mkdir()
            lines.append(f"mount -t overlay overlay -o 'lowerdir={directory / more}:/usr/{more}' /usr/{more}\n")
        enter = directory / "enter"
        enter.write_text("".join(["set -e\n", *lines, 'exec "$@"\n']), encoding="utf-8")
        host.prefix = ("unshare", "--mount", "sh", enter)
        try:
            yield directory
        finally:
            host.prefix = ()


def tool(directory: Path, name: str, script: str | None) -> None:
    """A program of a few lines of shell in the place of the machine's; None where there shall be none."""
    real = shutil.which(name)
    path = directory / (Path(real).parent.name if real else "sbin") / name
    path.write_text(script or "", encoding="utf-8")
    path.chmod(0o755 if script else 0o644)


@contextlib.contextmanager
def ufw(host: Host, _directory: Path) -> Iterator[None]:
    """ufw, active, with its default: what is not allowed is dropped."""
    host.must("ufw", "--force", "enable")
    yield


@contextlib.contextmanager
def firewalld(host: Host, directory: Path) -> Iterator[None]:
    """firewalld, running, with its default zone `public`."""
    bus = directory / "bus.conf"
    bus.write_text(_BUS, encoding="ascii")
    (directory / "run/dbus").mkdir()
    with _daemon(host, directory, "dbus-daemon", "--nofork", "--nopidfile", f"--config-file={bus}"):
        until((directory / "run/dbus/system_bus_socket").exists, "the bus")
        with _daemon(host, directory, "firewalld", "--nofork", "--nopid"):
            until(lambda: host.run(["firewall-cmd", "--state"]).stdout == "running\n", "firewalld")
            yield


@contextlib.contextmanager
def fail2ban(host: Host, directory: Path, action: str = "%(action_)s") -> Iterator[None]:
    """fail2ban, running, with a jail `lab` that shuts those whom it bans out from 80 and 7881."""
    shutil.rmtree(directory / "fail2ban/jail.d")
    (directory / "fail2ban/jail.d").mkdir()
    (directory / "fail2ban/jail.d/lab.local").write_text(
        "[lab]\nenabled = true\nfilter = nginx-botsearch\nlogpath = /var/log/web.log\nbackend = polling\n"
        f"port = 80,7881\naction = {action}\n",
        encoding="ascii",
    )
    (directory / "fail2ban/fail2ban.local").write_text("[Definition]\ndbfile = None\n", encoding="ascii")
    (directory / "run/fail2ban").mkdir()
    (directory / "log/web.log").touch()
    with _daemon(host, directory, "fail2ban-server", "-f", "start"):
        until(lambda: host.run(["fail2ban-client", "ping"]).returncode == 0, "fail2ban")
        yield


@contextlib.contextmanager
def banning_ufw(host: Host, directory: Path) -> Iterator[None]:
    """ufw, and fail2ban that bans by its rules."""
    profile = "[lab]\ntitle=lab\ndescription=what is shut\nports=80,7881/tcp\n"
    (directory / "ufw/applications.d/lab").write_text(profile, encoding="ascii")
    with ufw(host, directory), fail2ban(host, directory, "ufw[application=lab]"):
        yield


@contextlib.contextmanager
def banning_firewalld(host: Host, directory: Path) -> Iterator[None]:
    """firewalld, and fail2ban that bans by its rich rules."""
    action = 'firewallcmd-rich-rules[port="%(port)s", protocol=tcp]'
    with firewalld(host, directory), fail2ban(host, directory, action):
        yield


@contextlib.contextmanager
def persistent(_host: Host, directory: Path) -> Iterator[None]:
    """A `netfilter-persistent`, which saves to /run/rules.v4 and /run/rules.v6."""
    tool(directory, "netfilter-persistent", _PERSISTENT)
    plugin = directory / "share" / _PLUGIN
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    yield


@contextlib.contextmanager
def _daemon(host: Host, directory: Path, *command: str) -> Iterator[None]:
    with (directory / f"{command[0]}.log").open("w", encoding="utf-8") as log:
        process = host.popen(command, stdout=log, stderr=log)
        with process:
            try:
                yield
            finally:
                process.terminate()
