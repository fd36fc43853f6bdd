"""Read the kernel's limits and its counters of dropped packets in /proc (nf_conntrack-sysctl, proc_net(5)).

They are those of this process's network namespace. Elsewhere than on Linux there are none.
"""

from __future__ import annotations

import re
from typing import Sequence

from ..core.counters import MAX_COUNT, Counters, KernelStatus
from .files import ReopenableFile, read_text

# The longest of these files has a row of 160 bytes for each CPU, of which Linux takes 8,192 at most.
MAX_TEXT = 2 * 1024 * 1024

_MAXIMUM, _COUNT = (f"/proc/sys/net/netfilter/nf_conntrack_{name}" for name in ("max", "count"))
_STATISTICS = ("/proc/net/stat/nf_conntrack", "/proc/net/stat/ip_conntrack")  # an older name
_SNMP, _SNMP6, _NETSTAT = "/proc/net/snmp", "/proc/net/snmp6", "/proc/net/netstat"

_DECIMAL = re.compile(r"[0-9]{1,20}")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{1,16}")


def open_conntrack_statistics() -> tuple[ReopenableFile, ...]:
    """Open what connection tracking dropped, which on many systems only root may open (mode 0440)."""
    return tuple(map(ReopenableFile, _STATISTICS))


def read_kernel(statistics: Sequence[ReopenableFile]) -> KernelStatus:
    """Return what the kernel tells now."""
    readings = (conntrack_drops(file.read(MAX_TEXT)) for file in statistics)
    drops = next((count for count in readings if count is not None), None)
    errors, refused = receive_errors(_read(_SNMP), _read(_SNMP6)), listen_drops(_read(_NETSTAT))
    counters = Counters(drops, errors, listen_drops=refused)
    return KernelStatus(free_flows(_read(_MAXIMUM), _read(_COUNT)), counters)


def conntrack_max() -> int | None:
    """Return how many entries connection tracking can hold; None where nothing is tracked, as far as is known."""
    most, free = _decimal(_read(_MAXIMUM).strip()), free_flows(_read(_MAXIMUM), _read(_COUNT))
    return None if free is None else most


def _read(path: str) -> str:
    return read_text(path, MAX_TEXT)


def free_flows(maximum: str, count: str) -> int | None:
    """Return how many entries connection tracking has left, by the texts of its two files; None where it is unused.

    Call it while a connection to this host is open. Then a count of 0 proves that nothing is tracked: the module is
    there, but no rule of this namespace uses it, and its limit limits nobody.
    """
    most, used = _decimal(maximum.strip()), _decimal(count.strip())
    if not most or not used:  # a limit of 0 is none
        return None
    return min(MAX_COUNT, max(0, most - used))


def conntrack_drops(text: str) -> int | None:
    """Return how many packets connection tracking dropped, by a line of names and a row of numbers for each CPU.

    `drop` alone counts packets. `early_drop` counts entries that made room for others, whose packets went on.
    `insert_failed` counts packets of which two came at a time: most went on too, and the others are in `drop`.
    """
    names, *rows = [line.split() for line in text.splitlines()] or [[]]
    if "drop" not in names or not rows or any(len(row) != len(names) for row in rows):
        return None
    numbers = [_hexadecimal(row[names.index("drop")]) for row in rows]
    counts = [number for number in numbers if number is not None]
    return sum(counts) if len(counts) == len(numbers) else None


def receive_errors(snmp: str, snmp6: str) -> int | None:
    """Return how many UDP packets had no room, IPv4 and IPv6; a host may well have only one of them.

    `RcvbufErrors` counts full receive buffers; `MemErrors`, which Linux has from 5.11 on, that all sockets' memory was
    used up. What a socket's filter drops is in neither.
    """
    full, short = (
        [number for number in (_in_table(snmp, "Udp:", name), _in_list(snmp6, f"Udp6{name}")) if number is not None]
        for name in ("RcvbufErrors", "MemErrors")
    )
    return sum(full) + sum(short) if full else None


def listen_drops(text: str) -> int | None:
    """Return how many packets would have opened a TCP connection and found a port's queue full, IPv4 and IPv6."""
    return _in_table(text, "TcpExt:", "ListenDrops")


def _in_table(text: str, protocol: str, name: str) -> int | None:
    """Return a number of a table: a protocol's first line has the names, its second the numbers."""
    lines = [line.split() for line in text.splitlines() if line.startswith(protocol)]
    if len(lines) != 2 or len(lines[0]) != len(lines[1]) or name not in lines[0]:
        return None
    return _decimal(lines[1][lines[0].index(name)])


def _in_list(text: str, name: str) -> int | None:
    """Return a number of a list: a line has one name and its number."""
    lines = [line.split() for line in text.splitlines() if line.startswith(name)]
    return _decimal(lines[0][1]) if len(lines) == 1 and len(lines[0]) == 2 else None


def _decimal(word: str) -> int | None:
    return int(word) if _DECIMAL.fullmatch(word) else None


def _hexadecimal(word: str) -> int | None:
    return int(word, 16) if _HEXADECIMAL.fullmatch(word) else None
