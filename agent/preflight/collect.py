"""What this machine tells of itself that calls may suffer by, as Linux and its tools tell it."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
import time
from typing import Iterable, Iterator

from ..core.errors import UsageError
from ..core.notes import Certificate, Interface, Machine
from ..core.ports import LOWEST, PortRange, parse_ports
from ..packet import x509
from ..protocol.pairing import fingerprint
from ..system import counters
from ..system.commands import ask
from ..system.files import read_text

_SYSCTL = "/proc/sys/net/"
MAX_SETTING = 64 * 1024  # characters; who reserves every second port has more, and is told that it was not found out
# Files of one directory, and characters of each: a key, a certificate and those of its authorities have some 10,000.
MAX_FILES, MAX_PEM = 50, 256 * 1024
# What haproxy keeps beside certificates in their directory and does not take for one (its manual, `crt`).
_BESIDE = (".key", ".issuer", ".ocsp", ".sctl")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_CLOCK = {"yes": True, "no": False}


def read_machine(certificates: Iterable[str], settings: str = _SYSCTL) -> Machine:
    """What it tells now. `certificates` are files or directories of them: of the private keys there nothing is kept."""
    links, time_set = ask("ip", "-j", "address", "show", "up"), ask("timedatectl", "show", "-p", "NTPSynchronized")
    clock = (time_set.text or "").strip().partition("=")[2]
    why = {"interfaces": links.trouble, "clock": time_set.trouble}
    lent, reserved, received = (
        read_text(settings + name, MAX_SETTING).strip()
        for name in ("ipv4/ip_local_port_range", "ipv4/ip_local_reserved_ports", "core/rmem_max")
    )
    return Machine(
        time.time(), parse_interfaces(links.text or ""), parse_run(lent), parse_reserved(reserved),
        int(received) if re.fullmatch(r"[0-9]{1,20}", received) else None,
        counters.most_flows(), _CLOCK.get(clock), tuple(_certificates(certificates, why)), why=why,
    )  # fmt: skip


def parse_interfaces(text: str) -> tuple[Interface, ...] | None:
    """The interfaces that `ip -j address show` lists, without loopback and what is of one link alone."""
    try:
        listed = [(link["ifname"], [ipaddress.ip_address(one["local"]) for one in link["addr_info"] if "local" in one])
                  for link in json.loads(text) if link]  # fmt: skip
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    usable = [(str(name), tuple(one for one in found if not one.is_loopback and not one.is_link_local))
              for name, found in listed]  # fmt: skip
    return tuple(Interface(name, found) for name, found in usable if found)


def parse_run(text: str) -> PortRange | None:
    """Two numbers, the first and the last port."""
    try:
        first, last = map(int, text.split())
        return PortRange(max(LOWEST, first), last)
    except ValueError:
        return None


def parse_reserved(text: str) -> frozenset[int] | None:
    """A list as the kernel writes it: `7881,50000-60000`, or nothing."""
    try:
        return frozenset(port for run in parse_ports(text or "none") for port in run)
    except UsageError:
        return None


def _certificates(paths: Iterable[str], why: dict[str, str]) -> Iterator[Certificate]:
    for path in paths:
        try:
            names = sorted(os.listdir(path))[:MAX_FILES] if os.path.isdir(path) else [""]
        except OSError as error:
            why[path] = str(error.strerror)
            continue
        for file in (os.path.join(path, name) if name else path for name in names if not name.endswith(_BESIDE)):
            yield from _certificate(file, why)


def _certificate(path: str, why: dict[str, str]) -> Iterator[Certificate]:
    """The first certificate of a file, which is the server's own."""
    try:
        match = os.path.isfile(path) and _PEM.search(read_text(path, MAX_PEM))  # whoever opens a pipe waits
        certificate = base64.b64decode(match[1] if match else "")
        yield Certificate(path, *x509.validity(certificate), fingerprint(certificate))
    except ValueError:  # a DecodeError is one
        why[path] = "no certificate that can be read"
