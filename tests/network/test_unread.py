"""Tools of the host that hang, fail, babble or are not there: the check goes on, and says what could not be read."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import pytest

from tests import firewalls
from tests.lab import Check, Lab, check, lab, need, server, side_by_side, wrong
from tests.network.test_limits import NOBODY, everybodys_python


@pytest.fixture(scope="session")
def archive(pyz: Path) -> Path:
    """Programs that are not root read a copy of the one file."""
    return pyz


PLAN, UDP = "tcp 80,443,7881 udp 50000-50099", ("--udp", "50000-50099")
NFT, IPTABLES = "nft", ("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save")
MANAGERS = ("ufw", "firewall-cmd", "fail2ban-client")
ALL = (NFT, *IPTABLES, *MANAGERS)

HANGS = "#!/bin/sh\nsleep 600\n"
HANGS_AND_HOLDS = "#!/bin/sh\ntrap '' TERM INT HUP\nsleep 600 &\nwait\nsleep 600\n"
FAILS = "#!/bin/sh\necho 'no such luck' >&2\nexit 4\n"
GERMAN = "#!/bin/sh\necho 'FEHLER: Sie müssen root sein, um dieses Skript auszuführen' >&2\nexit 1\n"
SAYS_NOTHING = "#!/bin/sh\n:\n"
BABBLES = "#!/bin/sh\nhead -c 300000 /dev/urandom\n"
FLOODS = "#!/bin/sh\nyes -- '-A INPUT -j DROP'\n"
ESCAPES = "#!/bin/sh\nprintf '\\033[2J\\033]0;owned\\007 nothing\\r\\n' >&2\nexit 1\n"
NO_JSON = """#!/bin/sh
case " $* " in *" -j "* | *" --json "*)
    echo "Error: JSON support not compiled-in." >&2
    exit 1
esac
exec /usr/sbin/real-nft "$@"
"""
OTHER_JSON = """#!/bin/sh
printf '%s' '{"nftables": [7, null, {"rule": []}, {"chain": {"family": 3}}, {"rule": {"expr": [[{"a": "b"}]]}}]}'
"""
DEEP_JSON = """#!/bin/sh
head -c 200000 /dev/zero | tr '\\0' '['
"""
HALF_JSON = """#!/bin/sh
printf '%s' '{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "na'
"""


@dataclass(frozen=True, eq=False)
class Scenario:
    """Tools in the place of the real ones, by name, None for none; `named` is what the server has to speak of."""

    fault: str
    tools: Mapping[str, str | None]
    named: tuple[str, ...] = ()
    no_sys: bool = False
    prefix: tuple[str, ...] = ()  # what the server is run by
    capture_unavailable: bool = False  # it cannot watch its interfaces
    vanishing: bool = False  # one of them goes away while it does


SCENARIOS = (
    Scenario("all tools hang", dict.fromkeys(ALL, HANGS), (NFT, "ufw", "5 s")),
    Scenario("nft hangs", {NFT: HANGS}, (NFT, "5 s")),
    Scenario("nft hangs and will not be ended", {NFT: HANGS_AND_HOLDS}, (NFT, "5 s")),
    Scenario("nft prints without end", {NFT: FLOODS}, (NFT, "32 MiB")),
    Scenario("iptables-save prints without end", {NFT: FAILS, **dict.fromkeys(IPTABLES, FLOODS)},
             ("iptables-save", "32 MiB")),
    Scenario("all tools fail", dict.fromkeys(ALL, FAILS), (NFT, "ufw", "no such luck")),
    Scenario("all tools speak German", dict.fromkeys(ALL, GERMAN), (NFT, "ufw", "FEHLER")),
    Scenario("all tools say nothing", dict.fromkeys(ALL, SAYS_NOTHING), (NFT,)),
    Scenario("all tools babble", dict.fromkeys(ALL, BABBLES), (NFT,)),
    Scenario("all tools print what terminals obey", dict.fromkeys(ALL, ESCAPES), (NFT,)),
    Scenario("nft has no JSON", {NFT: NO_JSON}, (NFT, "JSON")),
    Scenario("nft prints other JSON", {NFT: OTHER_JSON}, (NFT,)),
    Scenario("nft prints deep JSON", {NFT: DEEP_JSON}, (NFT,)),
    Scenario("nft prints half of its JSON", {NFT: HALF_JSON}, (NFT,)),
    Scenario("there are no tools", dict.fromkeys(ALL)),
    Scenario("there is no /sys", {}, no_sys=True),
    Scenario("the server runs without root", {}, ("root",), prefix=NOBODY, capture_unavailable=True),
    Scenario("the server may not watch its interfaces", {}, capture_unavailable=True,
             prefix=("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")),
    Scenario("an interface vanishes", {}, vanishing=True),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario."""

    seen: Check
    listening: Mapping[str, Any]
    report: Mapping[str, Any]
    said: str  # all the server said
    stderr: str


def run(scenario: Scenario, archive: Path) -> Outcome:
    """A check of a server whose host has these tools and drops two runs of ports."""
    need("iptables", "ufw", "firewall-cmd", "fail2ban-client", "setpriv")
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(lab())
        directory = stack.enter_context(firewalls.own_files(net.server))
        net.server.nft(
            "table inet filter { chain input { type filter hook input priority filter; policy accept;\n"
            "udp dport 50010-50019 drop; tcp dport 7881 drop; }; }\n"
        )
        shutil.copy(str(shutil.which(NFT)), directory / "sbin/real-nft")
        for name, script in scenario.tools.items():
            firewalls.tool(directory, name, script)
        empty = directory / "empty"
        empty.mkdir()
        if scenario.no_sys:
            net.server.prefix = (*net.server.prefix, "sh", "-c", f"mount --bind '{empty}' /sys && exec \"$@\"", "sh")
        net.server.must("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start")
        if scenario.vanishing:
            net.server.must("ip", "link", "add", "lab0", "up", "type", "veth", "peer", "lab1")
        python = everybodys_python() if scenario.prefix else sys.executable
        copy = Path(shutil.copy(archive, directory))
        running = stack.enter_context(server(net.server, copy, *UDP, python=python, prefix=scenario.prefix))
        if scenario.vanishing:
            net.server.must("ip", "link", "delete", "lab0")
        seen = check(net.client, archive, net.server.ipv4)
        report = running.wait_for("report")["report"]
        said = json.dumps(running.events) + running.stderr
        return Outcome(seen, running.listening, report, said, running.stderr)


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Outcome]]:
    def run_one(scenario: Scenario) -> Outcome:
        return run(scenario, archive)

    with side_by_side(request, run_one) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_the_check_goes_on(scenario: Scenario, outcome: Callable[[Scenario], Outcome]) -> None:
    seen = outcome(scenario)
    where = "unknown" if scenario.capture_unavailable else "server-host"
    blocked = {"udp 50010-50019": f"filtered {where}", "tcp 7881": f"filtered {where}"}
    assert wrong(seen.seen.report, blocked, plan=PLAN) == []
    assert seen.listening["capture"] is not scenario.capture_unavailable
    assert [word for word in scenario.named if word not in seen.said] == [], seen.said
    texts = [*_texts(seen.report), seen.stderr]
    assert [one for one in texts if any(not char.isprintable() and char != "\n" for char in one)] == []


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def test_the_server_says_at_its_start_that_it_cannot_watch(net: Lab, archive: Path) -> None:
    need("setpriv")
    with firewalls.own_files(net.server) as directory:
        copy = shutil.copy(archive, directory)
        command = [*NOBODY, everybodys_python(), copy, "server", "--udp", "50000", "--tcp", "7881", "--for", "1s"]
        said = net.server.run(command).stderr
        assert [word for word in ("interface", "sudo") if word not in said] == [], said


def test_a_tool_that_hangs_does_not_stop_the_server(archive: Path) -> None:
    """While it waits for the tool, another client's check goes on."""
    need("iptables")
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(lab())
        directory = stack.enter_context(firewalls.own_files(net.server))
        net.server.nft("table inet filter { chain input { type filter hook input priority filter;\n"
                       "udp dport 50010-50019 drop; }; }\n")  # fmt: skip
        for name in ALL:
            firewalls.tool(directory, name, HANGS)
        stack.enter_context(server(net.server, archive, *UDP))
        for number in (1, 2):
            began = time.monotonic()
            seen = check(net.client, archive, net.server.ipv4)
            assert wrong(seen.report, {"udp 50010-50019": "filtered"}, plan=PLAN) == []
            assert time.monotonic() - began < 20, f"check {number}"
