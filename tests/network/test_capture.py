"""What the server's interface shows of packets, on a real kernel: how far they came, and however they are wrapped."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests.lab import PROGRAMS, Check, Lab, check, lab, program, server, side_by_side, wrong

PLAN = "tcp 80,443,7881 udp 443,50000-50299"
LOSSY = "numgen random mod 100 < 20 drop"


@dataclass(frozen=True, eq=False)
class Scenario:
    """Rules by place in a routed network, and what every port that is not open has to be called."""

    fault: str
    rules: Mapping[str, tuple[str, ...]]
    expected: Mapping[str, str]
    ipv6: bool = False
    by: Mapping[str, str] | None = None


SILENT = ("udp dport 50100-50149 drop", "tcp dport 7881 drop")
FORBIDDEN = ("tcp dport 80 reject with tcp reset", "tcp dport 7881 reject with icmpx type admin-prohibited")
MUTE = ("udp sport 50100-50149 drop", "tcp sport 7881 drop")
SHORT = "tcp dport 443 meta length > 100 drop"
LATER = "tcp dport 7881 tcp flags & (syn | ack) != syn"
# More than a beginning of an answer passes: then it is not known which way the rest is stopped.
CUT = "tcp dport 443 ct original packets > 3 drop"


def filtered(where: str) -> dict[str, str]:
    return {"udp 50100-50149": f"filtered {where}", "tcp 7881": f"filtered {where}"}


BASIC = (
    ("a router drops", {"router forward": SILENT}, filtered("before-server")),
    ("the host drops", {"server input": SILENT}, filtered("server-host")),
    ("the host drops answers", {"server output": MUTE}, filtered("server-host")),
    ("a router drops answers", {"router forward": MUTE}, filtered("return-path")),
    ("the client's host drops answers", {"client input": MUTE}, filtered("return-path")),
    ("a router refuses", {"router forward": FORBIDDEN}, {"tcp 80,7881": "rejected before-server"}),
    ("the host refuses", {"server input": FORBIDDEN}, {"tcp 80,7881": "rejected server-host"}),
    ("a router lets no data pass", {"router forward": (SHORT,)}, {"tcp 443": "filtered before-server"}),
    ("the host lets no data in", {"server input": (SHORT,)}, {"tcp 443": "filtered server-host"}),
    ("the host lets no data out", {"server output": (SHORT.replace("dport", "sport"),)},
     {"tcp 443": "filtered server-host"}),
    ("a router lets nothing but a SYN pass", {"router forward": (f"{LATER} drop",)},
     {"tcp 7881": "filtered before-server"}),
    ("the host lets nothing but a SYN in", {"server input": (f"{LATER} drop",)}, {"tcp 7881": "filtered server-host"}),
    # Who is reset at once has sent nothing that could be looked for.
    ("a router refuses what follows a SYN", {"router forward": (f"{LATER} reject with tcp reset",)},
     {"tcp 7881": "rejected unknown"}),
    ("the host refuses what follows a SYN", {"server input": (f"{LATER} reject with tcp reset",)},
     {"tcp 7881": "rejected unknown or rejected server-host"}),
    ("a router cuts TLS", {"router forward": (CUT,)}, {"tcp 443": "filtered unknown"}),
    ("a router and the host, side by side", {"router forward": ("udp dport 50150-50199 drop",),
     "server input": ("udp dport 50100-50149 drop",)},
     {"udp 50100-50149": "filtered server-host", "udp 50150-50199": "filtered before-server"}),
)  # fmt: skip
SCENARIOS = (
    *(Scenario(fault, rules, expected) for fault, rules, expected in BASIC),
    *(Scenario(f"{fault}, IPv6", rules, expected, ipv6=True) for fault, rules, expected in BASIC),
    Scenario("the host drops, and the path 20 %", {"router forward": (LOSSY,), "server input": SILENT[:1]},
             {"udp 50100-50149": "filtered server-host"}),
    Scenario("a router drops, and the path 20 %", {"router forward": (LOSSY, *SILENT[:1])},
             {"udp 50100-50149": "filtered before-server"}),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, archive: Path) -> Iterator[Callable[[Scenario], Check]]:
    def run(scenario: Scenario) -> Check:
        with contextlib.ExitStack() as stack:
            net = stack.enter_context(lab(routed=True))
            net.rules(scenario.rules)
            listening = stack.enter_context(server(net.server, archive, "--udp", "443,50000-50299")).listening
            assert listening["capture"]
            return check(net.client, archive, net.server.ipv6 if scenario.ipv6 else net.server.ipv4)

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.fault.replace(" ", "-"))
def test_how_far_the_packets_came(scenario: Scenario, outcome: Callable[[Scenario], Check]) -> None:
    seen = outcome(scenario)
    assert wrong(seen.report, scenario.expected, plan=PLAN) == []
    for one in seen.address["findings"]:
        if one["state"] == "filtered" and one["transport"] == "udp":
            assert (one["evidence"]["at_interface"] == 0) == (one["where"] == "before-server"), one
            assert one["evidence"]["capture_drops"] == 0


WATCH = PROGRAMS / "watch_capture.py"

SEND = PROGRAMS / "send_packets.py"
NOTHING_BUT_PADDING = "bytes((0, 0, 1, 4, 0, 0, 0, 0))"


def watched(net: Lab, target: str, does: str, *arguments: str) -> list[str]:
    """What the server's capture sees of what the client sends, without the last packet and addresses."""
    with program(net.server, WATCH) as watch:
        done = net.client.must(sys.executable, SEND, target, does, *arguments)
        assert done == "done\n"
        assert watch.stdout
        lines = watch.stdout.read().splitlines()
    assert lines[-1] == "missed 0"
    return [" ".join(word for number, word in enumerate(line.split()) if number != 1) for line in lines[:-2]]


@pytest.mark.parametrize(
    ("family", "does", "seen"),
    [
        ("ipv4", "send(50000)", ["in udp 50000 20"]),
        ("ipv6", "send(50000)", ["in udp 50000 20"]),
        ("ipv4", "send(50000, STUN, (socket.IPPROTO_IP, socket.IP_OPTIONS, bytes((1, 1, 1, 0))))", ["in udp 50000 20"]),
        (
            "ipv6",
            f"send(50000, STUN, (socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, {NOTHING_BUT_PADDING}))",
            ["in udp 50000 20"],
        ),
        (
            "ipv6",
            f"send(50000, STUN, (socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, {NOTHING_BUT_PADDING}))",
            ["in udp 50000 20"],
        ),
        ("ipv4", "send(50000, STUN + bytes(4000))", []),
        ("ipv6", "send(50000, STUN + bytes(4000))", []),
        ("ipv4", "send(50000, b'not STUN, but as long')", []),
        ("ipv4", "send(49999); send(50010)", []),
    ],
)
def test_packets_are_seen_however_they_are_wrapped(family: str, does: str, seen: list[str]) -> None:
    with lab() as net:
        assert watched(net, getattr(net.server, family), does) == seen


# With a VLAN's tag, as a switch would send; this kernel may know no such interfaces.
TAGGED = "tagged(50001, 5); tagged(50002, 0)"


def test_a_packet_with_a_vlans_tag_is_read_behind_it() -> None:
    with lab() as net:
        there = net.server.must("cat", "/sys/class/net/eth0/address").strip()
        assert watched(net, net.server.ipv4, TAGGED, there) == ["in udp 50001 20", "in udp 50002 20"]


def test_the_loopback_interface_is_one_like_the_others(archive: Path) -> None:
    with lab() as net:
        net.server.rules("input", 'iifname "lo" udp dport 50100-50149 drop')
        with server(net.server, archive, "--udp", "443,50000-50299"):
            seen = check(net.server, archive, "127.0.0.1")
            assert wrong(seen.report, {"udp 50100-50149": "filtered server-host"}, plan=PLAN) == []


def test_an_interface_that_goes_does_not_end_the_watch(archive: Path) -> None:
    with lab() as net:
        net.server.must("ip", "link", "add", "spare", "type", "veth", "peer", "name", "other")
        net.server.must("ip", "link", "set", "spare", "up")
        net.server.rules("input", "udp dport 50100-50149 drop")
        with server(net.server, archive, "--udp", "443,50000-50299"):
            net.server.must("ip", "link", "delete", "spare")
            seen = check(net.client, archive, net.server.ipv4)
            assert wrong(seen.report, {"udp 50100-50149": "filtered server-host"}, plan=PLAN) == []


FLOOD = PROGRAMS / "flood_stun.py"


def test_under_a_flood_nothing_is_misjudged(archive: Path) -> None:
    with lab(routed=True) as net:
        net.rules({"server input": ("udp dport 50100-50149 drop",), "router forward": ("udp dport 50150-50199 drop",)})
        with server(net.server, archive, "--udp", "443,50000-50299"), program(net.client, FLOOD, net.server.ipv4):
            seen = check(net.client, archive, net.server.ipv4)
        for one in seen.address["findings"]:
            if one["state"] == "filtered":
                here, before = one["last"] < 50150, one["first"] >= 50150
                assert one["first"] >= 50100, one
                assert one["last"] < 50200, one
                assert one["where"] in ("unknown", *["server-host"] * here, *["before-server"] * before), one
            else:
                assert one["state"] in ("open", "unknown"), one
