"""What the server asks others about itself: LiveKit's STUN servers, the DNS, and the way to its own public address."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from typing import Any, Iterable, Iterator, Mapping, Sequence

from ..core.address import Address, Family, family_of, parse_address
from ..core.errors import DecodeError, UserError
from ..net import addresses
from ..net.connect import Target
from ..net.resolve import resolve
from ..preflight.model import OutsideAnswers
from ..protocol import stun

# LiveKit waits 5 s for each of its servers, and tries three times; who waits for a note here has less patience. Of
# three tries that far apart one gets through where a call could live.
DNS_SECONDS, TRIES, TRY_SECONDS = 2.0, 3, 0.7
"".encode("idna")  # the codec of names, which Python looks for when it is first used: as nobody it may not find it
MAX_SERVERS = 8  # LiveKit comes with three; whoever configures more than this is not helped by asking all


def ask_outside(servers: Sequence[str], domains: Sequence[str], routes: Sequence[Family]) -> OutsideAnswers:
    """Ask STUN servers, each `name:port`, for our addresses, and the DNS for those of domains; takes seconds."""
    servers = servers[:MAX_SERVERS]
    ends = [(server, *_split(server)) for server in servers]
    found = _resolved([*(host for _, host, port in ends if port), *domains])
    known = [(target, port) for _, host, port in ends if port for target in _first_of_each_family(found[host] or ())]
    return OutsideAnswers(
        tuple(routes), tuple(servers), tuple(server for server, host, port in ends if not port or not found[host]),
        _mapped([(target.family, target.at(port)) for target, port in known
                 if target.family in {addresses.FAMILIES[family] for family in routes}]) if servers else None,
        dns_records={name: _addresses(found[name]) for name in domains},
    )  # fmt: skip


def comes_back(to: Address, ports: Iterable[int], packet: bytes, came: threading.Event) -> bool:
    """Whether a packet to one of these ports of our own public address comes back, which sets `came`."""
    there = tuple(ports)
    with _open(socket.AF_INET if to.version == 4 else socket.AF_INET6) as opened:
        for _ in range(TRIES):
            for port in there:
                with contextlib.suppress(OSError):  # this machine's own firewall refuses it
                    opened.sendto(packet, (str(to), port))
            if came.wait(TRY_SECONDS):
                return True
    return False


def _split(server: str) -> tuple[str, int]:
    """The name and the port, 0 where there is none: LiveKit takes none without."""
    host, _, port = server.rpartition(":")
    usable = bool(host) and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
    return host.strip("[]"), int(port) if usable else 0


def _resolved(names: Iterable[str]) -> Mapping[str, list[Target] | None]:
    """The addresses of names, None for those that have none or for which nobody answered in time."""
    found: dict[str, list[Target] | None] = dict.fromkeys(names)

    def look_up(name: str) -> None:
        with contextlib.suppress(UserError):
            found[name] = resolve(name, None)

    threads = [threading.Thread(target=look_up, args=(name,), daemon=True) for name in found]
    for one in threads:
        one.start()
    ends = time.monotonic() + DNS_SECONDS
    for one in threads:
        one.join(max(0.0, ends - time.monotonic()))
    return dict(found)


def _first_of_each_family(targets: Iterable[Target]) -> Iterable[Target]:
    return {target.family: target for target in reversed(list(targets))}.values()


def _addresses(targets: list[Target] | None) -> tuple[Address, ...] | None:
    return None if targets is None else tuple(parse_address(one.text) for one in targets)


def _open(family: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.setblocking(False)
    return opened


def _mapped(servers: Sequence[tuple[int, Any]]) -> dict[Family, Address]:
    """What the servers, the first ones rather than the others, say that our packets come from."""
    asked = {os.urandom(stun.TRANSACTION_BYTES): number for number in range(len(servers))}
    heard: dict[int, Address] = {}
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        sockets = {family: stack.enter_context(_open(family)) for family in {family for family, _ in servers}}
        for one in sockets.values():
            selector.register(one, selectors.EVENT_READ)
        for _ in range(TRIES):
            for transaction, number in asked.items():
                family, there = servers[number]
                request = stun.HEADER.pack(stun.Kind.REQUEST, 0, stun.MAGIC_COOKIE, transaction)
                with contextlib.suppress(OSError):
                    if number not in heard:
                        sockets[family].sendto(request, there)
            ends = time.monotonic() + TRY_SECONDS
            while len(heard) < len(servers) and time.monotonic() < ends:
                for key, _ in selector.select(max(0.0, ends - time.monotonic())):
                    heard.update(_heard(key.fileobj, asked))
            if {servers[number][0] for number in heard} == {*sockets}:
                break
    return {family_of(heard[number]): heard[number] for number in sorted(heard, reverse=True)}


def _heard(opened: Any, asked: Mapping[bytes, int]) -> Iterator[tuple[int, Address]]:
    """What an answer says, if it is one."""
    with contextlib.suppress(OSError, DecodeError):
        message = stun.decode(opened.recv(stun.MAX_BYTES))
        if message.kind == stun.Kind.SUCCESS and message.transaction in asked:
            yield asked[message.transaction], stun.mapped_address(message)[0]
