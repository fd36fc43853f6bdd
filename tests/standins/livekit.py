"""Holds the ports that LiveKit holds on a plugNmeet server, and treats who comes as LiveKit does. It carries no calls.

    livekit.py [--media 50000-60000] [--calls 50] [--rate 100] [--turn 443] [--no-web]

7881/tcp  the first frame of a connection (RFC 4571) must be a STUN Binding Request with a USERNAME: else it is closed
          at once; with one it stays open, and is not answered, since no call has that name
media     a call takes one UDP socket on each address of the machine, on the first free port from a random one upwards;
          calls come and go all the time, so many a second, so many of them at once
443/udp   answers STUN Binding Requests, IPv4 only, as its TURN server does; 5349/tcp is what haproxy hands TURN/TLS to
7880/tcp  the API: / is OK, /rtc needs a WebSocket and a token, /counts tells what befell the calls, as JSON;
8080/tcp  the web application, which is plugNmeet's own

It says one line when all is held, and ends by SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import itertools
import json
import random
import selectors
import signal
import socket
import struct
import subprocess
import time
from typing import Callable, Iterator

COOKIE = 0x2112A442
REQUEST, SUCCESS = 0x0001, 0x0101
USERNAME, XOR_MAPPED_ADDRESS = 0x0006, 0x0020


def attributes(message: bytes) -> dict[int, bytes] | None:
    """The attributes of a STUN Binding Request; None for anything else."""
    if len(message) < 20:
        return None
    kind, length, cookie = struct.unpack_from("!HHI", message)
    if (kind, length, cookie) != (REQUEST, len(message) - 20, COOKIE):
        return None
    found, at = {}, 20
    while at + 4 <= len(message):
        attribute, size = struct.unpack_from("!HH", message, at)
        found[attribute] = message[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return found


def answer(message: bytes, ipv4: str, port: int) -> bytes:
    """What a TURN server says to a Binding Request: where it came from (RFC 8489, section 14.2)."""
    host = struct.unpack("!I", socket.inet_aton(ipv4))[0] ^ COOKIE
    body = struct.pack("!HHBBHI", XOR_MAPPED_ADDRESS, 8, 0, 1, port ^ COOKIE >> 16, host)
    return struct.pack("!HHI", SUCCESS, len(body), COOKIE) + message[8:20] + body


def http(request: bytes, counts: dict[str, int]) -> bytes:
    """The API's answer to a whole request."""
    first, *lines = request.decode("latin-1").split("\r\n")
    path = [*first.split(), "", ""][1].partition("?")[0]
    headers = {
        name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in lines)
    }
    status, body = "404 Not Found", "404 page not found\n"
    if path == "/":
        status, body = "200 OK", "OK"
    elif path == "/counts":
        status, body = "200 OK", json.dumps(counts)
    elif path == "/rtc" and headers.get("upgrade") == "websocket" and "upgrade" in headers.get("connection", ""):
        status, body = "401 Unauthorized", "no permissions to access the room\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n{body}".encode("latin-1")


def addresses() -> list[str]:
    """The machine's addresses that calls are offered: all but loopback and link-local ones."""
    listed = json.loads(subprocess.run(["ip", "-j", "address"], capture_output=True, check=True).stdout)
    return [one["local"] for link in listed for one in link.get("addr_info", ()) if one["scope"] == "global"]


class Calls:
    """Media sockets that are taken and given back."""

    def __init__(self, first: int, last: int, at_once: int) -> None:
        self._first, self._last, self._at_once = first, last, at_once
        self._addresses = addresses()
        self._held: list[list[socket.socket]] = []
        # `taken` while somebody else had the port (the next one was tried), `failed` where none was free.
        self.counts = {"calls": 0, "taken": 0, "failed": 0}

    def one_more(self) -> None:
        """A call comes; another one ends where there are enough."""
        if len(self._held) >= self._at_once:
            for one in self._held.pop(random.randrange(len(self._held))):
                one.close()
        self.counts["calls"] += 1
        self._held.append([one for one in map(self._socket, self._addresses) if one])

    def _socket(self, address: str) -> socket.socket | None:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        start = random.randint(self._first, self._last)
        for port in itertools.chain(range(start, self._last + 1), range(self._first, start)):
            try:
                made.bind((address, port))
                return made
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                self.counts["taken"] += 1
        self.counts["failed"] += 1
        made.close()
        return None


def listen(port: int, family: socket.AddressFamily = socket.AF_INET6) -> socket.socket:
    """A TCP listener, for both families at once, or IPv4 alone."""
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind(("", port))
    made.listen(128)
    return made


# What is done with a connection: it goes on whenever something has come, and when it is over, the connection is too.
ServerConnection = Iterator[None]


def ice(taken: socket.socket) -> ServerConnection:
    """7881: the first frame decides."""
    came = b""
    while len(came) < 2 or len(came) < 2 + int.from_bytes(came[:2], "big"):
        yield
        more = taken.recv(2048)
        if not more:
            return
        came += more
    found = attributes(came[2 : 2 + int.from_bytes(came[:2], "big")])
    if found is None or USERNAME not in found:
        return
    while True:
        yield
        if not taken.recv(2048):
            return


def web(counts: dict[str, int]) -> Callable[[socket.socket], ServerConnection]:
    """7880, 8080: one request a connection."""

    def talk(taken: socket.socket) -> ServerConnection:
        came = b""
        while b"\r\n\r\n" not in came:
            yield
            more = taken.recv(2048)
            if not more or len(came) > 65536:
                return
            came += more
        taken.sendall(http(came, counts))

    return talk


def main() -> None:
    """Hold it all until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--media", default="50000-60000")
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--turn", type=int, default=443)
    parser.add_argument("--no-web", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    first, _, last = arguments.media.partition("-")
    calls = Calls(int(first), int(last), arguments.calls)
    with contextlib.suppress(KeyboardInterrupt):
        serve(calls, arguments)


def serve(calls: Calls, arguments: argparse.Namespace) -> None:
    """One loop for all of it."""
    loop = selectors.DefaultSelector()
    talks = {7881: ice, 5349: ice, 7880: web(calls.counts)}
    if not arguments.no_web:
        talks[8080] = web({})
    for port, talk in talks.items():
        family = socket.AF_INET if port == 5349 else socket.AF_INET6
        loop.register(listen(port, family), selectors.EVENT_READ, talk)
    turn = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    turn.bind(("0.0.0.0", arguments.turn))
    loop.register(turn, selectors.EVENT_READ, None)
    talking: dict[socket.socket, ServerConnection] = {}
    print("ready", flush=True)
    due = time.monotonic()
    while True:
        if arguments.calls and time.monotonic() >= due:
            calls.one_more()
            due += 1 / arguments.rate
        for key, _ in loop.select(max(0.0, due - time.monotonic()) if arguments.calls else None):
            assert isinstance(key.fileobj, socket.socket)
            if key.fileobj is turn:
                message, source = turn.recvfrom(2048)
                if attributes(message) is not None:
                    turn.sendto(answer(message, *source), source)
            elif key.data:
                taken = key.fileobj.accept()[0]
                loop.register(taken, selectors.EVENT_READ, None)
                talking[taken] = key.data(taken)
                next(talking[taken])
            else:
                try:
                    next(talking[key.fileobj])
                except (StopIteration, OSError):
                    loop.unregister(key.fileobj)
                    del talking[key.fileobj]
                    key.fileobj.close()


if __name__ == "__main__":
    main()
