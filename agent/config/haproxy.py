"""Read where haproxy listens, and to which ports it leads (its manual configuration.txt, 2.2, 4 and 11)."""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from dataclasses import dataclass
from typing import Iterator, Sequence

from ..core.ports import HIGHEST, LOWEST, PortRange
from .document import refuse
from .flat_yaml import UNFINISHED

# Each is followed to its servers. An installation has four.
MAX_BINDS = 500

# Those in which a word of _STATEMENTS may be.
_SECTIONS = frozenset((
    "backend", "crt-store", "defaults", "fcgi-app", "frontend", "global", "listen", "log-forward", "peers", "ring",
))  # fmt: skip
_BACKENDS = ("use_backend", "default_backend")
_STATEMENTS = frozenset(("bind", "crt-base", "server", *_BACKENDS))
_TCP = re.compile(r"(?:(?:ipv|tcp)[46]?@)?([\w.:*%\[\]-]*):([0-9]{1,5})(?:-([0-9]{1,5}))?")
_NO_TCP = re.compile(r"/|(?!ipv|tcp)\w+@")  # of what is no _TCP
_LOOPBACK = re.compile(r"127\.|\[?::1\]?$|localhost$")
_SERVER = re.compile(r"[\w.:\[\]-]{1,255}:([0-9]{1,5})")


@dataclass(frozen=True)
class Bind:
    """TCP ports that haproxy listens on for other machines."""

    ports: PortRange
    line: int
    ssl: bool
    certificates: tuple[str, ...]  # files, or directories of files
    backend_ports: frozenset[int]  # of its servers, and of those of another bind that it leads to
    ipv6: bool = False  # whether it accepts IPv6


class _Section:
    def __init__(self, words: Sequence[str]) -> None:
        self.name = words[1] if len(words) > 1 and words[0] in ("backend", "listen") else ""
        self.statements: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)

    def first(self, *keywords: str) -> list[str]:
        """Return the first word after each of some keywords."""
        return [words[0] for keyword in keywords for _, words in self.statements[keyword]]

    @property
    def servers(self) -> list[str]:
        """Return the HOST:PORT of each."""
        addresses = (words[1] for _, words in self.statements["server"] if len(words) > 1)
        return [address for address in addresses if _SERVER.fullmatch(address)]


def parse_haproxy(text: str, file: str) -> tuple[Bind, ...]:
    """Return where haproxy listens for other machines. UserError where that is not understood."""
    if not text.endswith("\n"):  # haproxy does not start then
        refuse(file, text.count("\n") + 1, UNFINISHED)
    sections = [_Section([])]
    base = ""
    for number, line in enumerate(text.split("\n"), 1):
        keyword = next(iter(line.split(None, 1)), "")
        if keyword[:1] == ".":
            refuse(file, number, "a condition, which only haproxy can evaluate")
        if keyword not in _SECTIONS and keyword not in _STATEMENTS:
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            refuse(file, number, "an unclosed quote, or a backslash at its end")
        if keyword in _SECTIONS:
            sections.append(_Section(words))
        elif len(words) < 2:
            refuse(file, number, f"nothing after {keyword}")
        elif keyword == "crt-base":
            base = words[1]
        else:
            sections[-1].statements[keyword].append((number, words[1:]))
    return tuple(_binds(sections, base, file))


def _binds(sections: Sequence[_Section], base: str, file: str) -> Iterator[Bind]:
    listening = [(section, number, words, ports, public, ipv6) for section in sections
                 for number, words in section.statements["bind"]
                 for ports, public, ipv6 in _addresses(words[0], file, number)]  # fmt: skip
    if len(listening) > MAX_BINDS:
        refuse(file, listening[MAX_BINDS][1], f"more than {MAX_BINDS} addresses to listen on")
    named = {section.name: section for section in sections if section.name}
    by_port = [(ports, section) for section, _, _, ports, *_ in listening]
    for section, number, words, ports, public, ipv6 in listening:
        if public and "accept-proxy" not in words:  # only another proxy can connect there
            certificates = [os.path.join(base, path) for name, path in zip(words, words[1:]) if name == "crt"]
            yield Bind(
                ports, number, "ssl" in words, tuple(certificates), _backend_ports(section, named, by_port), ipv6
            )


def _addresses(text: str, file: str, number: int) -> Iterator[tuple[PortRange, bool, bool]]:
    """Yield the TCP ports of a bind line, whether other machines can connect to them, and whether IPv6 can."""
    for address in text.split(","):
        match = _TCP.fullmatch(address)
        if not match and _NO_TCP.match(address):
            continue
        first, last = (int(match.group(2)), int(match.group(3) or match.group(2))) if match else (0, 0)
        if not match or not LOWEST <= first <= last <= HIGHEST:
            refuse(file, number, "an address to listen on that is not understood")
        ipv6 = ":" in match.group(1) or address.startswith(("ipv6@", "tcp6@"))  # `:80` and `*:80` are of IPv4 alone
        yield PortRange(first, last), not _LOOPBACK.match(match.group(1)), ipv6


def _backend_ports(
    start: _Section, named: dict[str, _Section], by_port: Sequence[tuple[PortRange, _Section]]
) -> frozenset[int]:
    """Return the ports of all servers that a section leads to, those behind other sections included."""
    ports: set[int] = set()
    visited: set[_Section] = set()
    waiting = [start]
    while waiting:
        section = waiting.pop()
        if section not in visited:
            visited.add(section)
            new = {int(address.rpartition(":")[2]) for address in section.servers} - ports
            ports |= new
            waiting += [named[name] for name in section.first(*_BACKENDS) if name in named]
            waiting += [other for bound, other in by_port if any(port in bound for port in new)]
    return frozenset(ports)
