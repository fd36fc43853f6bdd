"""The limits of the server's own kernel reach the client."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab import PROGRAMS, Host, Lab, check, program, server, start_check, wrong
from tests.network.test_ends import FEW, HOLE, SECOND_PASS, SHUT, UDP
from tests.network.test_liars import ASK, HELLO, line

TRACKING = "ct state established accept"
DROPPED = 500

FLOOD = PROGRAMS / "drop_packets.py"

ANSWERER = PROGRAMS / "answer_questions.py"


def read(host: Host, name: str) -> int:
    return int(host.must("cat", f"/proc/sys/net/netfilter/nf_conntrack_{name}"))


def welcome(net: Lab) -> dict[str, Any]:
    told = json.loads(net.client.must(sys.executable, ASK, net.server.ipv4, HELLO))
    assert isinstance(told, dict)
    return told


def test_a_server_without_connection_tracking_has_no_limit_of_flows(net: Lab, archive: Path) -> None:
    net.server.rules("input", "tcp dport 81 drop")
    with server(net.server, archive, *UDP):
        assert welcome(net)["flows"] is None
        seen = check(net.client, archive, net.server.ipv4)
    assert wrong(seen.report, plan=FEW) == []
    for one in seen.address["findings"]:
        assert (one["evidence"]["conntrack_drops"], one["evidence"]["receive_errors"]) == (None, None)
    assert seen.address["notes"] == []


def test_a_server_tells_how_many_flows_its_connection_tracking_has_room_for(net: Lab, archive: Path) -> None:
    net.server.rules("input", TRACKING)
    with server(net.server, archive, *UDP):
        most = read(net.server, "max")
        assert most - 10 <= welcome(net)["flows"] < most
        check(net.client, archive, net.server.ipv4)
        left = welcome(net)["flows"]
    # Each port of the check has an entry, which outlives it by 30 seconds; others may be in one of the sessions' too.
    assert most - left > len(range(50000, 50300))


@pytest.mark.parametrize("tracking", [False, True], ids=["untracked", "tracked"])
def test_what_the_servers_kernel_dropped_is_told_with_what_was_silent(net: Lab, archive: Path, tracking: bool) -> None:
    net.server.rules("input", *([TRACKING] if tracking else []), HOLE)
    with server(net.server, archive, *UDP), program(net.server, FLOOD, str(DROPPED)):
        checking = start_check(net.client, archive, net.server.ipv4)
        net.server.wait_until_counted(SECOND_PASS)
        with program(net.server, FLOOD, str(DROPPED)):
            seen = checking.finish()
    assert wrong(seen.report, {SHUT: "filtered"}, plan=FEW) == []
    silent = seen.finding("udp", 50100)["evidence"]
    assert DROPPED <= silent["receive_errors"] < 2 * DROPPED  # and not those of before the check
    assert silent["conntrack_drops"] in (0, None)
    assert [silent[key] for key in ("rate", "flows", "seconds")] == [None] * 3
    assert seen.finding("udp", 50000)["evidence"]["receive_errors"] is None
    (note,) = seen.address["notes"]
    assert f"{silent['receive_errors']} UDP packets" in note


@pytest.mark.parametrize(("drops", "told"), [(1, "dropped 1 packet "), (12345, "dropped 12,345 packets ")])
def test_a_server_whose_connection_tracking_was_full(net: Lab, archive: Path, drops: int, told: str) -> None:
    # The table's size is the whole machine's and stays as it is: so the server only says that it was full.
    with server(net.server, archive, "--udp", "50000-50009"):
        begin = line(welcome(net))
    rows = line({"type": "rows", "rows": [], "next": None})
    counted = {"conntrack_drops": drops, "receive_errors": 0, "capture_drops": 0, "listen_drops": 0,
               "slow_turns": 0}  # fmt: skip
    end = line({"type": "kernel", "free_flows": None, "rate": None, "elsewhere": [], **counted})
    answers = {"hello": begin, "ask": rows, "ask-kernel": end, "report": line({"type": "received"})}
    net.server.rules("input", "meta l4proto udp drop")  # nobody listens there: it would be refused
    with program(net.server, ANSWERER, json.dumps(answers)):
        seen = check(net.client, archive, net.server.ipv4)
    silent = seen.finding("udp", 50000)
    assert (silent["state"], silent["evidence"]["conntrack_drops"]) == ("filtered", drops)
    (note,) = seen.address["notes"]
    assert told in note
    assert "nf_conntrack_max" in note
