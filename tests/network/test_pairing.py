"""Pairing by a key: who has it checks, who has not learns nothing, and nobody on the way gets to see it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import pytest

import build
from agent.protocol import messages, pairing
from tests.lab import PROGRAMS, Check, Host, Lab, Server, check, hold, lab, program, server, start_check, until, wrong

FEW, UDP = "tcp 80,443,7881 udp 50000-50009", ("--udp", "50000-50009")
MADE = "b2cd-j6as-k7d1-mpmt-vcdn-q6yw-3h57"
OWN, OTHER = "correct horse battery staple, käse", "another key, as long as that one"
VARIABLE = "PNMCHECK_KEY"
# For the programs of a test that speak as ours do.
SPEAKS = {**os.environ, "PYTHONPATH": str(build.ROOT)}


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    """One for all that leaves no rules behind."""
    with lab() as made:
        yield made


@pytest.fixture(scope="module")
def keyed(network: Lab, archive: Path) -> Iterator[Server]:
    """A server that made its key itself."""
    with server(network.server, archive, *UDP, "--key") as running:
        yield running


def is_right(seen: Check, paired: bool = True) -> bool:
    """Whether all is open, by a channel that is paired as said."""
    assert wrong(seen.report, plan=FEW) == []
    assert (seen.status, seen.report["error"], seen.stderr) == (0, None, "")
    return seen.address["control"]["paired"] is paired


def code_of_refused(seen: Check) -> str:
    """The code of an error in whose stead there is no verdict."""
    error = seen.report["error"]
    assert (seen.status, seen.report["verdict"]) == (3, "inconclusive")
    for one in seen.report["addresses"]:
        assert (one["findings"], one["verdict"], one["control"]["paired"]) == ([], "inconclusive", False)
    words = " ".join(seen.stderr.split())
    assert error["message"] in words
    assert f"what to do: {error['hint']}" in words
    return str(error["code"])


@pytest.mark.parametrize(
    "typed",
    [
        lambda key: key,
        lambda key: key.replace("-", ""),
        lambda key: f" {key.replace('-', ' ')} ",
        lambda key: key.upper().replace("0", "O").replace("1", "l"),
    ],
    ids=["as shown", "without dashes", "with blanks", "in capitals"],
)
def test_a_made_key_however_it_is_typed(
    network: Lab, archive: Path, keyed: Server, typed: Callable[[str], str]
) -> None:
    key = keyed.listening["key"]
    assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){6}", key)
    seen = check(network.client, archive, network.server.ipv4, "--key", typed(key))
    assert is_right(seen)
    assert seen.address["control"] == {"port": 443, "tls": True, "paired": True}


def test_the_command_that_is_shown_works(net: Lab, archive: Path) -> None:
    command: list[str | Path] = [sys.executable, archive, "server", *UDP, "--key", "--once"]
    with net.server.popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        assert running.stderr
        words = next(line for line in running.stderr if "pnmcheck.pyz client" in line).split()
        assert words[:4] == ["python3", "pnmcheck.pyz", "client", "HOST"]
        assert is_right(check(net.client, archive, net.server.ipv4, *words[4:]))
        running.communicate(timeout=120)
    assert running.returncode == 0


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_a_key_in_the_environment_is_seen_nowhere(net: Lab, archive: Path) -> None:
    net.server.rules("input", "udp dport 50003 drop")  # so that there is time to look at the client
    key = {VARIABLE: OWN}
    with server(net.server, archive, *UDP, env=key) as running:
        checking = start_check(net.client, archive, net.server.ipv4, env=key)
        running.wait_for("session")
        lines = [command_line(one.process.pid) for one in (running, checking)]
        seen = checking.finish()
        told = json.dumps([running.wait_for("report"), *running.events, seen.report], ensure_ascii=False)
    assert (running.listening["paired"], running.listening["key"]) == (True, None)
    assert wrong(seen.report, {"udp 50003": "filtered"}, plan=FEW) == []
    assert seen.address["control"]["paired"] is True
    assert ["server" in lines[0], "client" in lines[1]] == [True, True]
    for text in (*lines, told, seen.stderr, running.stderr):
        assert "staple" not in text


def test_a_servers_command_without_the_key_that_its_environment_has(net: Lab, archive: Path) -> None:
    shown = net.server.run([sys.executable, archive, "server", *UDP, "--for", "1s"], env={**os.environ, VARIABLE: OWN})
    assert "only for clients with the key" in shown.stderr
    assert f"Set {VARIABLE} there" in shown.stderr
    assert "staple" not in shown.stderr + shown.stdout


# A character too many, another one, two that changed places, a group left out; and too short to be anybody's.
NO_KEYS = (f"{MADE}8", MADE.replace("j6as", "j6at"), MADE.replace("b2cd", "b2dc"), MADE[:-5], "x" * 19)


def test_what_is_no_key_ends_before_anything_is_sent(net: Lab, archive: Path) -> None:
    net.client.rules("output", f"ip daddr {net.server.ipv4} counter")

    def refuses(host: Host, text: str, *command: str, variable: str = "") -> None:
        done = host.run([sys.executable, archive, *command], env={**os.environ, VARIABLE: variable})
        assert (done.returncode, done.stdout) == (2, "")
        assert (VARIABLE if variable == text else "--key") in done.stderr
        assert "what to do: " in done.stderr
        assert text not in done.stderr

    for text in NO_KEYS:
        refuses(net.client, text, "client", net.server.ipv4, "--json", "--key", text, variable=OWN)
        refuses(net.server, text, "server", *UDP, "--for", "1s", variable=text)
    refuses(net.client, text, "client", net.server.ipv4, variable=text)
    refuses(net.server, text, "server", *UDP, "--for", "1s", "--json", "--key", text, variable=OWN)
    assert net.client.counted() == 0


def test_an_empty_key_is_not_none(net: Lab, archive: Path) -> None:
    """As of a shell's variable that was never set: who names a key means to be paired."""
    net.client.rules("output", f"ip daddr {net.server.ipv4} counter")
    done = net.client.run([sys.executable, archive, "client", net.server.ipv4, "--key", ""])
    assert (done.returncode, "--key" in done.stderr, net.client.counted()) == (2, True, 0)


def test_keys_of_ones_own(net: Lab, archive: Path) -> None:
    with server(net.server, archive, *UDP, "--key", OWN) as running:
        assert running.listening["key"] == OWN
        assert is_right(check(net.client, archive, net.server.ipv6, "--key", f" {OWN}"))
        for wrong_one in (OTHER, OWN.upper(), MADE):
            assert code_of_refused(check(net.client, archive, net.server.ipv4, "--key", wrong_one)) == "wrong-key"
        assert code_of_refused(check(net.client, archive, net.server.ipv4)) == "key-needed"
        assert [one["error"]["code"] for one in running.of("refused")] == ["wrong-key"] * 3 + ["key-needed"]
        assert len(running.of("session")) == 1


def test_a_key_at_a_server_without_one(net: Lab, archive: Path) -> None:
    with server(net.server, archive, *UDP) as running:
        assert (running.listening["paired"], running.listening["key"]) == (False, None)
        assert code_of_refused(check(net.client, archive, net.server.ipv4, "--key", OWN)) == "no-key"
        assert running.wait_for("refused")["error"]["code"] == "no-key"
        assert is_right(check(net.client, archive, net.server.ipv4), paired=False)


SAY = PROGRAMS / "say_hello.py"


def test_without_the_key_nothing_is_told_but_that_it_is_needed(net: Lab, archive: Path) -> None:
    hello = '{"type":"hello","protocol":3,"program":"0.1.0","family":"ipv4","nonce":null}\n'
    with hold(net.server, "udp 50005"), server(net.server, archive, *UDP, "--key"):
        told = net.client.must(sys.executable, SAY, net.server.ipv4, hello)
    assert set(told.splitlines()) == {
        '{"type":"refusal","code":"key-needed","message":"this server accepts only clients with its pairing key",'
        '"hint":"run the command that the server shows, with its --key"}'
    }
    assert told.count("\n") == 6


IMPOSTOR = PROGRAMS / "impostor.py"


@pytest.fixture(scope="module")
def true_welcome(network: Lab, archive: Path) -> str:
    hello = '{"type":"hello","protocol":3,"program":"0.1.0","family":"ipv4","nonce":null}\n'
    with lab() as net, server(net.server, archive, *UDP):
        told = net.client.must(sys.executable, SAY, net.server.ipv4, hello, "7881")
    assert json.loads(told)["type"] == "welcome"
    return told


CHALLENGE = messages.encode(messages.Challenge("5" * 32)).decode()
REFUSAL = messages.encode(messages.Refusal("crowded", "wait", "a minute")).decode()
# What an impostor says, where WELCOME is a true one; and what comes of it.
IMPOSTORS: dict[str, tuple[Sequence[str], str]] = {
    "a welcome": (["WELCOME"], "wrong-key"),
    "his own words": (["ECHO"], "wrong-key"),
    "a refusal": ([REFUSAL], "crowded"),
    "a challenge, a welcome": ([CHALLENGE, "WELCOME"], "not-pnmcheck"),
    "a challenge, a welcome under another seal": ([CHALLENGE, "SEALWELCOME"], "not-pnmcheck"),
    "a challenge, his own proof": ([CHALLENGE, "ECHO"], "not-pnmcheck"),
    "a challenge again": ([CHALLENGE, CHALLENGE], "not-pnmcheck"),
    "a challenge, a refusal": ([CHALLENGE, REFUSAL], "crowded"),
    "a challenge, junk": ([CHALLENGE, "0" * 64 + "\n"], "not-pnmcheck"),
    "a challenge, the end": ([CHALLENGE], "not-pnmcheck"),
}


def test_impostors_that_have_no_key(net: Lab, archive: Path, true_welcome: str) -> None:
    found = {}
    for what, (script, _) in IMPOSTORS.items():
        lines = [text.replace("WELCOME", true_welcome) for text in script]
        with impostor(net.server, lines):
            found[what] = code_of_refused(check(net.client, archive, net.server.ipv4, "--key", MADE))
    assert found == {what: code for what, (_, code) in IMPOSTORS.items()}


@contextlib.contextmanager
def impostor(host: Host, script: Sequence[str]) -> Iterator[None]:
    with program(host, IMPOSTOR, json.dumps(script)):
        yield


LISTENER = PROGRAMS / "record_lines.py"


def test_neither_key_nor_secret_crosses_the_wire(net: Lab, archive: Path, tmp_path: Path) -> None:
    file = tmp_path / "wire"
    without_openssl = {"PATH": str(tmp_path)}
    with program(net.server, LISTENER, str(file)), server(
        net.server, archive, *UDP, "--key", env=without_openssl
    ) as up:
        key = up.listening["key"]
        seen = check(net.client, archive, net.server.ipv4, "--key", key)
        up.wait_for("report")
        until(lambda: b'{"type":"bye"}' in file.read_bytes(), "the last of it")
        crossed = file.read_bytes()
    assert seen.address["control"] == {"port": 443, "tls": False, "paired": True}
    hello, challenge = (
        messages.decode(re.search(rb'{"type":"%b"[^}]*}' % kind, crossed)[0])  # type: ignore[index]
        for kind in (b"hello", b"challenge")
    )
    keys = derived(key, hello, challenge)
    digits = key.replace("-", "")
    hidden = [key, digits, keys.secret, keys.client.hex(), keys.server.hex(), digits[:12]]
    raw = [bytes.fromhex(keys.secret), keys.client, keys.server]
    assert [one for one in (*map(str.encode, hidden), *raw) if one.lower() in crossed.lower()] == []
    assert pairing.RecordAuthenticator(keys.server, keys.client).verify(sealed(crossed, b"proof"))


def derived(key: str, hello: messages.Message, challenge: messages.Message) -> pairing.Keys:
    assert isinstance(hello, messages.Hello)
    assert isinstance(challenge, messages.Challenge)
    return messages.session_keys(key, hello, challenge)


def sealed(crossed: bytes, kind: bytes) -> bytes:
    found = re.search(rb'[0-9a-f]{64}{"type":"%b"[^\n]*' % kind, crossed)
    assert found
    return found[0]


ASKER = PROGRAMS / "ask_everything.py"


def test_who_holds_a_port_is_told_to_paired_clients_alone(net: Lab, archive: Path) -> None:
    busy, rules = {"udp 50005": "untested busy"}, 'udp dport 50006 drop comment "secret-rule"'
    net.server.rules("input", rules)
    net.server.must("ip", "address", "add", "192.0.2.77/24", "dev", "lo")
    shut = {**busy, "udp 50006": "filtered server-host"}
    with hold(net.server, "udp 50005") as holder:
        owner = f"{Path(f'/proc/{holder.pid}/comm').read_text(encoding='ascii').strip()} (pid {holder.pid})"
        with server(net.server, archive, *UDP, "--key", MADE) as running:
            seen = check(net.client, archive, net.server.ipv4, "--key", MADE)
            assert wrong(seen.report, shut, plan=FEW) == []
            assert seen.finding("udp", 50005)["owner"] == owner
        with server(net.server, archive, *UDP) as running:
            seen = check(net.client, archive, net.server.ipv4)
            assert wrong(seen.report, shut, plan=FEW) == []
            assert seen.finding("udp", 50005)["owner"] is None
            told = net.client.must(sys.executable, ASKER, net.server.ipv4)
            running.wait_for("session", number=2)
    lines = list(map(json.loads, told.splitlines()))
    (welcome,) = [one for one in lines if one["type"] == "welcome"]
    assert len(lines) == 3 + 4 * len(messages.PortTable)
    assert [50005, 50005, "busy"] in [row for one in lines for row in one.get("rows", ())]
    # Every word of it: what the plan has, and what every server says.
    plan = {welcome["plan"]["name"], *(word for row in welcome["plan"]["requirements"] for word in row)}
    mine = {welcome[name] for name in ("program", "session", "secret", "certificate")} | {net.client.ipv4}
    ours = {"welcome", "rows", "kernel", "bye", "busy", *("unknown", "answered", "stopped")}
    assert {one for one in words(lines) if isinstance(one, str)} <= plan | mine | ours | PLACES
    assert not [one for one in (owner, "secret-rule", "192.0.2.77", net.server.ipv4, "pid") if one in told]


PLACES = {"before-server", "server-host", "return-path", "unknown"}


def words(value: Any) -> Iterator[Any]:
    """All values of a JSON text, however deep."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from words(one)
    else:
        yield value


WIDER = PROGRAMS / "try_wider_plan.py"


def test_a_client_cannot_widen_the_plan(net: Lab, archive: Path) -> None:
    ways = ("udp dport 60001 redirect to :50000", "tcp dport 8080 redirect to :80")
    net.server.rules("prerouting", *ways, kind="nat")
    with server(net.server, archive, *UDP):
        done = json.loads(net.client.must(sys.executable, WIDER, net.server.ipv4))
    assert done["udp"] == [True, False, False, False]
    assert [line.split()[1] for line in done["http"]] == ["200", "404", "404"]
    assert done["framed"] == [True, False, False]
    planned = {"tcp": (80, 443, 7881), "udp": range(50000, 50010)}
    sighted = {name: {port for first, last, _ in rows for port in range(first, last + 1)}
               for name, rows in done["sighted"].items()}  # fmt: skip
    assert [name for name, ports in planned.items() if not sighted[name] <= set(ports)] == []
    assert 50000 in sighted["udp"]
