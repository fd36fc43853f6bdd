"""Where haproxy listens, and what stands behind it, by its configuration (configuration.txt, 2.2, 4 and 11)."""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from dataclasses import dataclass
from typing import Iterator, Sequence

from ..core.ports import HIGHEST, LOWEST, PortRange
from .flat_yaml import UNFINISHED, refuse

# Each is followed to where it leads. An installation has four.
MAX_BINDS = 500

# Those in which a word of _STATEMENTS may stand.
_SECTIONS = frozenset((
    "backend", "crt-store", "defaults", "fcgi-app", "frontend", "global", "listen", "log-forward", "peers", "ring",
))  # fmt: skip
_BACKENDS = ("use_backend", "default_backend")
_STATEMENTS = frozenset(("acl", "bind", "crt-base", "server", *_BACKENDS))
_TCP = re.compile(r"(?:(?:ipv|tcp)[46]?@)?([\w.:*%\[\]-]*):([0-9]{1,5})(?:-([0-9]{1,5}))?")
_NO_TCP = re.compile(r"/|(?!ipv|tcp)\w+@")  # of what is no _TCP
_LOOPBACK = re.compile(r"127\.|\[?::1\]?$|localhost$")
_SERVER = re.compile(r"[\w.:\[\]-]{1,255}:([0-9]{1,5})")
_CHALLENGE = "acme-challenge"  # part of the path of an HTTP-01 request (RFC 8555, section 8.3)


@dataclass(frozen=True)
class Bind:
    """TCP ports that haproxy listens on for others than this machine."""

    ports: PortRange
    line: int
    ssl: bool
    certificates: tuple[str, ...]  # files, or directories of files
    leads_to: frozenset[int]  # the ports of the servers behind it, and of those behind another bind that it leads to
    ipv6: bool = False  # whether IPv6 comes in there


@dataclass(frozen=True)
class Haproxy:
    """Where users come in, and HOST:PORT that HTTP-01 requests are handed to, if they are."""

    binds: tuple[Bind, ...]
    acme: str | None


class _Section:
    def __init__(self, words: Sequence[str]) -> None:
        self.name = words[1] if len(words) > 1 and words[0] in ("backend", "listen") else ""
        self.statements: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)

    def first(self, *keywords: str) -> list[str]:
        """The first words behind some keywords."""
        return [words[0] for keyword in keywords for _, words in self.statements[keyword]]

    @property
    def servers(self) -> list[str]:
        """HOST:PORT of each."""
        found = (words[1] for _, words in self.statements["server"] if len(words) > 1)
        return [one for one in found if _SERVER.fullmatch(one)]


def parse_haproxy(text: str, file: str) -> Haproxy:
    """Read haproxy's configuration. UserError where it is not understood where haproxy listens."""
    if not text.endswith("\n"):  # haproxy does not start then
        refuse(file, text.count("\n") + 1, UNFINISHED)
    sections = [_Section([])]
    base = ""
    for number, line in enumerate(text.split("\n"), 1):
        keyword = next(iter(line.split(None, 1)), "")
        if keyword[:1] == ".":
            refuse(file, number, "a condition")
        if keyword not in _SECTIONS and keyword not in _STATEMENTS:
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            refuse(file, number, "a quote or a backslash at its end")
        if keyword in _SECTIONS:
            sections.append(_Section(words))
        elif len(words) < 2:
            refuse(file, number, f"nothing behind {keyword}")
        elif keyword == "crt-base":
            base = words[1]
        else:
            sections[-1].statements[keyword].append((number, words[1:]))
    return Haproxy(tuple(_binds(sections, base, file)), _acme(sections))


def _binds(sections: Sequence[_Section], base: str, file: str) -> Iterator[Bind]:
    listening = [(section, number, words, ports, public, ipv6) for section in sections
                 for number, words in section.statements["bind"]
                 for ports, public, ipv6 in _addresses(words[0], file, number)]  # fmt: skip
    if len(listening) > MAX_BINDS:
        refuse(file, listening[MAX_BINDS][1], f"more than {MAX_BINDS} addresses to listen on")
    named = {section.name: section for section in sections if section.name}
    by_port = [(ports, section) for section, _, _, ports, *_ in listening]
    for section, number, words, ports, public, ipv6 in listening:
        if public and "accept-proxy" not in words:  # only another proxy can come in there
            certificates = [os.path.join(base, path) for name, path in zip(words, words[1:]) if name == "crt"]
            yield Bind(ports, number, "ssl" in words, tuple(certificates), _leads_to(section, named, by_port), ipv6)


def _addresses(text: str, file: str, number: int) -> Iterator[tuple[PortRange, bool, bool]]:
    """The TCP ports of a bind line, whether others than this machine can come in there, and whether IPv6 can."""
    for address in text.split(","):
        match = _TCP.fullmatch(address)
        if not match and _NO_TCP.match(address):
            continue
        first, last = (int(match.group(2)), int(match.group(3) or match.group(2))) if match else (0, 0)
        if not match or not LOWEST <= first <= last <= HIGHEST:
            refuse(file, number, "an address to listen on that is not understood")
        ipv6 = ":" in match.group(1) or address.startswith(("ipv6@", "tcp6@"))  # `:80` and `*:80` are of IPv4 alone
        yield PortRange(first, last), not _LOOPBACK.match(match.group(1)), ipv6


def _leads_to(
    start: _Section, named: dict[str, _Section], by_port: Sequence[tuple[PortRange, _Section]]
) -> frozenset[int]:
    found: set[int] = set()
    seen, ahead = {id(start)}, [start]
    while ahead:
        section = ahead.pop()
        ports = {int(one.rpartition(":")[2]) for one in section.servers}
        following = [named[name] for name in section.first(*_BACKENDS) if name in named]
        following += [other for run, other in by_port if any(port in run for port in ports - found)]
        found |= ports
        ahead += [other for other in {id(one): one for one in following}.values() if id(other) not in seen]
        seen.update(map(id, ahead))
    return frozenset(found)


def _acme(sections: Sequence[_Section]) -> str | None:
    """The server behind the rule that minds the path of HTTP-01 requests."""
    named = {section.name: section for section in sections}
    for section in sections:
        about = {_CHALLENGE, *(words[0] for _, words in section.statements["acl"] if _CHALLENGE in " ".join(words))}
        for _, (name, *condition) in section.statements["use_backend"]:
            if (
                name in named
                and "!" not in condition
                and any(word in about or _CHALLENGE in word for word in condition)
            ):
                return next(iter(named[name].servers), None)
    return None
