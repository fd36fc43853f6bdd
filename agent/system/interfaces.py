"""Read the network interfaces: as `ip` lists them (ip-address(8)), and their addresses in /proc/net (proc_net(5))."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Iterator

from ..core.address import Address
from .commands import run_tool
from .files import read_text

_IPV4, _IPV6 = "/proc/net/fib_trie", "/proc/net/if_inet6"
# fib_trie has about 60 bytes a route; a router with many more would have its own addresses out of reach at the end.
MAX_TEXT = 4 * 1024 * 1024
MAX_ADDRESSES = 64  # as many as a report holds

_LEAF = re.compile(r"\|-- ([0-9.]{7,15})$")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{32}")


@dataclass(frozen=True)
class Interface:
    """An interface that is up, its addresses that other machines can send to, and whether it has an XDP program."""

    name: str
    addresses: tuple[Address, ...]
    xdp: bool = False


def read_interfaces() -> tuple[tuple[Interface, ...] | None, str]:
    """Return the interfaces; None where `ip` does not list them, with the reason where there is one."""
    listed = run_tool("ip", "-j", "address", "show", "up")
    return parse_interfaces(listed.output or ""), listed.error


def parse_interfaces(text: str) -> tuple[Interface, ...] | None:
    """Return the interfaces in the output of `ip -j address show up`; None where it is no such list."""
    try:
        return tuple(Interface(str(link["ifname"]), tuple(_addresses(link["addr_info"])), bool(link.get("xdp")))
                     for link in json.loads(text) if link)  # fmt: skip
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _addresses(listed: list[dict[str, str]]) -> Iterator[Address]:
    for item in listed:
        address = ipaddress.ip_address(item["local"]) if "local" in item else None
        if address and not address.is_loopback and not address.is_link_local:
            yield address


def read_addresses(ipv4: str = _IPV4, ipv6: str = _IPV6) -> tuple[str, ...]:
    """Return the addresses that other machines can send to, at most 64, without a tool; none elsewhere than on Linux.

    Loopback is left out, and so are IPv6 addresses of one link.
    """
    addresses = (*parse_fib_trie(_read(ipv4)), *parse_if_inet6(_read(ipv6)))
    return tuple(dict.fromkeys(addresses))[:MAX_ADDRESSES]


def parse_fib_trie(text: str) -> Iterator[str]:
    """Yield the IPv4 addresses: a leaf `|-- 192.0.2.1` with `/32 host LOCAL` beneath it."""
    leaf = None
    for line in text.splitlines():
        match = _LEAF.search(line)
        if match:
            leaf = match.group(1)
        elif leaf and "/32 host LOCAL" in line:
            yield from _usable(leaf)
            leaf = None


def parse_if_inet6(text: str) -> Iterator[str]:
    """Yield the IPv6 addresses: each line begins with one, in 32 hexadecimal digits."""
    for line in text.splitlines():
        word = line.partition(" ")[0]
        if _HEXADECIMAL.fullmatch(word):
            yield from _usable(":".join(word[at : at + 4] for at in range(0, 32, 4)))


def _usable(text: str) -> Iterator[str]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return
    if not address.is_loopback and not (address.version == 6 and address.is_link_local):
        yield str(address)


def _read(path: str) -> str:
    """Return the text of a file; nothing of one that is too long to hold all."""
    text = read_text(path, MAX_TEXT + 1)
    return text if len(text) <= MAX_TEXT else ""
