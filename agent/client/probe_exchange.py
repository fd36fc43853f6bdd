"""The UDP probes of a session as bytes, and what the bytes that come back say of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Callable, Mapping, NamedTuple

from ..core.address import parse_address
from ..core.observation import Refusal
from ..net.icmp_errors import Error
from ..packet.printable import describe_reply
from ..protocol import stun
from ..protocol.messages import MAX_SOURCES
from ..sweep.probes import Probe

OnAnswer = Callable[[int, float], None]  # takes a probe's number and the time


class Proof(NamedTuple):
    """A valid answer: the probe that it proves, and whom to tell; `has_new_nonce`: it is to be handed back."""

    probe: Probe
    on_answer: OnAnswer
    has_new_nonce: bool


class ProbeExchange:
    """The probes that are under way to one address, in one session with the server."""

    def __init__(self, target: str, session: str, key: bytes) -> None:
        self._target, self._address = target, parse_address(target)
        self._session, self._key = session, key
        self._numbers = itertools.count(1)  # of all that is sent in the session
        self._nonces: dict[str, bool] = {}  # which came with answers, and whether they were handed back
        self._under_way: dict[bytes, tuple[Probe, OnAnswer]] = {}
        self.tried: Mapping[int, int] = {}  # how often each port was
        self.refusals: dict[int, Refusal] = {}  # by ICMP errors; a port that answers is open all the same
        self.strangers: dict[int, str] = {}  # ports from which something else came than proof, and what it showed

    def make_transactions(self, drawn: bytes) -> list[bytes]:
        """Return new transactions, one for each RANDOM_BYTES that were drawn."""
        size = stun.RANDOM_BYTES
        return [stun.make_transaction(next(self._numbers), drawn[at : at + size]) for at in range(0, len(drawn), size)]

    def encode(self, transaction: bytes, port: int, padding: int = 0) -> bytes:
        """Return a probe's bytes."""
        return stun.encode_request(stun.Request(self._session, transaction, port, padding), self._key)

    def add(self, transaction: bytes, probe: Probe, on_answer: OnAnswer) -> None:
        """Note that a probe is under way."""
        self._under_way[transaction] = probe, on_answer

    def forget(self) -> None:
        """Forget the probes that are under way: of all ports there are, they take some 50 MiB."""
        self._under_way.clear()

    def on_datagram(self, data: bytes, source: tuple[str, int]) -> Proof | None:
        """Return the proof that a datagram is; keep what it shows where it comes from a port but is none."""
        transaction = data[stun.HEADER.size - stun.TRANSACTION_BYTES : stun.HEADER.size]
        # An agent of ICE takes no answer from another address than it asked either (RFC 8445, section 7.2.5.2.1).
        if not self._is_target(source[0]):
            return None
        asked, port = self._under_way.get(transaction), source[1]
        if asked and stun.is_answer(data, transaction, self._key):
            probe, on_answer = asked
            return Proof(probe, on_answer, self._add_nonce(stun.nonce_of(data))) if port == probe.port else None
        if port not in self.strangers and self.tried.get(port):
            self.strangers[port] = describe_reply(data, self.encode(transaction, port) if asked else b"")
        return None

    def on_icmp_error(self, error: Error) -> None:
        """Count an ICMP error that quotes a probe."""
        words = error.refusal
        if words and self._quotes_a_probe(error):
            port = error.to[1]
            first = self.refusals.get(port) or Refusal(0, error.by, words)
            self.refusals[port] = replace(first, errors=first.errors + 1)

    def take_nonces(self) -> list[str]:
        """Return those that are to be handed back: each once."""
        taken = [nonce for nonce, handed_back in self._nonces.items() if not handed_back]
        self._nonces.update(dict.fromkeys(taken, True))
        return taken

    def _add_nonce(self, nonce: str) -> bool:
        is_new = bool(nonce) and nonce not in self._nonces and len(self._nonces) < MAX_SOURCES
        if is_new:
            self._nonces[nonce] = False
        return is_new

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
            asked = self._under_way.get(error.quoted[stun.HEADER.size - stun.TRANSACTION_BYTES : stun.HEADER.size])
            return asked is not None and asked[0].port == port
        begins = stun.PROBE_START[: len(error.quoted)]
        return error.quoted[: len(begins)] == begins
