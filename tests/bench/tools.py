"""The programs that are compared: how each is told what to do, and how its verdict is read from what it says."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import AbstractSet, Callable, NamedTuple

import build

NOBODY: AbstractSet[int] = frozenset()


class Verdict(NamedTuple):
    """The UDP ports that a program calls open, and those of which it says that it does not know."""

    open: AbstractSet[int]
    unknown: AbstractSet[int] = NOBODY


class Errand(NamedTuple):
    """What to check."""

    address: str
    ports: str

    @property
    def range(self) -> range:
        """The ports."""
        first, _, last = self.ports.partition("-")
        return range(int(first), int(last or first) + 1)


@dataclass(frozen=True)
class Tool:
    """One program. `statuses` are those with which it ends where all went well."""

    name: str
    title: str
    command: Callable[[Errand], list[str]]
    read: Callable[[str], Verdict]
    program: str = ""  # to be found in PATH; none where it is ours
    statuses: tuple[int, ...] = (0,)

    @property
    def ours(self) -> bool:
        """Whether its other side is our server; the others need an echo behind every port."""
        return not self.program


def pnmcheck(errand: Errand) -> list[str]:
    return [sys.executable, str(build.target()), "client", errand.address, "--json"]


def nmap(*options: str) -> Callable[[Errand], list[str]]:
    """No name, no ping and no ARP first: they are not what is measured."""
    return lambda errand: [
        *("nmap", "-sU", "-T4", *options, "-Pn", "-n", "--disable-arp-ping"),
        *("-p", errand.ports, "-oG", "-", errand.address),
    ]


def masscan(errand: Errand) -> list[str]:
    """It waits 10 s for answers if not told otherwise; the longest round trip here is 0.1 s."""
    return ["masscan", errand.address, "-p", f"U:{errand.ports}", "--rate", "10000", "--wait", "1", "-oL", "-"]


def nping(errand: Errand) -> list[str]:
    return ["nping", "--udp", "-p", errand.ports, "--rate", "20000", "-c", "1", "-H", errand.address]


def read_pnmcheck(text: str) -> Verdict:
    """From `client --json`."""
    report = json.loads(text)
    if report["error"]:
        raise ValueError(report["error"]["message"])
    states: dict[str, set[int]] = {"open": set(), "unknown": set()}
    for address in report["addresses"]:
        for one in address["findings"]:
            if one["transport"] == "udp" and one["state"] in states:
                states[one["state"]].update(range(one["first"], one["last"] + 1))
    return Verdict(states["open"], states["unknown"])


def read_nmap(text: str) -> Verdict:
    """From `-oG -`. What is `open|filtered` is not open."""
    return Verdict(_numbers(r"\b(\d+)/open/udp/", text))


def read_masscan(text: str) -> Verdict:
    """From `-oL -`."""
    return Verdict(_numbers(r"(?m)^open udp (\d+) ", text))


def read_nping(text: str) -> Verdict:
    """From its log of packets. An ICMP error is an answer too, but not that of an open port."""
    return Verdict(_numbers(r"(?m)^RCVD \(\S+\) UDP \S+:(\d+) > ", text))


def _numbers(pattern: str, text: str) -> AbstractSet[int]:
    return frozenset(map(int, re.findall(pattern, text)))


TOOLS = (
    Tool("nmap", "nmap -T4", nmap(), read_nmap, "nmap"),
    Tool("nmap-fast", "nmap -T4, 20,000/s, 2 retries", nmap("--min-rate", "20000", "--max-retries", "2"),
         read_nmap, "nmap"),
    Tool("masscan", "masscan, 10,000/s", masscan, read_masscan, "masscan"),
    Tool("nping", "nping, 20,000/s", nping, read_nping, "nping"),
    Tool("pnmcheck", "**pnmcheck**", pnmcheck, read_pnmcheck, statuses=(0, 1, 3)),
)  # fmt: skip
