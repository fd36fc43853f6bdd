"""Junk at the rate that a core can send, from a third address, makes a check slower, and no verdict wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, Sequence

import pytest

from tests.lab import SERVER, Host, Lab, check, lab, need, server, wrong

pytestmark = pytest.mark.alone

SMALL, UDP = "tcp 80,443,7881 udp 50000-51999", ("--udp", "50000-51999")
HOLE = "50500-51499"
# What the server may have more than before: a session's records, and the interpreter's own crumbs.
MORE_MEMORY, MORE_FILES = 16 * 1024, 600

# Sends as much as it can to ports in turn until it is ended, then says how many datagrams that were, and how many a
# second. They begin as STUN's requests do.
JUNK = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
enum { MANY = 64 };
static volatile sig_atomic_t ends;
static void end(int number) { (void)number; ends = 1; }
static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}
int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int first = atoi(argv[2]), last = atoi(argv[3]), port = first, opened = socket(AF_INET, SOCK_DGRAM, 0);
    char junk[100] = "\0\1\0\120\x21\x12\xa4\x42";
    struct iovec data = {junk, sizeof junk};
    struct sockaddr_in to[MANY];
    struct mmsghdr messages[MANY];
    memset(to, 0, sizeof to);
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < MANY; i++) {
        to[i].sin_family = AF_INET;
        inet_pton(AF_INET, argv[1], &to[i].sin_addr);
        messages[i].msg_hdr.msg_name = &to[i];
        messages[i].msg_hdr.msg_namelen = sizeof to[i];
        messages[i].msg_hdr.msg_iov = &data;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    signal(SIGTERM, end);
    puts("ready");
    fflush(stdout);
    double began = now();
    unsigned long sent = 0;
    while (!ends) {
        for (int i = 0; i < MANY; i++) {
            to[i].sin_port = htons(port);
            port = port < last ? port + 1 : first;
        }
        int taken = sendmmsg(opened, messages, MANY, 0);
        sent += taken > 0 ? taken : 0;
    }
    printf("%lu datagrams, %.0f a second\n", sent, sent / (now() - began));
}
"""

# Opens connections as fast as it can, and says nothing over them: of each port some hundred are open at a time. What a
# signal's handler raised would be lost where it comes while a socket is thrown away.
CONNECTS = """
import collections, signal, socket, sys, time
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
opened, begun, number = collections.deque(maxlen=900), time.monotonic(), 0
print("ready", flush=True)
while not over:
    for port in (80, 443, 7881):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((sys.argv[1], port))
        opened.append(one)
        number += 1
print(f"{number} connects, {number / (time.monotonic() - begun):.0f} a second")
"""


@pytest.fixture(scope="module")
def junk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    folder = tmp_path_factory.mktemp("junk")
    (folder / "junk.c").write_text(JUNK, encoding="ascii")
    subprocess.run(["gcc", "-O2", "-o", folder / "junk", folder / "junk.c"], check=True)
    return folder / "junk"


@pytest.fixture
def routed() -> Iterator[Lab]:
    with lab(routed=True) as made:
        yield made


def memory(pid: int) -> int:
    """What a process has in memory, in KiB."""
    (line,) = (one for one in Path(f"/proc/{pid}/status").read_text("ascii").splitlines() if one.startswith("VmRSS:"))
    return int(line.split()[1])


def files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def flooded(net: Lab, archive: Path, command: Sequence[str | Path]) -> None:
    """A check while the router runs a flood: nothing may be wrong, whatever could not be known."""
    sender = net.router
    assert isinstance(sender, Host)
    net.server.rules("input", f"udp dport {HOLE} drop")
    with server(net.server, archive, *UDP) as running:
        pid = running.process.pid
        before = memory(pid), files(pid)
        with sender.popen(command, stdout=subprocess.PIPE) as flood:
            assert flood.stdout
            try:
                assert flood.stdout.readline()
                begun = time.monotonic()
                seen = check(net.client, archive, net.server.ipv4)
                took = time.monotonic() - begun
                after = memory(pid), files(pid)
            finally:
                flood.terminate()
                said = flood.stdout.read().strip()
        summary = {kind: dict(one) for kind, one in seen.address["summary"].items()}
        print(f"{said}; a check took {took:.1f} s: {summary}; {before[0]} -> {after[0]} KiB, "
              f"{before[1]} -> {after[1]} files; {seen.address['notes']}")  # fmt: skip
    blocked = {f"udp {HOLE}": "filtered or unknown rate-limit"}
    assert wrong(seen.report, blocked, plan=SMALL, rest="open or unknown rate-limit") == []
    assert summary["udp"]["open"] > 500  # and not merely nothing wrong
    assert after[0] - before[0] < MORE_MEMORY
    assert after[1] - before[1] < MORE_FILES


@pytest.mark.parametrize("ports", ["50000-51999", "50000-50000"], ids=["all ports", "one port"])
def test_junk_at_full_rate(routed: Lab, archive: Path, junk: Path, ports: str) -> None:
    flooded(routed, archive, [junk, SERVER[0], *ports.split("-")])


def test_connects_at_full_rate(routed: Lab, archive: Path) -> None:
    flooded(routed, archive, [sys.executable, "-c", CONNECTS, SERVER[0]])
