"""A million datagrams that no client sends: none is answered, all are read, and the server stays as it was."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import random
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Callable, Iterator

import pytest

from agent.protocol import stun
from tests.lab import PROGRAMS, Host, Lab, check, need, server, until, wrong
from tests.sessions import Held, held

FEW, UDP = "tcp 80,443,7881 udp 443,50000-50299", ("--udp", "443,50000-50299")
PORTS = (443, *range(50000, 50300))
ELSEWHERE = "198.51.100.3"  # the client's second address, from which no session came
LIVE, OLD = 0, 1  # the sessions: one that is held, one that is over
ANSWERS = ("udp sport { 443, 50000-50299 } counter", "icmp type destination-unreachable counter")

DATAGRAMS = 1_000_000
# So many at a time, and not before few bytes of the others wait to be read: a port's receive buffer has room for 90 of
# the largest.
BATCH, FEW_BYTES = 10_000, 2_000_000

SENDER = PROGRAMS / "send_junk.c"
HEAD = struct.Struct("=HHH")

ASK = PROGRAMS / "ask_udp.py"

USERNAME, INTEGRITY, PRIORITY, REQUESTED_TRANSPORT, FINGERPRINT = 0x6, 0x8, 0x24, 0x19, 0x8028


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(kind: int, attributes: bytes, key: bytes | None = None) -> bytes:
    """A STUN message of any type, with the integrity of a key where there is one, and a fingerprint."""

    def begun(more: int) -> bytes:
        return struct.pack("!HHI12s", kind, len(attributes) + more, stun.MAGIC_COOKIE, b"transaction.") + attributes

    if key is not None:
        attributes += attribute(INTEGRITY, hmac.new(key, begun(24), hashlib.sha1).digest())
    return begun(8) + attribute(FINGERPRINT, struct.pack("!I", zlib.crc32(begun(8)) ^ 0x5354554E))


class Junk:
    """Datagrams of all kinds, each made for a port."""

    def __init__(self, sessions: Held) -> None:
        self._sessions = sessions
        self._chance = random.Random(1)
        told = sessions.told[LIVE]
        self._session, self._key = told["session"].encode(), told["secret"].encode()

    def random_bytes(self, port: int) -> bytes:
        return self._chance.randbytes(self._chance.randrange(1, 1400))

    def nothing(self, port: int) -> bytes:
        return b""

    def header_alone(self, port: int) -> bytes:
        return struct.pack("!HHI12s", 1, 0, stun.MAGIC_COOKIE, b"transaction.")

    def without_integrity(self, port: int) -> bytes:
        return message(1, self._named(port))

    def wrong_integrity(self, port: int) -> bytes:
        return message(1, self._named(port), b"guess")

    def empty_integrity(self, port: int) -> bytes:
        return message(1, self._named(port) + attribute(INTEGRITY, b""))

    def of_an_old_session(self, port: int) -> bytes:
        return self._sessions.probe(OLD, port)

    def from_elsewhere(self, port: int) -> bytes:
        return self._sessions.probe(LIVE, port)

    def for_another_port(self, port: int) -> bytes:
        return self._sessions.probe(LIVE, PORTS[PORTS.index(port) - 1])

    def for_no_port_of_the_plan(self, port: int) -> bytes:
        return self._sessions.probe(LIVE, 3478)

    def truncated(self, port: int) -> bytes:
        return self._sessions.probe(LIVE, port)[: self._chance.randrange(1, 92)]

    def wrong_length(self, port: int) -> bytes:
        probe = self._sessions.probe(LIVE, port)
        return probe[:2] + self._chance.randbytes(2) + probe[4:]

    def wrong_length_of_an_attribute(self, port: int) -> bytes:
        probe = self._sessions.probe(LIVE, port)
        return probe[:22] + self._chance.randbytes(2) + probe[24:]

    def longer_than_it_says(self, port: int) -> bytes:
        return self._sessions.probe(LIVE, port) + bytes(4)

    def indication(self, port: int) -> bytes:
        return message(0x0011, self._named(port), self._key)

    def success(self, port: int) -> bytes:
        return message(0x0101, self._named(port), self._key)

    def error(self, port: int) -> bytes:
        return message(0x0111, self._named(port), self._key)

    def turn_allocate(self, port: int) -> bytes:
        return message(0x0003, self._named(port) + attribute(REQUESTED_TRANSPORT, b"\x11\0\0\0"), self._key)

    def dtls_hello(self, port: int) -> bytes:
        return b"\x16\xfe\xff" + bytes(8) + b"\0\x60\x01\0\0\x54" + bytes(4) + b"\0\x54\xfe\xfd" + bytes(82)

    def dns(self, port: int) -> bytes:
        return b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04meet\x07example\0\0\xff\0\x01"

    def _named(self, port: int) -> bytes:
        return attribute(USERNAME, self._session) + attribute(PRIORITY, struct.pack("!I", port))


KINDS: tuple[Callable[[Junk, int], bytes], ...] = tuple(
    value for name, value in vars(Junk).items() if not name.startswith("_")
)


def corpus(junk: Junk) -> bytes:
    """Each kind to each port, as the sender reads it."""
    found = bytearray()
    for kind, port in itertools.product(KINDS, PORTS):
        data = kind(junk, port)
        found += HEAD.pack(kind is Junk.from_elsewhere, port, len(data)) + data + bytes(len(data) % 2)
    return bytes(found)


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    source = tmp_path_factory.mktemp("sender") / "sender.c"
    shutil.copy(SENDER, source)
    subprocess.run(["gcc", "-O2", "-o", source.with_suffix(""), source], check=True)
    return source.with_suffix("")


@contextlib.contextmanager
def sending(net: Lab, sender: Path, junk: bytes) -> Iterator[Callable[[int], None]]:
    """A sender; call it with how many datagrams to send, and the server will have read most of them."""
    file = sender.with_name("junk")
    file.write_bytes(junk)
    argv: list[str | Path] = [sender, file, net.server.ipv4, net.client.ipv4, ELSEWHERE]
    with net.client.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin
        assert stdout

        def send(number: int) -> None:
            print(number, file=stdin, flush=True)
            assert stdout.readline() == "sent\n"
            until(lambda: waiting(net.server) < FEW_BYTES, "the server to read")

        yield send
        process.kill()


def dealt_with(host: Host) -> int:
    """The datagrams that were read, or were found wanting before; one that finds no room is among the errors too."""
    return host.snmp("InDatagrams") + host.snmp("InErrors")


def waiting(host: Host) -> int:
    """The bytes in the receive buffers of all UDP sockets."""
    table = Path("/proc", str(host.pids()[0]), "net/udp6").read_text(encoding="ascii")
    return sum(int(line.split()[4].partition(":")[2], 16) for line in table.splitlines()[1:])


def test_a_million_datagrams(net: Lab, archive: Path, sender: Path) -> None:
    net.client.also(ELSEWHERE)
    target = net.server.ipv4
    with server(net.server, archive, *UDP), held(net.client, target, [net.client.ipv4] * 2) as sessions:
        assert wrong(check(net.client, archive, target).report, plan=FEW) == []
        junk = corpus(Junk(sessions))
        sessions.end(OLD)
        net.server.rules("output", *ANSWERS)
        before, taken, missed = net.server.usage(), dealt_with(net.server), net.server.snmp("RcvbufErrors")
        begun = time.monotonic()
        with sending(net, sender, junk) as send:
            for _ in range(DATAGRAMS // BATCH):
                send(BATCH)
            until(lambda: not waiting(net.server), "the server to read all")
        seconds = time.monotonic() - begun
        after, answered = net.server.usage(), net.server.counted()
        taken, missed = dealt_with(net.server) - taken, net.server.snmp("RcvbufErrors") - missed
        print(f"{taken:,} datagrams of {len(KINDS)} kinds in {seconds:.1f} s, {taken / seconds:,.0f} a second; "
              f"{answered} answered; before: {before}, after: {after}")  # fmt: skip
        assert (answered, taken, missed) == (0, DATAGRAMS, 0)
        assert after.descriptors <= before.descriptors
        assert after.memory == pytest.approx(before.memory, rel=0.1)
        # What is counted is what is sent: the session's own probe is answered, from its own address.
        probe = sessions.probe(LIVE, 50000, of=PORTS[-1] + 1)
        answer = bytes.fromhex(net.client.must(sys.executable, ASK, target, "50000", probe.hex()))
        assert stun.is_answer(answer, probe[8:20], sessions.told[LIVE]["secret"].encode())
        assert net.server.counted() == 1
        assert wrong(check(net.client, archive, target).report, plan=FEW) == []
