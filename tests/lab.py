"""Networks to test in: two namespaces of this machine and a cable between them, made for a test and removed after it.

Nothing here leaves the machine: a namespace has no way out but the cable, and asks nobody for names.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, NamedTuple, NoReturn, Sequence, TypeVar

# Only what a failing test needs imports pytest: the benchmark runs without it.
if TYPE_CHECKING:
    import pytest

# Programs that tests run by their path.
PROGRAMS = Path(__file__).parent / "programs"

PLAN = "tcp 80,443,7881 udp 443,50000-60000"
TRANSPORTS = ("tcp", "udp")
STATUS = {"pass": 0, "fail": 1, "inconclusive": 3}
INTERRUPTED = 130

# From the room that is kept for documentation (RFC 5737, RFC 3849): by mistake they lead nowhere either.
CLIENT, SERVER = ("198.51.100.2", "2001:db8:1::2"), ("198.51.100.1", "2001:db8:1::1")
FAR_CLIENT, ROUTER_OUTSIDE, ROUTER_INSIDE = (
    ("203.0.113.2", "2001:db8:2::2"),
    ("203.0.113.1", "2001:db8:2::1"),
    ("198.51.100.254", "2001:db8:1::fe"),
)
# Between the two routers of a chain.
NEAR_INSIDE, FAR_OUTSIDE = ("192.0.2.1", "2001:db8:3::1"), ("192.0.2.2", "2001:db8:3::2")
INTERFACE = "eth0"

# A check gives up after three minutes; the rest is for the TCP ports, and for a machine with other things to do.
LONGEST = 240.0

# Seconds in which whatever only has to come is there, also where other programs keep all cores busy.
USUAL = 120.0

# So many networks at a time keep two cores busy; with more, the programs under test would wait for each other.
SIDE_BY_SIDE = 8

_numbers = itertools.count(1)
_making = threading.Lock()
# A server takes its ports as fast as a core can; more of them at a time would all be late.
_starting = threading.Semaphore(os.cpu_count() or 1)
_S = TypeVar("_S")
_T = TypeVar("_T")


# Whichever of these ends a run, its networks are removed. Besides, a shell that starts a run in the background has it
# ignore the first, and so would the programs under test.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.default_int_handler)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_not_json)


def need(*tools: str) -> None:
    """Root, and these programs. Where they are missing the test is skipped, but never in CI."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        missing.insert(0, "root")
    if missing:
        import pytest

        message = f"needs {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def until(condition: Callable[[], _T], what: str, within: float = USUAL) -> _T:
    """Wait for something that nobody tells of, `within` seconds; return what the condition gave when it was true."""
    ends = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < ends, f"waited {within:g} s in vain for {what}"
        time.sleep(0.02)


def chosen(request: pytest.FixtureRequest, path: Path) -> list[Any]:
    """The scenarios that were chosen of a module's table: the values of the parameter `scenario`."""
    specs = [getattr(item, "callspec", None) for item in request.session.items if item.path == path]
    return [spec.params["scenario"] for spec in specs if spec and "scenario" in spec.params]


def side_by_side(
    request: pytest.FixtureRequest, run: Callable[[_S], _T]
) -> contextlib.AbstractContextManager[Callable[[_S], _T]]:
    """Run the chosen scenarios of a module some at a time, since they mostly wait; gives their results."""
    return at_once(chosen(request, request.path), run, SIDE_BY_SIDE)


@contextlib.contextmanager
def at_once(scenarios: Sequence[_S], run: Callable[[_S], _T], number: int) -> Iterator[Callable[[_S], _T]]:
    """Run so many scenarios at a time; gives their results."""
    with concurrent.futures.ThreadPoolExecutor(max(1, number)) as pool:
        running = {one: pool.submit(run, one) for one in scenarios}
        try:
            yield lambda scenario: running[scenario].result()
        finally:
            pool.shutdown(cancel_futures=True)


class Host:
    """One network namespace."""

    def __init__(self, name: str, ipv4: str, ipv6: str) -> None:
        self.name, self.ipv4, self.ipv6 = name, ipv4, ipv6
        self.prefix: Sequence[str | Path] = ()  # a command that runs every other one here
        self._chains = itertools.count(1)

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        """The command line that runs this one here; it replaces itself, so that the process id is the program's."""
        return [str(shutil.which("ip")), "netns", "exec", self.name, *map(str, (*self.prefix, *argv))]

    def popen(self, argv: Sequence[str | Path], **kw: Any) -> subprocess.Popen[str]:
        """Start a program here."""
        return subprocess.Popen(self.command(argv), **{"stdin": subprocess.DEVNULL, "encoding": "utf-8", **kw})

    def run(self, argv: Sequence[str | Path], timeout: float = USUAL, **kw: Any) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end."""
        feed = {} if "input" in kw else {"stdin": subprocess.DEVNULL}
        kw = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", **feed, **kw}
        return subprocess.run(self.command(argv), timeout=timeout, check=False, **kw)

    def must(self, *argv: str | Path, **kw: Any) -> str:
        """Run a program that has to succeed; its output."""
        done = self.run(argv, **kw)
        assert done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def nft(self, rules: str) -> None:
        """Load nftables rules, beside those that are there."""
        self.must("nft", "-f", "-", input=rules)

    def rules(self, hook: str, *rules: str, kind: str = "filter", family: str = "inet") -> None:
        """Load one chain of rules at a hook: `input`, `output`; as `nat` at `prerouting` or `postrouting`."""
        priority = {"filter": "filter", "nat": "srcnat" if hook == "postrouting" else "dstnat"}[kind]
        lines = "\n".join(rules)
        self.nft(
            f"table {family} lab {{\n chain {hook}{next(self._chains)} {{\n"
            f"type {kind} hook {hook} priority {priority}\n{lines}\n}}\n}}\n"
        )

    def set(self, name: str, of: str) -> None:
        """A set that rules can fill, such as `type ipv4_addr; flags dynamic`."""
        self.nft(f"table inet lab {{\n set {name} {{\n{of}; size 65535\n}}\n}}\n")

    def members(self, name: str) -> int:
        """How many there are in a set."""
        listed = json.loads(self.must("nft", "-j", "list", "set", "inet", "lab", name))["nftables"]
        return sum(len(entry.get("set", {}).get("elem", ())) for entry in listed)

    def counted(self) -> int:
        """How many packets the rules with a `counter` have seen."""
        ruleset = json.loads(self.must("nft", "-j", "list", "ruleset"))["nftables"]
        expressions = [one for entry in ruleset for one in entry.get("rule", {}).get("expr", ())]
        return sum(one["counter"]["packets"] for one in expressions if isinstance(one.get("counter"), dict))

    def wait_until_counted(self, packets: int, timeout: float = USUAL) -> None:
        """Wait until the rules with a `counter` have seen so many packets."""
        until(lambda: self.counted() >= packets, f"{packets} packets at the rules of {self.name}", within=timeout)

    def also(self, *addresses: str) -> None:
        """Give it more IPv4 addresses on its cable."""
        for address in addresses:
            _ip("-n", self.name, "address", "add", f"{address}/24", "dev", INTERFACE)

    def sysctl(self, name: str, value: int) -> None:
        """Set one of the kernel's values, which this host has of its own."""
        self.must("tee", f"/proc/sys/{name.replace('.', '/')}", input=str(value))

    def pids(self) -> list[int]:
        """The programs that run here."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, encoding="utf-8", check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def usage(self) -> Usage:
        """What all programs that run here take together."""
        processes = [Path("/proc", str(pid)) for pid in self.pids()]
        status = [(one / "status").read_text(encoding="ascii") for one in processes]
        memory = sum(int(text.split("VmRSS:")[1].split()[0]) for text in status)
        return Usage(memory, sum(len(os.listdir(one / "fd")) for one in processes))

    def snmp(self, name: str) -> int:
        """One of the kernel's counters of UDP over IPv4 (proc_net(5)): `InDatagrams`, `RcvbufErrors`."""
        names, numbers = re.findall("^Udp: (.*)$", self.must("cat", "/proc/net/snmp"), re.MULTILINE)
        return int(dict(zip(names.split(), numbers.split()))[name])

    def knows(self, names: Mapping[str, Sequence[str]]) -> None:
        """What names there are for programs that start here from now on."""
        lines = [f"{address} {name}\n" for name, addresses in names.items() for address in addresses]
        (_settings(self.name) / "hosts").write_text("".join(["127.0.0.1 localhost\n", *lines]), encoding="ascii")


class Usage(NamedTuple):
    """Resident memory in KiB, and open descriptors."""

    memory: int
    descriptors: int


def _settings(name: str) -> Path:
    """Files here stand for those of /etc in the namespace (ip-netns(8))."""
    return Path("/etc/netns", name)


class Lab(NamedTuple):
    """Two hosts and the cable between them, or the router."""

    client: Host
    server: Host
    router: Host | None = None

    def rules(self, by_place: Mapping[str, Sequence[str]]) -> None:
        """Load rules by place: `{"server input": ("udp dport 50000 drop",), "router postrouting nat": …}`.

        `dup` knows no `inet`, but `ip`: `client output ip`.
        """
        for place, rules in by_place.items():
            name, hook, *more = place.split()
            host = getattr(self, name)
            assert isinstance(host, Host), f"no {name} in this network"
            host.rules(
                hook,
                *rules,
                kind="nat" if "nat" in more else "filter",
                family="ip" if "ip" in more else "inet",
            )

    def counted(self) -> int:
        """How many packets the rules with a `counter` have seen, of all hosts."""
        return sum(host.counted() for host in self if host)


@contextlib.contextmanager
def lab(routed: bool = False) -> Iterator[Lab]:
    """A network of its own."""
    need("ip", "nft")
    number = f"pnmcheck-{os.getpid()}-{next(_numbers)}"
    client = Host(f"{number}-client", *(FAR_CLIENT if routed else CLIENT))
    host = Host(f"{number}-server", *SERVER)
    router = Host(f"{number}-router", *ROUTER_OUTSIDE) if routed else None
    made = Lab(client, host, router)
    hosts = [one for one in made if one]
    try:
        with _making:
            for one in hosts:
                _add(one)
        if router:
            _join((client, INTERFACE, FAR_CLIENT), (router, "outside", ROUTER_OUTSIDE))
            _join((router, "inside", ROUTER_INSIDE), (host, INTERFACE, SERVER))
            router.sysctl("net.ipv4.ip_forward", 1)
            router.sysctl("net.ipv6.conf.all.forwarding", 1)
            for one, ways in ((client, ROUTER_OUTSIDE), (host, ROUTER_INSIDE)):
                for way in ways:
                    _ip("-n", one.name, "route", "add", "default", "via", way)
        else:
            _join((client, INTERFACE, CLIENT), (host, INTERFACE, SERVER))
        yield made
    finally:
        for one in hosts:
            _remove(one)


class Chain(NamedTuple):
    """Two hosts and two routers between them: the near one is the client's neighbour."""

    client: Host
    near: Host
    far: Host
    server: Host


@contextlib.contextmanager
def chain() -> Iterator[Chain]:
    """A network with two routers in a row. The far one speaks to the client from FAR_OUTSIDE."""
    need("ip", "nft")
    number = f"pnmcheck-{os.getpid()}-{next(_numbers)}"
    made = Chain(
        Host(f"{number}-client", *FAR_CLIENT),
        Host(f"{number}-near", *ROUTER_OUTSIDE),
        Host(f"{number}-far", *FAR_OUTSIDE),
        Host(f"{number}-server", *SERVER),
    )
    try:
        with _making:
            for one in made:
                _add(one)
        _join((made.client, INTERFACE, FAR_CLIENT), (made.near, "outside", ROUTER_OUTSIDE))
        _join((made.near, "inside", NEAR_INSIDE), (made.far, "outside", FAR_OUTSIDE))
        _join((made.far, "inside", ROUTER_INSIDE), (made.server, INTERFACE, SERVER))
        for one in (made.near, made.far):
            one.sysctl("net.ipv4.ip_forward", 1)
            one.sysctl("net.ipv6.conf.all.forwarding", 1)
        routes = (
            (made.client, ROUTER_OUTSIDE),
            (made.near, FAR_OUTSIDE),
            (made.far, NEAR_INSIDE),
            (made.server, ROUTER_INSIDE),
        )
        for one, ways in routes:
            for way in ways:
                _ip("-n", one.name, "route", "add", "default", "via", way)
        yield made
    finally:
        for one in made:
            _remove(one)


class Crowd(NamedTuple):
    """Many clients and a server, each with a cable to the same switch: its rules are of the family `bridge`."""

    clients: Sequence[Host]
    server: Host
    switch: Host


@contextlib.contextmanager
def crowd(number: int) -> Iterator[Crowd]:
    """A network of so many clients, 200 at most."""
    need("ip", "nft")
    name = f"pnmcheck-{os.getpid()}-{next(_numbers)}"
    clients = [Host(f"{name}-{i}", f"198.51.100.{i}", f"2001:db8:1::{i:x}") for i in range(10, 10 + number)]
    made = Crowd(clients, Host(f"{name}-server", *SERVER), Host(f"{name}-switch", "", ""))
    hosts, switch = [*clients, made.server], made.switch
    try:
        with _making:
            for one in (*hosts, switch):
                _add(one)
        _ip("-n", switch.name, "link", "add", "bridge", "up", "type", "bridge")
        for i, one in enumerate(hosts):
            _join((one, INTERFACE, (one.ipv4, one.ipv6)), (switch, f"port{i}", None))
            _ip("-n", switch.name, "link", "set", f"port{i}", "master", "bridge")
        yield made
    finally:
        for one in (*hosts, switch):
            _remove(one)


def _add(host: Host) -> None:
    _ip("netns", "add", host.name)
    _settings(host.name).mkdir(parents=True)
    # Whoever asks for a name that is in no file is refused at once, by this very machine.
    (_settings(host.name) / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="ascii")
    host.knows({})
    _ip("-n", host.name, "link", "set", "lo", "up")


def _join(*ends: tuple[Host, str, tuple[str, str] | None]) -> None:
    """A cable between two interfaces, each with its addresses, if any."""
    here, there = (("name", interface, "netns", host.name) for host, interface, _ in ends)
    _ip("link", "add", *here, "type", "veth", "peer", *there)
    for host, interface, addresses in ends:
        if addresses:
            ipv4, ipv6 = addresses
            # No duplicate address detection: an address would be of no use for a second or two.
            host.sysctl(f"net.ipv6.conf.{interface}.accept_dad", 0)
            _ip("-n", host.name, "address", "add", f"{ipv4}/24", "dev", interface)
            _ip("-n", host.name, "address", "add", f"{ipv6}/64", "dev", interface, "nodad")
        _ip("-n", host.name, "link", "set", interface, "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def _remove(host: Host) -> None:
    for pid in host.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", host.name], capture_output=True, check=False)
    shutil.rmtree(_settings(host.name), ignore_errors=True)


class Server:
    """A running `server --json`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.stderr = ""
        self._news = threading.Condition()
        self._ended = False
        self._readers = [threading.Thread(target=one, daemon=True) for one in (self._read_events, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        assert self.process.stdout
        try:
            for line in self.process.stdout:
                event = _JSON.decode(line)
                with self._news:
                    self.events.append(event)
                    self._news.notify_all()
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.stderr += line

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one name so far."""
        with self._news:
            return [one for one in self.events if one["event"] == event]

    def wait_for(self, event: str, timeout: float = USUAL, number: int = 1) -> dict[str, Any]:
        """The first event of that name, or the `number`th, as soon as it is there."""
        with self._news:
            self._news.wait_for(lambda: self._ended or len(self.of(event)) >= number, timeout)
            found = self.of(event)
        if len(found) < number:
            import pytest

            self._readers[1].join(1)
            pytest.fail(f"no {event} event {number}: {self.events} {self.stderr}")
        return found[number - 1]

    @property
    def listening(self) -> dict[str, Any]:
        """What the server said first."""
        return self.wait_for("listening")

    def wait(self, timeout: float = USUAL) -> int:
        """The exit status, once it ends by itself."""
        status = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return status

    def stop(self, number: int = signal.SIGINT, timeout: float = USUAL) -> int:
        """End it by a signal; its exit status."""
        self.process.send_signal(number)
        return self.wait(timeout)


@contextlib.contextmanager
def server(
    host: Host,
    archive: Path,
    *args: str,
    python: str | Path = sys.executable,
    env: Mapping[str, str] | None = None,
    preexec: Callable[[], None] | None = None,
    prefix: Sequence[str] = (),
    patience: float = USUAL,
) -> Iterator[Server]:
    """A server that a client may start with. `prefix` is a command that runs it, `env` is added to what there is."""
    with contextlib.ExitStack() as turn:
        if patience <= USUAL:  # else it waits itself, and keeps no core busy
            turn.enter_context(_starting)
        with host.popen(
            [*prefix, python, archive, "server", "--json", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            preexec_fn=preexec,
        ) as process:
            started = Server(process)
            try:
                started.wait_for("listening", patience)
                turn.close()
                yield started
                if process.poll() is None:
                    started.stop()
                assert "Traceback" not in started.stderr, started.stderr
            finally:
                process.kill()
                started.wait()


@contextlib.contextmanager
def program(host: Host, path: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program that has said one line on stdout: it is ready."""
    with host.popen([sys.executable, path, *args], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline(), f"{path.name} did not come up"
            yield process
        finally:
            process.kill()


_HOLDER = PROGRAMS / "hold_ports.py"


def hold(host: Host, taken: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """A program that holds ports, such as `tcp 80,443 udp 50000`, and says nothing to whoever comes."""
    return program(host, _HOLDER, *(str(word) for port in ports(taken) for word in port))


class Check(NamedTuple):
    """What `client TARGET --json` came to."""

    status: int
    report: dict[str, Any]
    stderr: str

    @property
    def address(self) -> dict[str, Any]:
        """The one address of the report."""
        (only,) = self.report["addresses"]
        assert isinstance(only, dict)
        return only

    def finding(self, transport: str, port: int, address: str | None = None) -> dict[str, Any]:
        """The one finding that a port is in."""
        found = [one for one in _address(self.report, address)["findings"]
                 if one["transport"] == transport and one["first"] <= port <= one["last"]]  # fmt: skip
        (only,) = found
        assert isinstance(only, dict)
        return only


class Checking:
    """A client that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def finish(self, timeout: float = LONGEST) -> Check:
        """Wait for its end. What has to hold for every check is asserted here."""
        with self.process:
            try:
                stdout, stderr = self.process.communicate(timeout=timeout)
            finally:
                self.process.kill()
        status = self.process.returncode
        assert "Traceback" not in stderr, stderr
        assert stdout.count("\n") == 1, f"status {status}, not one line: {stdout!r} {stderr}"
        report = _JSON.decode(stdout)
        assert isinstance(report, dict)
        from tests.core import report_schema  # not every user of this file has jsonschema

        report_schema.validate(report)
        assert status in (STATUS[report["verdict"]], INTERRUPTED), f"status {status}, verdict {report['verdict']}"
        return Check(status, report, stderr)


def start_check(
    host: Host,
    archive: Path,
    target: str,
    *args: str,
    python: str | Path = sys.executable,
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Checking:
    """Start `client TARGET --json`."""
    return Checking(
        host.popen(
            [*prefix, python, archive, "client", target, "--json", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
    )


def check(host: Host, archive: Path, target: str, *args: str, timeout: float = LONGEST, **kw: Any) -> Check:
    """Run `client TARGET --json` to its end."""
    return start_check(host, archive, target, *args, **kw).finish(timeout)


def _address(report: Mapping[str, Any], address: str | None) -> dict[str, Any]:
    entries = [one for one in report["addresses"] if address in (None, one["address"])]
    assert len(entries) == 1, f"{address or 'one address'} of {[one['address'] for one in report['addresses']]}"
    assert isinstance(entries[0], dict)
    return entries[0]


def states(report: Mapping[str, Any], address: str | None = None) -> dict[tuple[str, int], str]:
    """The state of every port of an address; no port may be in two findings."""
    return {port: cause.split()[0] for port, cause in causes(report, address).items()}


def causes(report: Mapping[str, Any], address: str | None = None) -> dict[tuple[str, int], str]:
    """The state of every port with `where` and `reason`: `open`, `filtered unknown`, `untested busy`."""
    found: dict[tuple[str, int], str] = {}
    for one in _address(report, address)["findings"]:
        cause = " ".join(filter(None, (one["state"], one["where"], one["reason"])))
        for port in range(one["first"], one["last"] + 1):
            key = one["transport"], port
            assert key not in found, f"{one['transport']} {port} is in two findings"
            found[key] = cause
    return found


def ports(text: str) -> Iterator[tuple[str, int]]:
    """The ports that a text such as `tcp 80,443 udp 50000-60000` names."""
    words = text.split()
    for transport, items in zip(words[::2], words[1::2]):
        assert transport in TRANSPORTS, text
        for item in items.split(","):
            first, _, last = item.partition("-")
            for port in range(int(first), int(last or first) + 1):
                yield transport, port


def wrong(
    report: Mapping[str, Any],
    exceptions: Mapping[str, str] | None = None,
    *,
    address: str | None = None,
    plan: str = PLAN,
    rest: str = "open",
) -> list[str]:
    """What is not as it has to be, as runs: all of `plan` has to be `rest`, but the exceptions.

    `{"udp 53000-53999": "filtered return-path"}`; without the second word any `where` or `reason` will do, and
    `filtered or rejected` leaves it open.
    """
    want = dict.fromkeys(ports(plan), rest)
    for text, cause in (exceptions or {}).items():
        want.update(dict.fromkeys(ports(text), cause))
    have = causes(report, address)
    rows = [(transport, port, have.get((transport, port), "in no finding"), want.get((transport, port), "not planned"))
            for transport, port in sorted({*want, *have})]  # fmt: skip
    return list(_joined(row for row in rows if not _is_of(row[2], row[3])))


def _is_of(cause: str, wanted: str) -> bool:
    return any(f"{cause} ".startswith(f"{one} ") for one in wanted.split(" or "))


def _joined(rows: Iterable[tuple[str, int, str, str]]) -> Iterator[str]:
    runs: list[tuple[str, int, int, str, str]] = []
    for transport, port, have, must in rows:
        if runs and runs[-1][0] == transport and runs[-1][2] == port - 1 and runs[-1][3:] == (have, must):
            runs[-1] = (transport, runs[-1][1], port, have, must)
        else:
            runs.append((transport, port, port, have, must))
    for transport, first, last, have, must in runs:
        yield f"{transport} {first if first == last else f'{first}-{last}'}: {have}, not {must}"
