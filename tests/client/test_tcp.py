"""A TCP port's probe among strangers of this machine: how long it listens to them, and how often."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Iterator

import pytest

from agent.client import tcp
from agent.client.tcp import PortProbes, ProbeContext, probe
from agent.core import plan as plans
from agent.core.errors import DecodeError
from agent.core.observation import Interceptor, Reply
from agent.core.plan import Need, Plan, Requirement, Transport
from agent.core.ports import PortRange
from agent.net.connect import Target
from agent.protocol import first_bytes, http_proof

TARGET = Target(socket.AF_INET, ("127.0.0.1", 0))
CONTEXT = ProbeContext(TARGET, "0123456789abcdef", b"k" * 64, "meet.example", True, Plan("", ()))
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n<html>"
SSH = b"SSH-2.0-OpenSSH_9.6p1\r\n"

Answer = Callable[[bytes, int], bytes]


@dataclass(frozen=True)
class Elsewhere(Target):
    """An address whose every port is this one."""

    port: int = 0

    def at(self, port: int) -> tuple[Any, ...]:
        return super().at(self.port)


@contextlib.contextmanager
def stranger(answer: Answer, close: bool = False) -> Iterator[Elsewhere]:
    """Answers the first bytes of each connection, by its number; without `close` it keeps them all open."""
    opened: list[socket.socket] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                opened.append(listener.accept()[0])
                opened[-1].sendall(answer(opened[-1].recv(4096), len(opened)))
                if close:
                    opened[-1].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield Elsewhere(socket.AF_INET, ("127.0.0.1", 0), listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in opened:
                one.close()


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What waits for an answer to end would take a minute, and fail."""
    monkeypatch.setattr(tcp, "ANSWER_SECONDS", 60.0)
    monkeypatch.setattr(tcp, "CONNECT_GAP", 0.05)
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("port", [80, 443, 7881])
@pytest.mark.parametrize(
    ("said", "shown", "kind"),
    [
        (SSH, "SSH-2.0-OpenSSH_9.6p1", Interceptor.OTHER_SERVICE),
        (REDIRECT, "302 Found, Location: http://login.example/", Interceptor.CAPTIVE_PORTAL),
        (PAGE, "200 OK", Interceptor.OTHER_SERVICE),
        (b"S", "S", Interceptor.OTHER_SERVICE),
    ],
)
def test_a_stranger_who_keeps_the_connection(port: int, said: bytes, shown: str, kind: Interceptor) -> None:
    if (port, said) == (7881, b"S"):
        said = b"SS"  # one byte may yet be a frame's length
        shown = "SS"
    with stranger(lambda data, number: said) as target:
        seen = probe(port, replace(CONTEXT, target=target), lambda: False)
    assert (seen.reply, seen.sent, seen.shown, seen.interceptor) == (Reply.FOREIGN, 2, shown, kind)


def test_a_stranger_who_refuses_tls() -> None:
    with stranger(lambda data, number: first_bytes.TLS_REFUSAL) as target:
        seen = probe(443, replace(CONTEXT, target=target), lambda: False)
    assert (seen.reply, seen.sent) == (Reply.FOREIGN, 2)
    assert (seen.shown or "").startswith("TLS fails: ")
    assert "handshake failure" in (seen.shown or "")


@pytest.mark.parametrize("port", [80, 443, 7881])
def test_who_says_nothing_is_mute(port: int) -> None:
    with stranger(lambda data, number: b"", close=True) as target:
        seen = probe(port, replace(CONTEXT, target=target), lambda: False)
    assert (seen.reply, seen.sent, seen.shown, seen.interceptor) == (Reply.MUTE, 3, None, None)


def proven(data: bytes) -> bytes:
    try:
        token = http_proof.decode_request(data)
    except DecodeError:
        token = None
    assert token
    return http_proof.encode_answer(http_proof.make_proof(token, b"", CONTEXT.key))


def test_one_strange_answer_does_not_end_it() -> None:
    with stranger(lambda data, number: SSH if number == 1 else proven(data)) as target:
        seen = probe(80, replace(CONTEXT, target=target), lambda: False)
    assert (seen.reply, seen.sent, seen.answered) == (Reply.PROOF, 2, 1)
    assert (seen.shown, seen.interceptor) == (None, None)


def test_a_strange_answer_outweighs_silence() -> None:
    with stranger(lambda data, number: SSH if number == 1 else b"", close=True) as target:
        seen = probe(80, replace(CONTEXT, target=target), lambda: False)
    assert (seen.reply, seen.sent, seen.shown) == (Reply.FOREIGN, 3, "SSH-2.0-OpenSSH_9.6p1")


def probes_of(target: Target) -> PortProbes[int]:
    return PortProbes(lambda port, stopped: probe(port, replace(CONTEXT, target=target), stopped))


def test_a_port_that_proved_open_stays_so_when_it_is_stopped_later() -> None:
    with stranger(lambda data, number: proven(data)) as target:
        probes = probes_of(target)
        for _ in range(2):
            probes.start([80])
            probes.join()
        again = probes.seen[80]
    probes.start([80])
    probes.join()
    assert (again.reply, again.sent, again.answered) == (Reply.PROOF, 2, 2)
    assert (probes.seen[80].reply, probes.seen[80].sent, probes.seen[80].answered) == (Reply.PROOF, 5, 2)
    assert (probes.later[80].reply, probes.later[80].received) == (Reply.REFUSED, None)


def test_a_port_that_is_still_tried_again_is_not_known_to_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time of all TCP ports is over, a limit may have kept it silent before."""
    monkeypatch.setattr(tcp, "CONNECT_SECONDS", 0.2)
    with contextlib.ExitStack() as stack:
        # Linux drops what wants to connect while as many wait to be accepted, and one more.
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        here = Elsewhere(socket.AF_INET, ("127.0.0.1", 0), full.getsockname()[1])
        stack.enter_context(socket.create_connection(full.getsockname()))
        probes = probes_of(here)
        probes.start([80])
        probes.join()
        assert probes.seen[80].reply is Reply.NOTHING
        monkeypatch.setattr(tcp, "CONNECT_SECONDS", 5.0)
        probes.start([80])
        probes.join(0.05)
        assert probes.seen == {}
        probes.stop()


@pytest.mark.parametrize(
    ("purpose", "plan", "begins"),
    [
        (plans.HTTPS, True, b"\x16\x03"),
        (plans.ACME, True, b"GET /"),
        (plans.ICE_TCP, True, b"\0"),
        (plans.HTTPS, False, b"\0"),
    ],
)
def test_what_the_plan_has_a_port_for_is_what_its_probe_speaks(purpose: str, plan: bool, begins: bytes) -> None:
    said: list[bytes] = []

    def answer(first: bytes, number: int) -> bytes:
        said.append(first)
        return SSH

    row = Requirement(Transport.TCP, PortRange(8443, 8443), purpose, Need.REQUIRED)
    context = replace(CONTEXT, plan=Plan("installed", (row,) if plan else ()))
    with stranger(answer, close=True) as target:
        probe(8443, replace(context, target=target), lambda: False)
    assert {one[: len(begins)] for one in said} == {begins}
