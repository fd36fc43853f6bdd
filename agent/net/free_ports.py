"""Finds ports that nobody holds."""

from __future__ import annotations

import contextlib
import random
import socket

from ..core.errors import UserError
from ..core.plan import Transport
from ..core.ports import PortRange

KINDS = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}
REGION = (20_000, 32_000)  # beneath the ports that systems lend to outgoing connections
LOOKS = 50


def free_run(transport: Transport, host: str, count: int) -> PortRange:
    """A run of `count` ports that nobody holds just now at this IPv4 address; UserError where none is found."""
    for _ in range(LOOKS):
        first = random.randrange(*REGION)
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket(socket.AF_INET, KINDS[transport])).bind((host, port))
            except OSError:
                continue
            return PortRange(first, first + count - 1)
    raise UserError("selftest", "No free ports were found", f"{LOOKS} runs of {count} were busy", "try again later")
