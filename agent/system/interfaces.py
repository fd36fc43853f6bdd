"""The addresses of this machine's interfaces, as Linux tells them in /proc/net (proc_net(5)); none elsewhere."""

from __future__ import annotations

import ipaddress
import re
from typing import Iterator

from .files import read_text

_IPV4, _IPV6 = "/proc/net/fib_trie", "/proc/net/if_inet6"
# fib_trie has about 60 bytes a route; a router with many more would have its own addresses out of reach at the end.
MAX_TEXT = 4 * 1024 * 1024
MAX_FOUND = 64  # as many as a report holds

_LEAF = re.compile(r"\|-- ([0-9.]{7,15})$")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{32}")


def read_interfaces(ipv4: str = _IPV4, ipv6: str = _IPV6) -> tuple[str, ...]:
    """The addresses that others can send to, as far as the kernel tells; no loopback and none of one link alone."""
    found = [*parse_fib_trie(_read(ipv4)), *parse_if_inet6(_read(ipv6))]
    return tuple(dict.fromkeys(found))[:MAX_FOUND]


def parse_fib_trie(text: str) -> Iterator[str]:
    """The IPv4 addresses: a leaf `|-- 192.0.2.1` with `/32 host LOCAL` beneath it."""
    leaf = None
    for line in text.splitlines():
        match = _LEAF.search(line)
        if match:
            leaf = match.group(1)
        elif leaf and "/32 host LOCAL" in line:
            yield from _usable(leaf)
            leaf = None


def parse_if_inet6(text: str) -> Iterator[str]:
    """The IPv6 addresses: each line begins with one, in 32 hexadecimal digits."""
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
    """The text of a file; nothing of one that is too long to tell all."""
    text = read_text(path, MAX_TEXT + 1)
    return text if len(text) <= MAX_TEXT else ""
