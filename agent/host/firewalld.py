"""firewalld, as `firewall-cmd` tells (firewall-cmd(1)): the zones that are in force, and what they let in."""

from __future__ import annotations

import re

from ..model.firewall import Zone
from ..model.plan import Transport
from ..model.ports import PortRange
from .tools import ask

MAX_ZONES = 8  # each is asked for on its own, in half a second; few hosts have more than two in force
MAX_ITEMS = 10_000  # ports or interfaces of a zone

# What it says where the daemon does not run, and where the bus does not, on which it would be asked.
_NOT_THERE = ("not running", "Failed to connect to socket")

_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?/(tcp|udp)")


def parse_active(text: str) -> tuple[str, ...]:
    """The names of the zones that `--get-active-zones` lists: lines that are not indented, `public (default)` too."""
    lines = (line for line in text.splitlines() if line[:1].strip())
    return tuple(line.split()[0] for line in lines)


def parse_zone(name: str, text: str, default: bool = False) -> Zone:
    """A zone as `--list-all` prints it; what is no port of TCP or UDP is left out."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, colon, rest = line.strip().partition(":")
        if colon and line.startswith("  "):  # rich rules stand behind a tab
            fields.setdefault(key, rest.split()[:MAX_ITEMS])
    ports = filter(None, map(_port, fields.get("ports", ())))
    return Zone(name, tuple(fields.get("interfaces", ())), tuple(ports), default)


def _port(word: str) -> tuple[Transport, PortRange] | None:
    match = _PORT.fullmatch(word)
    if match is None:
        return None
    first, last, transport = match.groups()
    try:
        return Transport(transport), PortRange(int(first), int(last or first))
    except ValueError:
        return None


def read_firewalld() -> tuple[tuple[Zone, ...], str]:
    """The zones in force, the default zone first; none where it does not run. And why they could not be read, if so."""
    told = ask("firewall-cmd", "--get-active-zones")
    if told.text is None:
        return (), "" if told.missing or any(words in told.trouble for words in _NOT_THERE) else told.trouble
    default = (ask("firewall-cmd", "--get-default-zone").text or "").strip()
    zones: list[Zone] = []
    for name in list(dict.fromkeys(filter(None, (default, *parse_active(told.text)))))[:MAX_ZONES]:
        listed = ask("firewall-cmd", "--list-all", f"--zone={name}")
        if listed.text is None:
            return tuple(zones), listed.trouble
        zones.append(parse_zone(name, listed.text, name == default))
    return tuple(zones), ""
