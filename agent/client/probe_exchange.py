"""The UDP probes of a session as bytes, and what the bytes that come back say of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Callable, Mapping, Tuple

from ..core.address import parse_address
from ..core.observation import Refusal
from ..net.icmp_errors import Error
from ..packet.printable import describe_reply
from ..protocol import stun
from ..protocol.messages import MAX_SOURCES
from ..sweep.probes import Probe

OnAnswer = Callable[[int, float], None]  # takes a probe's number and the time
SentProbe = Tuple[Probe, OnAnswer]

_TRANSACTION = slice(stun.HEADER.size - stun.TRANSACTION_BYTES, stun.HEADER.size)


class ProbeExchange:
    """The probes that are under way to one address, in one session with the server; `draw` returns random bytes."""

    def __init__(self, target: str, session: str, key: bytes, draw: Callable[[int], bytes]) -> None:
        self._target, self._address = target, parse_address(target)
        self._session, self._key, self._draw = session, key, draw
        self._numbers = itertools.count(1)  # of all that is sent in the session
        self._nonces: set[str] = set()  # which came with answers
        self._under_way: dict[bytes, SentProbe] = {}
        self.new_nonces: list[str] = []  # those to hand back to the server, each once
        self.tried: Mapping[int, int] = {}  # how often each port was
        self.refusals: dict[int, Refusal] = {}  # by ICMP errors; a port that answers is open all the same
        self.strangers: dict[int, str] = {}  # ports from which something else came than proof, and what it showed

    def new_probe(self, port: int, padding: int = 0) -> bytes:
        """Return the bytes of a probe that nothing else has sent."""
        transaction = stun.make_transaction(next(self._numbers), self._draw(stun.RANDOM_BYTES))
        return self._encode(transaction, port, padding)

    def add(self, data: bytes, probe: Probe, on_answer: OnAnswer) -> None:
        """Note that a probe is under way as these bytes."""
        self._under_way[data[_TRANSACTION]] = probe, on_answer

    def forget(self) -> None:
        """Forget the probes that are under way: of all ports there are, they take some 50 MiB."""
        self._under_way.clear()

    def on_datagram(self, data: bytes, source: tuple[str, int]) -> SentProbe | None:
        """Return the probe that a datagram proves; keep what it shows where it comes from a port but is no proof."""
        # An agent of ICE takes no answer from another address than it asked either (RFC 8445, section 7.2.5.2.1).
        if not self._is_target(source[0]):
            return None
        port, transaction = source[1], data[_TRANSACTION]
        asked = self._under_way.get(transaction)
        if asked and stun.is_answer(data, transaction, self._key):
            if port != asked[0].port:
                return None
            nonce = stun.nonce_of(data)
            if nonce and nonce not in self._nonces and len(self._nonces) < MAX_SOURCES:
                self._nonces.add(nonce)
                self.new_nonces.append(nonce)
            return asked
        if port not in self.strangers and self.tried.get(port):
            self.strangers[port] = describe_reply(data, self._encode(transaction, port) if asked else b"")
        return None

    def on_icmp_error(self, error: Error) -> None:
        """Count an ICMP error that quotes a probe."""
        if error.refusal and self._quotes_a_probe(error):
            port = error.to[1]
            first = self.refusals.get(port) or Refusal(0, error.by, error.refusal)
            self.refusals[port] = replace(first, errors=first.errors + 1)

    def _encode(self, transaction: bytes, port: int, padding: int = 0) -> bytes:
        return stun.encode_request(stun.Request(self._session, transaction, port, padding), self._key)

    def _is_target(self, address: str) -> bool:
        return address == self._target or parse_address(address) == self._address

    def _quotes_a_probe(self, error: Error) -> bool:
        """Return whether it is about a probe of ours, not something that a stranger made up.

        The kernel has found the source port, one of 28,000 and drawn by chance; the destination has to be a port that
        was tried. A router may quote nothing behind the UDP header (RFC 792): that much has to do then, as it does
        for TCP (RFC 5927, section 4), for an error only names who refused a port that is silent anyway. Where more is
        quoted it has to be a probe's beginning, with 64 bits that nobody guesses where it is whole.
        """
        host, port = error.to
        if not self._is_target(host) or not self.tried.get(port):
            return False
        if len(error.quoted) >= stun.HEADER.size:
            asked = self._under_way.get(error.quoted[_TRANSACTION])
            return asked is not None and asked[0].port == port
        return stun.PROBE_START.startswith(error.quoted[: len(stun.PROBE_START)])
