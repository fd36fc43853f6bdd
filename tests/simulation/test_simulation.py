"""No verdict is wrong over random networks; and one that is wrong would be found."""

from __future__ import annotations

import os
import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.report import State
from agent.sweep.probes import Probe
from agent.sweep.sweep import Sweep
from tests.simulation import table
from tests.simulation.__main__ import main
from tests.simulation.bounds import BOUNDS, MOSTLY_UNKNOWN_WITHOUT_TABLES, WITHOUT_TABLES
from tests.simulation.many import Case, Crashed, _simulate, simulate_many
from tests.simulation.network import Path as NetworkPath
from tests.simulation.network import Way
from tests.simulation.policer import Policing
from tests.simulation.result import Result
from tests.simulation.rules import Change, Rules
from tests.simulation.run import Hangs, simulate
from tests.simulation.stall import Sleep, Stall
from tests.simulation.tables import Tracking
from tests.simulation.weather import KINDS, PORTS, Weather, random_network

# Each run draws other networks. Set this to the seed that a failure names to draw the same again.
SEED_VARIABLE = "PNMCHECK_SEED"
FIRST_SEED = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1_000_000_000))
EACH = 3  # networks of each kind
CASES = [Case(FIRST_SEED + number, PORTS, kind) for number in range(EACH) for kind in KINDS]


@pytest.fixture(scope="module")
def results() -> dict[Case, Result]:
    print(f"the networks are drawn with {SEED_VARIABLE}={FIRST_SEED}")
    found = simulate_many(CASES, os.cpu_count() or 1)
    return {Case(result.seed, result.ports, result.kind): result for result in found}


def test_no_verdict_is_wrong(results: dict[Case, Result]) -> None:
    assert sum(result.ports for result in results.values()) >= 250_000
    assert {case.command: result.wrong[:10] for case, result in results.items() if result.wrong} == {}


def test_every_port_has_a_verdict(results: dict[Case, Result]) -> None:
    assert set(results) == set(CASES)
    for case, result in results.items():
        assert sum(result.states.values()) == result.ports == case.ports, case.command
        assert result.states.get("unknown", 0) == result.unknown, case.command


@pytest.mark.parametrize("kind", KINDS)
def test_most_verdicts_are_known(kind: str, results: dict[Case, Result]) -> None:
    # A sweep that says unknown to everything is never wrong.
    bound = BOUNDS[kind]
    shares = {case.command: result.unknown / case.ports for case, result in results.items() if case.kind == kind}
    assert {command: share for command, share in shares.items() if share > bound.unknown} == {}
    mostly_unknown = {command: share for command, share in shares.items() if share > 0.5}
    assert len(mostly_unknown) <= bound.mostly_unknown, mostly_unknown


def test_few_networks_without_tables_and_guards_stay_unknown(results: dict[Case, Result]) -> None:
    light = {case: result for case, result in results.items() if case.kind in WITHOUT_TABLES}
    mostly_unknown = [case.command for case, result in light.items() if result.unknown > 0.5 * case.ports]
    assert len(mostly_unknown) <= MOSTLY_UNKNOWN_WITHOUT_TABLES, mostly_unknown


@pytest.mark.parametrize("kind", KINDS)
def test_no_sweep_takes_too_long(kind: str, results: dict[Case, Result]) -> None:
    for case, result in results.items():
        if case.kind == kind:
            asleep = sum(sleep.seconds for sleep in random_network(*case).sleeps)
            assert result.seconds <= BOUNDS[kind].seconds + asleep, case.command


def test_a_client_that_hears_nothing_of_udp_alone_is_not_drawn() -> None:
    # Of such a network the sweep says that all is filtered: nothing that it can see tells otherwise.
    path = NetworkPath(0.05, stalls=(Stall(0.02, 12.0, control=False),))
    assert len(simulate(small(path)).wrong) == 500
    assert simulate(small(replace(path, stalls=(Stall(0.02, 12.0),)))).wrong == ()
    for seed in range(300):
        drawn = random_network(seed, 100, "stall, rebinding or sleep")
        first = drawn.path.stalls[:1]
        assert not any(stall.at < 0.1 and stall.seconds > 4 and not stall.control for stall in first) or (
            len(drawn.path.rules.closed) == 100
        ), seed


def test_a_policer_whose_burst_is_a_pass_hides_no_port() -> None:
    # 812 probes of each pass of 1,200 pass at once: in one order for all passes, the last ports of it never do.
    assert simulate(random_network(8_000_067, 2001, "policer")).wrong == ()


class Hasty:
    """A sweep that ends with its first pass, and says that it is sure."""

    conclusive = True

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._sweep = Sweep(*arguments, **more)
        self.done = False

    def probes_to_send(self, now: float) -> list[Probe]:
        probes = self._sweep.probes_to_send(now)
        self.done = self._sweep.done or self._sweep.passes > 1
        return [] if self.done else probes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sweep, name)


def small(path: NetworkPath, **more: Any) -> Weather:
    return replace(Weather(1, "small", path, "", range(50000, 50500)), **more)


def test_a_sweep_that_is_sure_too_soon_is_found_wrong() -> None:
    result = simulate(small(NetworkPath(to_client=Way(0.2))), Hasty)
    assert 50 < len(result.wrong) < 150
    assert {one.state for one in result.wrong} == {State.FILTERED}
    assert (result.wrong[0].sent, result.wrong[0].at_socket) == (1, 1)
    assert simulate(small(NetworkPath()), Hasty).wrong == ()


def test_a_port_that_is_called_open_wrongly_is_found() -> None:
    class Credulous(Hasty):
        def probes_to_send(self, now: float) -> list[Probe]:
            probes = super().probes_to_send(now)
            self._sweep.answered[50007] = 1
            return probes

    result = simulate(small(NetworkPath(rules=Rules(frozenset({50007})))), Credulous)
    assert [(one.port, one.state) for one in result.wrong] == [(50007, State.OPEN)]


def test_a_sweep_that_never_ends_is_found() -> None:
    class Endless(Hasty):
        def probes_to_send(self, now: float) -> list[Probe]:
            self._sweep.probes_to_send(now)
            return []

        def next_timer(self, now: float) -> float:
            return now + 10.0

    with pytest.raises(Hangs, match="seed 1: after 3600"):
        simulate(small(NetworkPath()), Endless)


def test_a_sweep_that_spins_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spinning(Hasty):
        def probes_to_send(self, now: float) -> list[Probe]:
            return []

        def next_timer(self, now: float) -> float:
            return now

    monkeypatch.setattr("tests.simulation.run.MAX_IDLE", 1000)
    with pytest.raises(Hangs, match=r"seed 1: after 0\.0 s"):
        simulate(small(NetworkPath()), Spinning)


def test_a_crash_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(weather: Weather) -> Result:
        raise KeyError(weather.seed)

    monkeypatch.setattr("tests.simulation.many.simulate", crash)
    with pytest.raises(Crashed, match="--seed 5 --networks 1 --ports 100"):
        _simulate(Case(5, 100))


def test_the_sweep_is_told_the_path_by_pings() -> None:
    class Pinging(Hasty):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.times: list[tuple[str, float]] = []

        def wants_ping(self, now: float) -> bool:
            return len(self.times) < 4

        def on_ping_sent(self, now: float) -> None:
            self.times.append(("pinged", now))

        def on_pong(self, now: float, free_flows: int | None = None) -> None:
            self.times.append(("ponged", now))

    made: list[Pinging] = []

    def make(*arguments: Any, **more: Any) -> Pinging:
        made.append(Pinging(*arguments, **more))
        return made[0]

    simulate(small(NetworkPath(0.05)), make)
    names, times = zip(*made[0].times)
    assert names == ("pinged", "ponged") * 2
    assert times[1] - times[0] == pytest.approx(0.1, abs=0.01)


def test_the_sweep_is_told_how_many_flows_the_server_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int | None] = []

    class Told(Sweep):
        def __init__(self, ports: Any, chance: Any, rtt: float, now: float, *, free_flows: int | None = None) -> None:
            super().__init__(ports, chance, rtt, now)
            told.append(free_flows)

    monkeypatch.setattr("tests.simulation.run.Sweep", Told)
    for path in (NetworkPath(), NetworkPath(server=Tracking(4096)), NetworkPath(router=Tracking(4096))):
        simulate(small(path), Told)
    assert told == [None, 4096, None]


def test_rules_that_change_after_the_sweep_excuse_nothing() -> None:
    changed = (Change(3000.0, Rules(frozenset(range(50000, 50500)))),)
    assert simulate(small(NetworkPath(to_client=Way(0.2), changes=changed)), Hasty).wrong


def test_a_client_that_sleeps_loses_time_and_what_came() -> None:
    for lost in (False, True):
        result = simulate(small(NetworkPath(0.1), sleeps=(Sleep(0.05, lost=lost),)))
        assert result.seconds >= 60.0
        assert result.wrong == ()


def test_a_receive_buffer_that_is_too_small_loses_answers() -> None:
    stalled = NetworkPath(stalls=(Stall(0.05, 1.0),))
    fits = simulate(small(stalled, buffer=1000))
    short = simulate(small(stalled, buffer=10))
    assert fits.probes < short.probes
    assert short.wrong == ()


def test_a_control_channel_that_is_gone_leaves_nothing_known() -> None:
    result = simulate(small(NetworkPath(stalls=(Stall(0.0, 3000.0, lost=True),))))
    assert (result.control, result.reasons) == (False, {"no-control": 500})


def test_a_seed_is_always_the_same_network() -> None:
    for seed in range(200):
        assert random_network(seed, 100) == random_network(seed, 100)
        assert random_network(seed, 100, "policer").kind == "policer"
    one, again = (simulate(random_network(3, 500)) for _ in range(2))
    assert one == again


PARTS = {
    "flow table": ("router", "server"), "scan guard": ("guard",), "changing rules": ("changes",),
    "stall, rebinding or sleep": ("stalls", "rebindings"),
}  # fmt: skip


def limits(path: NetworkPath) -> bool:
    ways = (path.to_server, path.to_client)
    queues = any(way.policing or way.shaping for way in ways)
    return bool(queues or path.router or path.server or path.guard or path.bindings)


def test_networks_are_described_and_have_what_they_are_named_for() -> None:
    drawn = [random_network(seed, 100) for seed in range(500)]
    assert {one.kind for one in drawn} == set(KINDS)
    without = [one for one in drawn if not limits(one.path)]
    assert 0.25 < len(without) / len(drawn) < 0.45
    for one in drawn:
        text, path = one.describe(), one.path
        assert text.startswith(one.kind)
        assert "\n" not in text
        assert 0.0003 <= 2 * path.delay <= 0.6
        assert ("guard:" in text) == bool(path.guard) or one.kind == "scan guard"
        for kind, parts in PARTS.items():
            assert one.kind != kind or any(getattr(path, part) for part in parts) or (one.sleeps and "sleep" in kind)


def test_each_part_of_a_network_is_drawn() -> None:
    drawn = [random_network(seed, 100) for seed in range(500)]
    for part in fields(NetworkPath):
        if part.name == "dead_source_ports":  # which the tests of a single sweep name; `dead_sockets` is their share
            continue
        assert any(getattr(one.path, part.name) != part.default for one in drawn), part.name
    for way in fields(Way):
        if way.name == "loss_from":  # that loss may begin late is drawn as bursts of it
            continue
        for name in ("to_server", "to_client"):
            assert any(getattr(getattr(one.path, name), way.name) for one in drawn), (name, way.name)
    assert any(one.sleeps for one in drawn)


@pytest.mark.parametrize("arguments", [["--networks", "0"], ["--ports", "x"], ["--jobs", "-1"]])
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "is no number" in capsys.readouterr().err or arguments[1] == "-1"


def test_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PATH", tmp_path / "RESULT.md")
    assert main(["--seed", "1", "--networks", "4", "--ports", "200", "--jobs", "2", "--write", "--verbose"]) == 0
    shown = capsys.readouterr()
    assert "4 of 4 networks" in shown.err or shown.err.strip() == ""
    text = table.PATH.read_text(encoding="utf-8")
    assert text in shown.out
    assert "| **all** | 4 | 800 | 0 |" in text
    assert main(["--seed", "4", "--networks", "1", "--ports", "200"]) == 0
    assert "socket 0: 0.00 to" in capsys.readouterr().out
    assert main(["--kind", "policer", "--networks", "2", "--ports", "50"]) == 0
    assert "| policer | 2 | 100 | 0 |" in capsys.readouterr().out


def test_a_wrong_network_is_named_with_the_command_that_shows_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lossy = small(NetworkPath(to_server=Way(0.2)))
    monkeypatch.setattr("tests.simulation.__main__.random_network", lambda *_: lossy)
    monkeypatch.setattr("tests.simulation.__main__.simulate", lambda weather: simulate(weather, Hasty))
    assert main(["--seed", "4711", "--networks", "1"]) == 1
    shown = capsys.readouterr().out
    assert "WRONG" in shown
    assert "python3 -m tests.simulation --seed 1 --networks 1 --ports 500" in shown


@pytest.mark.parametrize("opened", [5, 30, 60])
def test_a_limit_on_new_flows_hides_no_open_port_among_few(opened: int) -> None:
    # Of several canaries to one port all have to be new flows: a limit on these lets later packets of a flow pass.
    ports = range(50000, 60001)
    shut = frozenset(ports).difference(ports[:: len(ports) // opened])
    path = NetworkPath(0.01, bindings=Policing(700, 70), rules=Rules(shut))
    result = simulate(small(path, ports=ports))
    assert result.wrong == ()
    assert result.states["open"] >= opened
