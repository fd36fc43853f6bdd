"""Asks others about this server: LiveKit's STUN servers, the DNS, and the way to its own public address."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import Any, Iterable, Mapping, Sequence

from ..core.address import Address, Family, family_of, parse_address
from ..core.errors import DecodeError, UserError
from ..net import addresses
from ..net.addresses import resolve
from ..net.connect import Target
from ..net.request import Request, exchange
from ..preflight.model import OutsideAnswers
from ..protocol import stun
from .local_stun import plain_request

# LiveKit waits 5 s for each of its servers, and tries three times; who waits for a note here has less patience. Of
# three tries that far apart one gets through where a call could live.
DNS_SECONDS, TRIES, TRY_SECONDS = 2.0, 3, 0.7
"".encode("idna")  # the codec of names, which Python looks for when it is first used: as nobody it may not find it
MAX_SERVERS = 8  # LiveKit comes with three; whoever configures more than this is not helped by asking all


class HairpinProbe:
    """A packet that is sent to ourselves, in the shape of a probe, as its way may ask for; `came` says that it came."""

    def __init__(self, tag: str) -> None:
        about = stun.Request(f"{tag:0<16}", stun.make_transaction(0, os.urandom(stun.RANDOM_BYTES)), 0)
        self.packet = stun.encode_request(about, os.urandom(stun.TRANSACTION_BYTES))
        self.came = threading.Event()


def ask_outside(servers: Sequence[str], domains: Sequence[str], routes: Sequence[Family]) -> OutsideAnswers:
    """Ask STUN servers, each `name:port`, for our addresses, and the DNS for those of domains; this takes seconds."""
    servers = servers[:MAX_SERVERS]
    ends = [(server, *_split(server)) for server in servers]
    resolved = _resolved([*(host for _, host, port in ends if port), *domains])
    known = [(target, port) for _, host, port in ends if port for target in _first_of_each_family(resolved[host] or ())]
    return OutsideAnswers(
        tuple(routes), tuple(servers), tuple(server for server, host, port in ends if not port or not resolved[host]),
        _mapped([(target.family, target.at(port)) for target, port in known
                 if target.family in {addresses.FAMILIES[family] for family in routes}]) if servers else None,
        dns_records={name: _addresses(resolved[name]) for name in domains},
    )  # fmt: skip


def comes_back(to: Address, ports: Sequence[int], probe: HairpinProbe) -> bool:
    """Return whether the probe, sent to one of these ports of our own public address, comes back."""
    with socket.socket(addresses.FAMILIES[family_of(to)], socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        for _ in range(TRIES):
            for port in ports:
                with contextlib.suppress(OSError):  # this machine's own firewall refuses it
                    opened.sendto(probe.packet, (str(to), port))
            if probe.came.wait(TRY_SECONDS):
                return True
    return False


def _split(server: str) -> tuple[str, int]:
    """Return the name and the port, 0 where there is none: LiveKit takes none without."""
    host, _, port = server.rpartition(":")
    usable = bool(host) and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
    return host.strip("[]"), int(port) if usable else 0


def _resolved(names: Iterable[str]) -> Mapping[str, list[Target] | None]:
    """Return the addresses of names, None for those that have none or for which nobody answered in time."""
    found: dict[str, list[Target] | None] = dict.fromkeys(names)

    def look_up(name: str) -> None:
        with contextlib.suppress(UserError):
            found[name] = resolve(name, None)

    threads = [threading.Thread(target=look_up, args=(name,), daemon=True) for name in found]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + DNS_SECONDS
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    return dict(found)


def _first_of_each_family(targets: Iterable[Target]) -> Iterable[Target]:
    return {target.family: target for target in reversed(list(targets))}.values()


def _addresses(targets: list[Target] | None) -> tuple[Address, ...] | None:
    return None if targets is None else tuple(parse_address(target.text) for target in targets)


def _mapped(servers: Sequence[tuple[int, Any]]) -> dict[Family, Address]:
    """Return what the servers, the first ones rather than the others, say that our packets come from."""
    requests = {number: Request(family, there, plain_request())
                for number, (family, there) in enumerate(servers)}  # fmt: skip

    def read(number: int, opened: socket.socket) -> Address | None:
        with contextlib.suppress(DecodeError):
            message = stun.decode(opened.recv(stun.MAX_BYTES))
            if message.kind == stun.Kind.SUCCESS and message.transaction == requests[number].data[8:]:
                return stun.mapped_address(message)[0]
        return None

    def enough(answers: Mapping[int, Address]) -> bool:
        return {servers[number][0] for number in answers} == {family for family, _ in servers}

    answers: dict[int, Address] = exchange(requests, read, TRY_SECONDS, TRIES, enough=enough)
    return {family_of(answers[number]): answers[number] for number in sorted(answers, reverse=True)}
