"""What strangers make the server say: not more than somebody could read."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab import PROGRAMS, Lab, Server, check, program, server, until, wrong

# Limits, by their numbers: who changes one changes it here too.
NOTICES = 150
NOTICES_A_SECOND = 5.0

PLAN, PORTS = ("--udp", "50000-50009"), "tcp 80,443,7881 udp 50000-50009"
# Each is turned away with a sentence at the server.
TURNED_AWAY = 1000
STRANGERS = PROGRAMS / "refused_clients.py"


def test_a_thousand_that_are_turned_away_fill_no_terminal(net: Lab, archive: Path) -> None:
    with server(net.server, archive, *PLAN) as running:
        with program(net.client, STRANGERS, net.server.ipv4, str(TURNED_AWAY)) as strangers:
            assert strangers.stdout
            assert strangers.stdout.readline() == "done\n"
        until(lambda: told(running) + withheld(running) == TURNED_AWAY, "all of them, told or counted")
        print(f"{told(running)} of {TURNED_AWAY} refusals told, {len(json.dumps(running.events)):,} characters")
        assert NOTICES <= told(running) + len(running.of("withheld")) <= NOTICES + 20 * NOTICES_A_SECOND
        seen = check(net.client, archive, net.server.ipv4)
        assert wrong(seen.report, plan=PORTS) == []
        running.wait_for("report")


def told(running: Server) -> int:
    return len(running.of("refused"))


def withheld(running: Server) -> int:
    return sum(one["count"] for one in running.of("withheld"))
