"""Read the kernel's network settings (sysctl(8)) in /proc/sys/net (ip-sysctl and net in the kernel's documentation)."""

from __future__ import annotations

import re

from ..core.errors import UsageError
from ..core.ports import LOWEST, PortRange, parse_ports
from .files import read_text

NET = "/proc/sys/net/"
MAX_SETTING = 64 * 1024  # characters; whoever reserves every second port has more, which then counts as unknown


def read_ephemeral_ports(folder: str = NET) -> PortRange | None:
    """Return the ports that Linux takes for outgoing connections; None where that is unknown."""
    return parse_range(read_text(folder + "ipv4/ip_local_port_range", MAX_SETTING))


def read_reserved_ports(folder: str = NET) -> frozenset[int] | None:
    """Return the ports that Linux does not take for outgoing connections unasked; None where that is unknown."""
    return parse_list(read_text(folder + "ipv4/ip_local_reserved_ports", MAX_SETTING).strip())


def read_max_receive_buffer(folder: str = NET) -> int | None:
    """Return how many bytes of receive buffer a program may ask for; None where that is unknown."""
    text = read_text(folder + "core/rmem_max", MAX_SETTING).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text) else None


def parse_range(text: str) -> PortRange | None:
    """Return the range of two numbers, the first and the last port; None where there are no such two."""
    try:
        first, last = map(int, text.split())
        return PortRange(max(LOWEST, first), last)
    except ValueError:
        return None


def parse_list(text: str) -> frozenset[int] | None:
    """Return the ports of a list as the kernel writes it, `7881,50000-60000` or empty; None for anything else."""
    try:
        return frozenset(port for ports in parse_ports(text or "none") for port in ports)
    except UsageError:
        return None
