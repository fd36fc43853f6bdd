"""Somebody between client and server who opens their connection, or changes it: with a key he is found."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from tests.lab import PROGRAMS, Check, check, hold, lab, program, server, side_by_side, wrong
from tests.network.test_interception import certificate

FEW, UDP = "tcp 80,443,7881 udp 50000-50009", ("--udp", "50000-50009")
KEY = ("--key", "b2cd-j6as-k7d1-mpmt-vcdn-q6yw-3h57")

RELAY = PROGRAMS / "relay.py"


@dataclass(frozen=True, eq=False)
class Scenario:
    """What he does, and what comes of it: an error, or None where the check has an outcome."""

    what: str
    does: dict[str, Any]
    code: str | None
    says: str = ""  # the error's message, in part
    told: bool = True  # at the server too
    tls: bool = True  # the server has openssl
    key: bool = True


def line(what: str, by: str, number: int, code: str | None, **more: str) -> Scenario:
    does = {"does": what, "by": by, "line": number, **more}
    return Scenario(f"{what} {by}'s {number} {more.get('old', '')}", does, code, told=False, tls=False)


ENDS, NAMED = {"inside": True, "outside": True}, "certificate for meet.example, issued by Zscaler Inc."
FOUND = "man-in-the-middle"
SCENARIOS = (
    Scenario("ends TLS", ENDS, FOUND, NAMED),
    Scenario("takes TLS off towards the client", {"off": True, "outside": True}, FOUND, "stripped TLS"),
    Scenario("takes TLS off towards the server", {"inside": True}, FOUND, NAMED),
    Scenario("puts TLS on before a server that has none", {"inside": True}, FOUND, NAMED, tls=False),
    Scenario("ends TLS where there is no key", ENDS, None, key=False),
    Scenario("opens nothing", {}, None),
    Scenario("opens nothing of a plain channel", {}, None, tls=False),
    line("replace", "client", 0, "wrong-key", old='"ipv4"', new='"ipv6"'),
    line("replace", "server", 0, "not-pnmcheck", old='"challenge"', new='"welcome"'),
    line("replace", "client", 0, "wrong-key", old='"program":"', new='"program":"1'),
    line("replace", "client", 1, "wrong-key", old='"proof"', new='"Proof"'),
    line("replace", "server", 1, "not-pnmcheck", old=",50009,", new=",50001,"),
    line("drop", "server", 1, "no-server"),
    line("repeat", "client", 1, "order"),
    line("replay", "client", 2, None),
    line("replace", "client", 2, None, old='"untested"', new='"sightings"'),
    line("replace", "server", 2, None, old="busy", new="denied"),
    line("replay", "server", 3, None),
    line("repeat", "server", 4, None),
    line("drop", "client", 5, None),
    line("replace", "server", 6, None, old='"rows"', new='"rowS"'),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    seen: Check
    refused: list[str]


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Scenario], Outcome]]:
    pem = certificate(tmp_path_factory.mktemp("between"), "/O=Zscaler Inc./CN=meet.example")
    nothing = {"PATH": str(tmp_path_factory.mktemp("without-openssl"))}

    def run(scenario: Scenario) -> Outcome:
        with contextlib.ExitStack() as stack:
            net = stack.enter_context(lab(routed=True))
            assert net.router
            net.router.rules("prerouting", "ip protocol tcp redirect to :8443", kind="nat")
            stack.enter_context(hold(net.server, "udp 50005"))
            stack.enter_context(program(net.router, RELAY, json.dumps(scenario.does), str(pem)))
            key, env = KEY if scenario.key else (), None if scenario.tls else nothing
            running = stack.enter_context(server(net.server, archive, *UDP, *key, env=env))
            seen = check(net.client, archive, net.server.ipv4, *key)
            if scenario.told and scenario.code:
                running.wait_for("refused")
            return Outcome(seen, [one["error"]["code"] for one in running.of("refused")])

    with side_by_side(request, run) as results:
        yield results


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.what.replace(" ", "-"))
def test_in_between(scenario: Scenario, outcome: Callable[[Scenario], Outcome]) -> None:
    seen, refused = outcome(scenario).seen, outcome(scenario).refused
    error = seen.report["error"]
    if scenario.code:
        assert (seen.status, error and error["code"]) == (3, scenario.code)
        assert scenario.says in error["message"]
        assert [one["findings"] for one in seen.report["addresses"]] == [[]]
        assert not scenario.told or refused == [scenario.code]
        return
    assert seen.address["control"]["paired"] is scenario.key
    busy = {"udp 50005": "untested busy"}
    if scenario.does in ({}, ENDS):
        ended = {"tcp 443": "intercepted"} if scenario.does else {}
        assert wrong(seen.report, {**busy, **ended}, plan=FEW) == []
    else:  # what was proven without him, and what was heard before he began
        busy = {"udp 50005": "untested busy or unknown"}
        assert wrong(seen.report, busy, plan=FEW, rest="open or unknown no-control") == []
        assert seen.status == 3
