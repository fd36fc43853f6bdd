"""Networks drawn at random, out of all that is met between a client and a server."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Callable, Sequence

from tests.simulation.guard import Guarding
from tests.simulation.loss import Bursts
from tests.simulation.network import Path, Way
from tests.simulation.policer import Policing, Shaping
from tests.simulation.rules import Change, random_rules
from tests.simulation.stall import Sleep, Stall
from tests.simulation.tables import Tracking

FIRST_PORT = 50000
PORTS = 10_001
HARDLY = 0.01  # of the ports
DEAF_SECONDS = 4.0  # a sweep that hears nothing is over in five passes, a second each


@dataclass(frozen=True)
class Weather:
    """A network with all that befalls it and its client: what one seed draws."""

    seed: int
    kind: str
    path: Path
    shape: str  # what the rules look like
    ports: Sequence[int]
    sleeps: tuple[Sleep, ...] = ()
    buffer: int = 5000  # the answers that wait while the client does not look

    def describe(self) -> str:
        """All of it in one line."""
        path, words = self.path, [self.kind]
        words.append(f"{2000 * path.delay:.1f} ms" + (f" + {2000 * path.jitter:.1f} of jitter" if path.jitter else ""))
        words += [f"reordered {path.reordered:.1%} by {1000 * path.reordered_by:.0f} ms"] if path.reordered else []
        words += [f"doubled {path.doubled:.1%}"] if path.doubled else []
        words += _describe_way("to server", path.to_server) + _describe_way("to client", path.to_client)
        words += [f"{path.dead_legs} % of flows dead"] if path.dead_legs else []
        words += [f"{path.dead_sockets} % of sockets dead"] if path.dead_sockets else []
        words += [f"{path.bindings.rate:.0f} new flows/s, burst {path.bindings.burst}"] if path.bindings else []
        words += [_describe_table("router", path.router)] if path.router else []
        words += [_describe_table("server", path.server)] if path.server else []
        words += [_describe_guard(path.guard)] if path.guard else []
        words += [f"rebinding at {at:.2f} s" for at in path.rebindings]
        words += [_describe_stall(one) for one in path.stalls]
        words += [f"{'lossy ' * one.lost}sleep at {one.at:.2f} s of {one.seconds:.0f} s" for one in self.sleeps]
        words += [f"buffer of {self.buffer}"]
        words += [f"blocked: {self.shape}, {len(path.rules.closed):,} of {len(self.ports):,}"]
        words += [f"from {one.at:.2f} s {len(one.rules.closed):,}" for one in path.changes]
        return "; ".join(words)


def _describe_way(name: str, way: Way) -> list[str]:
    words = [f"{way.loss:.1%} lost {name}"] if way.loss else []
    if way.bursts:
        one = way.bursts
        words += [f"bursts {name}: {one.loss_bad:.0%} for {one.bad:.2f} s, {one.loss_good:.1%} for {one.good:.1f} s"]
    for limit in way.policing:
        words += [f"policer {name}: {limit.rate:.0f}/s, burst {limit.burst}" + ", control too" * limit.control]
    if way.shaping:
        words.append(f"line {name}: {way.shaping.rate:.0f}/s, queue {way.shaping.queue}")
    return words


def _describe_table(name: str, table: Tracking) -> str:
    text = f"{name}'s table: {table.capacity:,} flows, {table.life:.0f} s" + ", early drop" * table.early_drop
    return text + (f", {table.taken:,} taken at {table.taken_at:.2f} s" if table.taken else "")


def _describe_stall(stall: Stall) -> str:
    text = f"{'lossy ' * stall.lost}stall at {stall.at:.2f} s of {stall.seconds:.2f} s"
    return text if stall.control else f"{text}, UDP alone"


def _describe_guard(guard: Guarding) -> str:
    flags = [name for name in ("established", "answers", "control", "extends") if getattr(guard, name)]
    return " ".join([f"guard: {guard.flows} flows in {guard.window:.1f} s, {guard.penalty:.0f} s out", *flags])


def random_network(seed: int, ports: int = PORTS, kind: str | None = None) -> Weather:
    """The network of a seed, or that of a kind; the same seed's is always the same."""
    chance = random.Random(seed)
    drawn = chance.choices(list(KINDS), [often for _, often in KINDS.values()])[0]
    kind = kind or drawn
    planned = range(FIRST_PORT, FIRST_PORT + ports)
    shape, rules = random_rules(planned, chance)
    path = replace(_base(chance), rules=rules)
    weather = Weather(seed, kind, path, shape, planned, buffer=chance.choice((250, 500, 5000, 5000)))
    return _audible(KINDS[kind][0](weather, chance), chance)


def _audible(weather: Weather, chance: random.Random) -> Weather:
    """Return another network where a client hears nothing although ports are open, and nobody outside can know why.

    A client that hears nothing takes the ports for shut, as the control channel finds the path alive. So other rules
    are drawn where hardly a port is open behind a limit, which may strike before one of them was met; and a stall of
    UDP alone that lasts until such a client is sure stalls the control channel too.
    """
    path = weather.path
    ways = path.to_server, path.to_client
    limited = path.bindings or path.router or path.server or path.guard or any(w.policing or w.shaping for w in ways)
    ports = len(weather.ports)
    while limited and 0 < ports - len(weather.path.rules.closed) < HARDLY * ports:
        shape, rules = random_rules(weather.ports, chance)
        weather = replace(_with_path(weather, rules=rules), shape=shape)
    if any(_deafens(stall, weather) for stall in path.stalls):
        stalls = tuple(replace(stall, control=True) for stall in path.stalls)
        weather = _with_path(weather, stalls=stalls)
    return weather


def _deafens(stall: Stall, weather: Weather) -> bool:
    path, ports = weather.path, len(weather.ports)
    is_open = ports - len(path.rules.closed)
    first_answers = 0.1 + 2 * (path.delay + path.jitter) + path.reordered_by
    begins_early = stall.at < first_answers or is_open < HARDLY * ports
    return not stall.control and stall.seconds > DEAF_SECONDS and is_open > 0 and begins_early


def _base(chance: random.Random) -> Path:
    """A path without a limit: some jitter, some packets twice, hardly a loss."""
    delay = _log(chance, 0.00015, 0.3)
    some = chance.random
    return Path(
        delay,
        jitter=chance.choice((0.0, 0.0, 0.1, 0.5, 1.0)) * delay,
        reordered=chance.choice((0.0, 0.0, 0.0, 0.01, 0.1)),
        reordered_by=chance.choice((0.001, 0.005, 0.05, 0.3)),
        doubled=chance.choice((0.0, 0.0, 0.0, 0.001, 0.02)),
        to_server=Way(0.005 * some() if some() < 0.3 else 0.0),
        to_client=Way(0.005 * some() if some() < 0.3 else 0.0),
    )


def _log(chance: random.Random, least: float, most: float) -> float:
    """Between two values, and as often in each order of magnitude."""
    return float(least * (most / least) ** chance.random())


def _with_path(weather: Weather, **changes: object) -> Weather:
    return replace(weather, path=replace(weather.path, **changes))  # type: ignore[arg-type]


def _clean(weather: Weather, chance: random.Random) -> Weather:
    return _with_path(weather, to_server=Way(), to_client=Way())


def _losses(weather: Weather, chance: random.Random) -> Weather:
    legs, sockets = chance.choice((0, 0, 0, 5, 25, 50)), chance.choice((0, 0, 0, 0, 10, 30))
    there, back = (replace(way, loss=0.2 * chance.random() ** 1.5) for way in _ways(weather))
    return _with_path(weather, to_server=there, to_client=back, dead_legs=legs, dead_sockets=sockets)


def _ways(weather: Weather) -> tuple[Way, Way]:
    return weather.path.to_server, weather.path.to_client


def _bursts(weather: Weather, chance: random.Random) -> Weather:
    def draw() -> Bursts:
        good, bad = _log(chance, 0.3, 20.0), _log(chance, 0.02, 2.0)
        return Bursts(good, min(bad, good), 0.01 * chance.random(), chance.choice((0.3, 0.6, 0.9, 1.0)))

    there, back = _ways(weather)
    which = chance.choice(("there", "back", "both"))
    there = replace(there, bursts=draw()) if which != "back" else there
    back = replace(back, bursts=draw()) if which != "there" else back
    return _with_path(weather, to_server=there, to_client=back)


def _policer(weather: Weather, chance: random.Random) -> Weather:
    """A limit on the rate: it drops, or it drops new flows alone, or it queues."""
    what = chance.choices(("policer", "bindings", "line"), (6, 2, 2))[0]
    if what == "bindings":
        return _with_path(weather, bindings=_policing(chance))
    there, back = _ways(weather)
    which = chance.choices(("there", "back", "both"), (6, 2, 2))[0]
    there = _limited(there, what, chance) if which != "back" else there
    back = _limited(back, what, chance) if which != "there" else back
    return _with_path(weather, to_server=there, to_client=back)


def _policing(chance: random.Random) -> Policing:
    rate = _log(chance, 50, 5000)
    burst = max(5, int(rate * chance.choice((0.01, 0.1, 1.0, 5.0))))
    return Policing(rate, burst, chance.random() < 0.2)


def _limited(way: Way, what: str, chance: random.Random) -> Way:
    if what == "policer":
        return replace(way, policing=(_policing(chance),))
    rate = _log(chance, 100, 10_000)
    return replace(way, shaping=Shaping(rate, max(10, int(rate * chance.choice((0.02, 0.1, 0.5, 2.0))))))


def _table(weather: Weather, chance: random.Random) -> Weather:
    def draw() -> Tracking:
        capacity = chance.choice((1024, 2048, 4096, 7680, 8192, 16384, 65536))
        life, early_drop = chance.choice((30.0, 30.0, 60.0, 120.0, 180.0)), chance.random() < 0.4
        if chance.random() < 0.8:
            return Tracking(capacity, life, early_drop)
        return Tracking(capacity, life, early_drop, int(capacity * 0.9 * chance.random()), _log(chance, 0.1, 60.0))

    which = chance.choices(("router", "server", "both"), (5, 4, 1))[0]
    if which != "server":
        weather = _with_path(weather, router=draw())
    return _with_path(weather, server=draw()) if which != "router" else weather


def _guard(weather: Weather, chance: random.Random) -> Weather:
    window = chance.choice((0.1, 1.0, 1.0, 5.0, 60.0))
    flows = chance.choice((50, 100, 300, 500, 1000, 1500))

    def maybe() -> bool:
        return chance.random() < 0.4

    penalty = chance.choice((10.0, 60.0, 60.0, 600.0))
    return _with_path(weather, guard=Guarding(flows, window, penalty, maybe(), maybe(), maybe(), maybe()))


def _pause(weather: Weather, chance: random.Random) -> Weather:
    """A stall, a rebinding or a sleep, at any time of the sweep."""
    at = _log(chance, 0.02, 30.0)
    what = chance.choice(("stall", "stall", "rebinding", "sleep"))
    if what == "rebinding":
        return _with_path(weather, rebindings=(at, at + _log(chance, 0.5, 10.0)))
    if what == "sleep":
        return replace(weather, sleeps=(Sleep(at, lost=chance.random() < 0.5),))
    first = Stall(at, _log(chance, 0.05, 12.0), chance.random() < 0.5, chance.random() < 0.7)
    second = Stall(first.until + _log(chance, 0.1, 5.0), _log(chance, 0.05, 3.0), chance.random() < 0.5)
    return _with_path(weather, stalls=(first, second) if chance.random() < 0.5 else (first,))


def _changing(weather: Weather, chance: random.Random) -> Weather:
    at = _log(chance, 0.02, 10.0)
    return _with_path(weather, changes=(Change(at, random_rules(weather.ports, chance)[1]),))


def _mixed(weather: Weather, chance: random.Random) -> Weather:
    """Two to four of all the others."""
    for draw in chance.sample((_losses, _bursts, _policer, _table, _guard, _pause, _changing), chance.randint(2, 4)):
        weather = draw(weather, chance)
    return weather


Draw = Callable[[Weather, random.Random], Weather]

# What kinds of networks there are, and how often in a hundred; about a third are without any limit.
KINDS: dict[str, tuple[Draw, int]] = {
    "clean": (_clean, 8),
    "loss": (_losses, 8),
    "bursts": (_bursts, 8),
    "stall, rebinding or sleep": (_pause, 7),
    "changing rules": (_changing, 5),
    "policer": (_policer, 15),
    "flow table": (_table, 17),
    "scan guard": (_guard, 14),
    "mixed": (_mixed, 18),
}
