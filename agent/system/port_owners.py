"""Find the processes that hold ports, in /proc (proc_net(5), proc_pid_fd(5))."""

from __future__ import annotations

import os
from typing import Collection, Iterator, Mapping

from ..core.plan import Transport
from .files import read_text

_LISTEN = "0A"  # the state of a listening TCP socket in /proc/net/tcp (include/net/tcp_states.h)
MAX_NAME = 64  # the kernel's own threads have the longest names


def port_owners(transport: Transport, ports: Collection[int]) -> dict[int, str]:
    """Return the owners of ports that can be found, as `haproxy (pid 812)`.

    Without root these are the user's own processes; elsewhere than on Linux none is found.
    """
    if not ports:  # the system takes most of a second to list ten thousand sockets, and longer than in proportion
        return {}
    inodes: dict[str, int] = {}
    known: set[int] = set()
    # Listening sockets come first: a port may be held by an outgoing connection too.
    for port, _state, inode in sorted(_sockets(transport), key=lambda entry: entry[1] != _LISTEN):
        if port in ports and port not in known and inode != "0":
            inodes[inode] = port
            known.add(port)
    return {port: f"{name} (pid {pid})" for port, pid, name in _holders(inodes)}


def bound_ports(transport: Transport) -> dict[str, int]:
    """Return the port of each socket, by its inode, that keeps others from that port: for TCP, a listening one."""
    return {inode: port for port, state, inode in _sockets(transport)
            if inode != "0" and (transport is Transport.UDP or state == _LISTEN)}  # fmt: skip


def port_holders(transport: Transport, ports: Collection[int]) -> Iterator[tuple[int, int, str]]:
    """Yield every process that holds one of these ports: the port, the process id and the process's name."""
    yield from _holders({inode: port for inode, port in bound_ports(transport).items() if port in ports})


def _sockets(transport: Transport) -> Iterator[tuple[int, str, str]]:
    """Yield port, state and inode of every socket of a transport in this network namespace."""
    for name in (transport.value, transport.value + "6"):
        try:
            with open(f"/proc/net/{name}", encoding="ascii", errors="replace") as table:
                rows = table.readlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if len(fields) > 9:
                yield int(fields[1].rpartition(":")[2], 16), fields[3], fields[9]


def _holders(inodes: Mapping[str, int]) -> Iterator[tuple[int, int, str]]:
    """Yield the port of each of these sockets, with the pid and the name of each process that has it open."""
    for pid in filter(str.isdigit, list_directory("/proc") if inodes else ()):
        for descriptor in list_directory(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            except OSError:  # closed meanwhile
                continue
            port = inodes.get(target[len("socket:[") : -1]) if target.startswith("socket:[") else None
            if port is not None:
                yield port, int(pid), read_text(f"/proc/{pid}/comm", MAX_NAME).strip() or "a process"


def list_directory(path: str) -> list[str]:
    """Return the names in a directory; none where it cannot be listed."""
    try:
        return os.listdir(path)
    except OSError:  # gone meanwhile, or another user's
        return []
