"""What this machine tells of itself that calls may suffer by, as Linux and its tools tell it."""

from __future__ import annotations

import base64
import os
import re
import time
from typing import Iterable, Iterator

from ..core.errors import UsageError
from ..core.ports import LOWEST, PortRange, parse_ports
from ..packet import x509
from ..protocol.pairing import fingerprint
from ..system import counters
from ..system.commands import run_tool
from ..system.files import read_text
from ..system.interfaces import read_interfaces
from .model import Certificate, Machine

_SYSCTL = "/proc/sys/net/"
MAX_SETTING = 64 * 1024  # characters; who reserves every second port has more, and is told that it was not found out
# Files of one directory, and characters of each: a key, a certificate and those of its authorities have some 10,000.
MAX_FILES, MAX_PEM = 50, 256 * 1024
# What haproxy keeps beside certificates in their directory and does not take for one (its manual, `crt`).
_BESIDE = (".key", ".issuer", ".ocsp", ".sctl")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_CLOCK = {"yes": True, "no": False}


def read_machine(certificates: Iterable[str], settings: str = _SYSCTL) -> Machine:
    """Return what this machine tells now.

    `certificates` are files or directories of them; nothing of the private keys in them is kept. `settings` is the
    folder of sysctl's `net`.
    """
    interfaces, no_interfaces = read_interfaces()
    clock = run_tool("timedatectl", "show", "-p", "NTPSynchronized")
    errors = {"interfaces": no_interfaces, "clock": clock.error}
    ephemeral, reserved, received = (
        read_text(settings + name, MAX_SETTING).strip()
        for name in ("ipv4/ip_local_port_range", "ipv4/ip_local_reserved_ports", "core/rmem_max")
    )
    return Machine(
        time.time(),
        interfaces,
        parse_range(ephemeral),
        parse_reserved(reserved),
        int(received) if re.fullmatch(r"[0-9]{1,20}", received) else None,
        counters.conntrack_max(),
        _CLOCK.get((clock.output or "").strip().partition("=")[2]),
        tuple(_certificates(certificates, errors)),
        errors=errors,
    )


def parse_range(text: str) -> PortRange | None:
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


def _certificates(paths: Iterable[str], errors: dict[str, str]) -> Iterator[Certificate]:
    for path in paths:
        try:
            names = sorted(os.listdir(path))[:MAX_FILES] if os.path.isdir(path) else [""]
        except OSError as error:
            errors[path] = str(error.strerror)
            continue
        for file in (os.path.join(path, name) if name else path for name in names if not name.endswith(_BESIDE)):
            yield from _certificate(file, errors)


def _certificate(path: str, errors: dict[str, str]) -> Iterator[Certificate]:
    """The first certificate of a file, which is the server's own."""
    try:
        match = os.path.isfile(path) and _PEM.search(read_text(path, MAX_PEM))  # whoever opens a pipe waits
        certificate = base64.b64decode(match[1] if match else "")
        yield Certificate(path, *x509.validity(certificate), fingerprint(certificate))
    except ValueError:  # a DecodeError is one
        errors[path] = "it holds no certificate that can be read"
