"""To which TCP ports each client connected shortly before."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.address import Address

# Addresses whose connections are kept in mind, and for how many seconds: many limits accept a client again after half a
# minute or a minute in which it did not come (ufw's, iptables' `recent`).
MAX_CLIENTS, KEPT_SECONDS = 1000, 60.0


@dataclass(frozen=True)
class _Client:
    """When an address connected to one of ours the last time, and to which ports."""

    last: float
    ports: frozenset[int]


class RecentClients:
    """The clients that connected in the last minute, by their address and the one of ours that they connected to."""

    def __init__(self) -> None:
        self._clients: dict[tuple[Address, Address], _Client] = {}

    def on_connection(self, client: Address, local: Address, port: int, now: float) -> frozenset[int]:
        """Record a TCP connection; return the ports that this client used in the last 60 s, this one among them.

        Each connection keeps them for another while: one that is stopped there may keep a limit alive.
        """
        before = self._clients.pop((client, local), None)
        ports = (before.ports if before and now - before.last <= KEPT_SECONDS else frozenset()) | {port}
        self._clients[client, local] = _Client(now, ports)
        if len(self._clients) > MAX_CLIENTS:
            del self._clients[next(iter(self._clients))]
        return ports
