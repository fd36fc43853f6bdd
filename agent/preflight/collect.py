"""Collect what Linux, its tools and certificate files tell about this machine."""

from __future__ import annotations

import base64
import os
import re
import time
from typing import Iterable, Iterator

from ..packet import x509
from ..protocol.pairing import fingerprint
from ..system import counters, sysctl
from ..system.commands import run_tool
from ..system.files import read_text
from ..system.interfaces import read_interfaces
from .model import Certificate, Machine

# Files of one directory, and characters of each: a key, a certificate and those of its authorities have some 10,000.
MAX_FILES, MAX_PEM = 50, 256 * 1024
# What haproxy keeps beside certificates in their directory and does not take for one (its manual, `crt`).
_BESIDE = (".key", ".issuer", ".ocsp", ".sctl")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_CLOCK = {"yes": True, "no": False}


def read_machine(certificates: Iterable[str]) -> Machine:
    """Return what this machine tells now.

    `certificates` are files or directories of them; nothing of the private keys in them is kept.
    """
    interfaces, no_interfaces = read_interfaces()
    clock = run_tool("timedatectl", "show", "-p", "NTPSynchronized")
    errors = {"interfaces": no_interfaces, "clock": clock.error}
    return Machine(
        time.time(),
        interfaces,
        sysctl.read_ephemeral_ports(),
        sysctl.read_reserved_ports(),
        sysctl.read_max_receive_buffer(),
        counters.conntrack_max(),
        _CLOCK.get((clock.output or "").strip().partition("=")[2]),
        tuple(_certificates(certificates, errors)),
        errors=errors,
    )


def _certificates(paths: Iterable[str], errors: dict[str, str]) -> Iterator[Certificate]:
    for path in paths:
        try:
            names = sorted(os.listdir(path)) if os.path.isdir(path) else [""]
        except OSError as error:
            errors[path] = str(error.strerror)
            continue
        files = [os.path.join(path, name) if name else path for name in names if not name.endswith(_BESIDE)]
        if len(files) > MAX_FILES:
            errors[path] = f"only the first {MAX_FILES} of its {len(files)} files were read"
        for file in files[:MAX_FILES]:
            yield from _certificate(file, errors)


def _certificate(path: str, errors: dict[str, str]) -> Iterator[Certificate]:
    """Yield the first certificate of a file, which is the server's own; none where there is none."""
    try:
        match = os.path.isfile(path) and _PEM.search(read_text(path, MAX_PEM))  # whoever opens a pipe waits
        certificate = base64.b64decode(match[1] if match else "")
        yield Certificate(path, *x509.validity(certificate), fingerprint(certificate))
    except ValueError:  # a DecodeError is one
        errors[path] = "it holds no certificate that can be read"
