"""TCP connections without a session, and which of them is closed where there are too many."""

from __future__ import annotations

from ..core.address import Address, network_of


class UnauthenticatedConnections:
    """The connections without a session, by the networks that they come from, the oldest first."""

    def __init__(self) -> None:
        self._by_network: dict[bytes, dict[int, Address]] = {}

    def add(self, connection: int, client: Address) -> None:
        """Add a connection."""
        self._by_network.setdefault(network_of(client), {})[connection] = client

    def discard(self, connection: int, client: Address) -> None:
        """Remove a connection, if it is there."""
        own = self._by_network.get(network_of(client), {})
        own.pop(connection, None)
        if not own:
            self._by_network.pop(network_of(client), None)

    def count(self, client: Address) -> int:
        """Return how many there are of this client's network."""
        return len(self._by_network.get(network_of(client), ()))

    def oldest(self, client: Address | None = None) -> tuple[int, Address] | None:
        """Return the oldest of this client's network; for None, of the one that has most: a flood displaces itself."""
        largest = max(self._by_network.values(), key=len, default={})
        return next(iter((self._by_network[network_of(client)] if client else largest).items()), None)
