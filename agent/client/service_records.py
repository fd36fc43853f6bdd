"""Compare what the client got from the services that hold ports with what the server saw these send."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Iterator, Mapping, Sequence, Tuple

from ..core.observation import Observation
from ..core.plan import Transport
from ..protocol.messages import AskService, ServiceReply
from ..protocol.pairing import fingerprint
from ..verdict.evidence import ServiceEvidence

MAX_SERVICE_TEXT = 200  # a text of the report has no more


@dataclass(frozen=True)
class Try:
    """One connection or datagram."""

    mark: str  # which stood in what was sent, in hex digits
    began: bytes = b""  # how the answer began
    ended: bool = False  # by the other side
    asks: bool = True  # and is answered; else it only has to arrive


@dataclass
class ServiceResult:
    """What the client saw of a service's port."""

    observation: Observation | None = None  # what came in all
    shown: str = ""  # what that showed
    tries: list[Try] = field(default_factory=list)
    certificate: bytes = b""  # in DER
    signalling: str | None = None  # as ServiceEvidence has it; None where that was not asked


Port = Tuple[Transport, int]
ServiceResults = Mapping[Port, ServiceResult]


def service_questions(results: ServiceResults) -> Iterator[AskService]:
    """Yield what to ask the server about each try, by its mark."""
    for (transport, port), result in results.items():
        for attempt in result.tries:
            yield AskService(transport, port, attempt.mark, fingerprint(result.certificate))


def service_evidence(results: ServiceResults, replies: Mapping[str, ServiceReply]) -> ServiceEvidence:
    """Return what both sides know of these ports; `replies` are the server's, by the mark of the try."""
    seen: dict[Transport, dict[int, Observation]] = {transport: {} for transport in Transport}
    signalling, stale = {}, []
    for (transport, port), result in results.items():
        confirmed = [(attempt, replies[attempt.mark]) for attempt in result.tries if attempt.mark in replies]
        if result.observation:
            seen[transport][port] = _joined(result.observation, result.shown, confirmed)
        if result.signalling is not None:
            signalling[port] = result.signalling
        if any(reply.on_disk is False for _, reply in confirmed):
            stale.append(port)
    return ServiceEvidence(seen[Transport.TCP], seen[Transport.UDP], signalling, stale)


def _joined(seen: Observation, shown: str, confirmed: Sequence[tuple[Try, ServiceReply]]) -> Observation:
    asked = [(attempt, service) for attempt, service in confirmed if attempt.asks]
    # What only had to arrive stands for what users send.
    arrived = len(asked) == len(confirmed) or any(service.arrived for attempt, service in confirmed if not attempt.asks)
    same = any(corroborates(service, attempt.began, attempt.ended) for attempt, service in asked)
    seen = replace(seen, service=shown[:MAX_SERVICE_TEXT], corroborated=arrived and same)
    if seen.transport is Transport.TCP:
        return seen
    answers = sum(bool(service.size) for _, service in asked)
    came = sum(service.arrived for _, service in asked) if confirmed else None
    return replace(seen, at_interface=came, at_socket=answers, answers_sent=answers,  # who answers has read it
                   alive=any(service.alive for _, service in asked))  # fmt: skip


def corroborates(service: ServiceReply, received: bytes, closed: bool) -> bool:
    """Return whether what the client got is what the server saw its service send: all of it came through, both ways.

    `received` is how the answer began; `closed` says that the connection came to its end without any. An end without
    a word is an answer too: LiveKit's to what is no ICE. A reset is none, since a machine in the middle resets as well.
    """
    if not service.arrived:
        return False
    if service.size:
        return hashlib.sha256(received[: service.size]).hexdigest() == service.digest
    return service.closed and closed and not received
