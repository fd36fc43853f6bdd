"""Fifty clients at once, each behind rules of its own: each gets its own right verdicts; and past a bound, word."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple, Sequence

import pytest

from tests.lab import Check, Crowd, check, crowd, server, start_check, wrong
from tests.sessions import held

# Limits, by their numbers: who changes one changes it here too.
MAX_SESSIONS = 64

pytestmark = pytest.mark.alone

CLIENTS = 50
FEW, UDP = "tcp 80,443,7881 udp 443,50000-50219", ("--udp", "443,50000-50219")
# Addresses that hold sessions: one address gets only some of all.
HOLDERS = 8


class Found(NamedTuple):
    """What a client's check came to, and what is wrong with it."""

    check: Check
    wrong: list[str]


def block(net: Crowd, number: int) -> dict[str, str]:
    """Shut a hole of UDP ports for one client alone, somewhere, and for some a TCP port; what has to be found."""
    client, first = net.clients[number], 50000 + 4 * number
    last = first + number % 7
    hole, its, found = f"udp dport {first}-{last}", f"ip saddr {client.ipv4}", {}
    kind, ports = number % 5, f"udp {first}-{last}"
    if kind == 1:
        net.server.rules("input", f"{its} {hole} drop")
        found[ports] = "filtered server-host"
    elif kind == 2:
        client.rules("input", f"udp sport {first}-{last} drop")
        found[ports] = "filtered return-path"
    elif kind == 3:
        net.server.rules("input", f"{its} {hole} reject")
        found[ports] = "rejected server-host"
    elif kind == 4:
        net.switch.rules("forward", f"{its} {hole} drop", family="bridge")
        found[ports] = "filtered before-server"
    if number % 3 == 0:
        port = (80, 7881)[number % 2]
        net.server.rules("input", f"{its} tcp dport {port} reject with tcp reset")
        found[f"tcp {port}"] = "rejected server-host"
    return found


def check_at_once(net: Crowd, archive: Path, plan: str, shut: Sequence[dict[str, str]]) -> list[Found]:
    """Start all clients' checks at once, and wait for all of them."""
    begun = time.monotonic()
    running = [start_check(client, archive, net.server.ipv4) for client in net.clients]
    checks = [one.finish() for one in running]
    assert [one.report["error"] for one in checks if one.report["error"]] == []
    seconds, each = time.monotonic() - begun, sorted(one.report["elapsed_s"] for one in checks)
    found = [Found(one, wrong(one.report, its, plan=plan)) for one, its in zip(checks, shut)]
    print(f"{len(checks)} checks at once: {sum(bool(one.wrong) for one in found)} wrong, in {seconds:.1f} s, "
          f"each {each[0]:.1f} to {each[-1]:.1f} s, half of them {each[len(each) // 2]:.1f} s at most")  # fmt: skip
    return found


def test_fifty_clients_at_once_each_behind_rules_of_its_own(archive: Path) -> None:
    with crowd(CLIENTS) as net, server(net.server, archive, *UDP) as running:
        shut = [block(net, number) for number in range(CLIENTS)]
        found = check_at_once(net, archive, FEW, shut)
        assert {one.ipv4: rows.wrong for one, rows in zip(net.clients, found) if rows.wrong} == {}
        assert [one.check.status for one in found] == [1 if its else 0 for its in shut]
        assert running.of("refused") == []
        running.wait_for("report", number=CLIENTS)


def test_more_sessions_than_there_may_be(archive: Path) -> None:
    with crowd(HOLDERS + 1) as net, server(net.server, archive, *UDP) as running:
        holder, client, target = net.clients[0], net.clients[-1], net.server.ipv4
        more = [f"198.51.100.{200 + number}" for number in range(HOLDERS)]
        holder.also(*more)
        with held(holder, target, more * (MAX_SESSIONS // HOLDERS)) as sessions:
            assert {one["type"] for one in sessions.told} == {"welcome"}
            seen = check(client, archive, target)
            assert (seen.status, seen.report["error"]["code"]) == (3, "crowded")
            assert str(MAX_SESSIONS) in seen.report["error"]["message"]
            assert "try again" in seen.report["error"]["hint"]
            assert running.wait_for("refused")["error"]["code"] == "crowded"
            sessions.end(0)
            running.wait_for("lost")
            assert wrong(check(client, archive, target).report, plan=FEW) == []
