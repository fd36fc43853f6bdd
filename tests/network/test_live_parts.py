"""`server --live`: services go on running, and the ports of a media range are held by halves while a check runs."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping

import pytest

from tests.lab import (
    INTERFACE,
    INTERRUPTED,
    PROGRAMS,
    Host,
    Lab,
    check,
    hold,
    lab,
    program,
    server,
    start_check,
    until,
    wrong,
)
from tests.network.test_loss import lose
from tests.sessions import HELLO

FIRST, LAST = 50000, 53999
UDP, PLAN = ("--udp", f"443,{FIRST}-{LAST}"), f"tcp 80,443,7881 udp 443,{FIRST}-{LAST}"
HALF = (LAST - FIRST + 1) // 2
# Ports of ours that are in a row, at worst: LiveKit's allocator tries them all.
MOST_TRIES = 1000
CALLS = 120

LENDER = PROGRAMS / "take_ports.py"

WATCHER = PROGRAMS / "watch_ports.py"


HOLDER = PROGRAMS / "hold_media_ports.py"

TAKER = PROGRAMS / "take_sessions.py"


class Told:
    """What a program told at its end."""

    value: Any = None


@contextlib.contextmanager
def telling(host: Host, code: Path, *args: object) -> Iterator[Told]:
    told = Told()
    with program(host, code, *map(str, args)) as process:
        yield told
        assert process.stdout
        process.send_signal(signal.SIGTERM)
        told.value = json.loads(process.stdout.readline())


def held(host: Host) -> int:
    """How many ports of the range the server holds now."""
    listed = host.must("ss", "-Hulna")
    return len(set(re.findall(r" (?:\*|0\.0\.0\.0|\[::\]):([56]\d{4}) ", listed)))


def lending(net: Lab, most: int = CALLS) -> contextlib.AbstractContextManager[Told]:
    return telling(net.server, LENDER, net.server.ipv4, FIRST, LAST, most)


def watching(net: Lab) -> contextlib.AbstractContextManager[Told]:
    return telling(net.server, WATCHER, FIRST, LAST)


@dataclass(frozen=True)
class Scenario:
    """Rules by host and hook; `found` is what the ports have to be that are not open."""

    fault: str
    rules: Mapping[str, tuple[str, ...]]
    found: Mapping[str, str]
    busy: str = ""
    routed: bool = False
    only_large: bool = False  # what is shut lets small packets pass


HOLE = "udp dport 51000-51399 drop"
SCENARIOS = (
    Scenario("none", {}, {}),
    Scenario("a hole before the server", {"router forward": (HOLE,)}, {"udp 51000-51399": "filtered before-server"},
             routed=True),
    Scenario("a hole on the server", {"server input": (HOLE,)}, {"udp 51000-51399": "filtered server-host"}),
    Scenario("a hole whose ICMP errors tell of it", {"server input": ("udp dport 51000-51399 reject",)},
             {"udp 51000-51399": "rejected server-host"}),
    Scenario("5 percent lost each way, and a hole", {**lose(5), "server prerouting": (HOLE,)},
             {"udp 51000-51399": "filtered server-host"}),
    Scenario("ports that another holds", {}, {"udp 443,50500-50599,53999": "untested busy"},
             busy="udp 443,50500-50599,53999"),
    Scenario("all of the range is shut", {"server input": ("udp dport 50000-53999 drop",)},
             {"udp 50000-53999": "filtered server-host"}),
    Scenario("large packets are shut", {"server input": ("udp dport 51000-51399 meta length > 600 drop",)},
             {"udp 51000-51399": "filtered server-host"}, only_large=True),
)  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault)
def test_ports_are_lent_all_the_time_and_verdicts_are_right(scenario: Scenario, archive: Path) -> None:
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(lab(scenario.routed))
        net.rules(scenario.rules)
        if scenario.busy:
            stack.enter_context(hold(net.server, scenario.busy))
        lent, watched = stack.enter_context(lending(net)), stack.enter_context(watching(net))
        others = held(net.server)
        running = stack.enter_context(server(net.server, archive, "--live", *UDP))
        assert held(net.server) == others
        assert running.listening["live"]
        assert running.listening["halves"] == [{"transport": "udp", "first": FIRST, "last": LAST}]
        seen = check(net.client, archive, net.server.ipv4)
        running.wait_for("report")
        until(lambda: held(net.server) == others, "the ports to be given back")
    print(scenario.fault, lent.value, max(watched.value), f"{seen.report['elapsed_s']} s")
    # What was lent when it was tried may be busy; no more than were lent at a time in each half's turn.
    exceptions = {ports: f"{cause} or untested busy" for ports, cause in scenario.found.items()}
    assert wrong(seen.report, {"tcp 80,443,7881": "open", **exceptions}, plan=PLAN, rest="open or untested busy") == []
    filtered = [one for one in seen.address["findings"] if one["state"] == "filtered"]
    assert {one["shown"] is not None for one in filtered} <= {scenario.only_large}
    busy = sum(one["last"] - one["first"] + 1 for one in seen.address["findings"] if one["reason"] == "busy")
    assert busy <= 102 + 2 * CALLS
    assert lent.value["failed"] == 0
    assert lent.value["tries"] <= MOST_TRIES
    assert watched.value[0] == watched.value[-1] == others
    assert 0 < max(watched.value) - others <= HALF


def test_each_address_of_a_host_has_its_turn(net: Lab, archive: Path) -> None:
    net.client.knows({"meet.example": (net.server.ipv4, net.server.ipv6)})
    with watching(net) as watched, server(net.server, archive, "--live", *UDP, "--once") as running:
        seen = check(net.client, archive, "meet.example")
        report = running.wait_for("report")["report"]
        assert running.wait() == 0
    for address in (net.server.ipv4, net.server.ipv6):
        assert wrong(seen.report, address=address, plan=PLAN) == wrong(report, address=address, plan=PLAN) == []
    assert 0 < max(watched.value) <= HALF
    assert watched.value.count(0) >= 2


def test_an_address_out_of_reach_keeps_no_report_from_the_server(net: Lab, archive: Path) -> None:
    # The session of the first is over then: for its report the client comes back.
    net.client.knows({"meet.example": (net.server.ipv4, net.server.ipv6)})
    net.client.must("ip", "-6", "address", "flush", "dev", INTERFACE)
    with server(net.server, archive, "--live", "--once", "--udp", "50000-50099") as running:
        seen = check(net.client, archive, "meet.example")
        assert running.wait_for("report")["report"]["addresses"][1]["error"]["code"] == "unreachable"
        assert running.wait() == seen.status == 3
    assert wrong(seen.report, address=net.server.ipv4, plan="tcp 80,443,7881 udp 50000-50099") == []


def test_an_address_at_which_nobody_is_costs_the_other_nothing(net: Lab, archive: Path) -> None:
    net.client.knows({"meet.example": (net.server.ipv4, net.server.ipv6)})
    net.server.rules("input", f"ip6 daddr {net.server.ipv6} tcp dport 1-65535 reject with tcp reset")
    with server(net.server, archive, "--live", *UDP, "--once") as running:
        seen = check(net.client, archive, "meet.example")
        told = running.wait_for("report")["report"]["addresses"]
        assert [one["verdict"] for one in told] == [one["verdict"] for one in seen.report["addresses"]]
        assert running.wait() == 1
    assert wrong(seen.report, address=net.server.ipv4, plan=PLAN) == []
    assert wrong(seen.report, {"tcp 80,443,7881": "rejected"}, address=net.server.ipv6, plan=PLAN) == []


def test_a_second_client_is_told_to_wait_and_the_ports_of_one_that_dies_are_given_back(net: Lab, archive: Path) -> None:
    net.client.rules("output", "udp dport 50000-53999 limit rate over 500/second burst 50 packets drop")
    with watching(net) as watched, server(net.server, archive, "--live", *UDP) as running:
        for number, ends in enumerate((signal.SIGKILL, signal.SIGINT), 1):
            first = start_check(net.client, archive, net.server.ipv4)
            until(lambda: held(net.server) == HALF, "half of the ports to be held")
            second = check(net.client, archive, net.server.ipv4)
            assert (second.status, second.report["error"]["code"]) == (3, "crowded")
            assert "another check is running" in second.report["error"]["message"]
            assert second.report["error"]["hint"] == "try again in a minute"
            first.process.send_signal(ends)
            if ends is signal.SIGINT:
                assert first.finish().status == INTERRUPTED
            else:
                first.process.communicate()
            running.wait_for("lost", number=number)
            until(lambda: not held(net.server), "the ports to be given back")
        running.stop()
    assert max(watched.value) <= HALF


def test_services_have_all_ports_that_the_control_channel_could_have(net: Lab, archive: Path) -> None:
    # As plugNmeet installs it: haproxy is on IPv4 alone, and a client would find that.
    shape = [f"{transport} {port} {net.server.ipv4}" for transport, port in (("tcp", 80), ("tcp", 443))]
    with hold(net.server, "tcp 7881 udp 443"), program(net.server, HOLDER, *" ".join(shape).split()):
        done = net.server.run([sys.executable, archive, "server", "--live", *UDP])
        assert done.returncode == 3
        told = " ".join(done.stderr.split())
        assert "No TCP port is left for the control channel" in told
        assert "7881/tcp is busy" in told
        assert "--live --control 9443" in told
        with server(net.server, archive, "--live", *UDP, "--control", "9443") as running:
            assert running.listening["control"] == 9443
            seen = check(net.client, archive, net.server.ipv4, "--control", "9443")
    services = {"tcp 80,443,7881 udp 443": "untested busy"}
    assert wrong(seen.report, services, plan=PLAN) == []
    assert seen.status == 3


def test_a_client_has_each_half_once_and_in_order(net: Lab, archive: Path) -> None:
    with server(net.server, archive, "--live", *UDP) as running:
        for takes, code in (((1, 0), "crowded"), ((0, 0), "crowded"), ((0, 1), "")):
            with net.client.popen(
                [sys.executable, TAKER, net.server.ipv4, HELLO, *map(str, takes)], stdout=subprocess.PIPE
            ) as taker:
                assert taker.stdout
                told = [json.loads(line) for line in taker.stdout]
            assert told[0]["live"] is True
            assert told[1]["type"] == "taken"
            assert told[2].get("code", "") == code
            until(lambda: not held(net.server), "the ports to be given back")
        running.stop()
    with server(net.server, archive, *UDP), net.client.popen(
        [sys.executable, TAKER, net.server.ipv4, HELLO, "0"], stdout=subprocess.PIPE
    ) as taker:
        assert taker.stdout
        assert [json.loads(line)["type"] for line in taker.stdout] == ["welcome", "refusal"]
