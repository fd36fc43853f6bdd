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

Port = Tuple[Transport, int]


@dataclass(frozen=True)
class Try:
    """One connection or datagram: a mark that stood in what was sent, in hex digits, and how the answer began.

    `ended` says that the other side ended the connection. One that `asks` is answered; another only has to arrive.
    """

    mark: str
    began: bytes = b""
    ended: bool = False
    asks: bool = True


@dataclass(frozen=True)
class ServiceResults:
    """What the client saw of the services: of each port what came, what that showed, and its tries.

    `certificates` are in DER, by TCP port; `signalling` is as ServiceEvidence has it.
    """

    observations: Mapping[Port, Observation] = field(default_factory=dict)
    shown: Mapping[Port, str] = field(default_factory=dict)
    tries: Mapping[Port, Sequence[Try]] = field(default_factory=dict)
    certificates: Mapping[int, bytes] = field(default_factory=dict)
    signalling: Mapping[int, str] = field(default_factory=dict)

    def questions(self) -> Iterator[tuple[Port, Try, AskService]]:
        """Yield what to ask the server about each try."""
        for (transport, port), tries in self.tries.items():
            certificate = self.certificates.get(port, b"") if transport is Transport.TCP else b""
            for attempt in tries:
                question = AskService(transport, port, attempt.mark, fingerprint(certificate))
                yield (transport, port), attempt, question


Confirmed = Mapping[Port, Sequence[Tuple[Try, ServiceReply]]]


def service_evidence(results: ServiceResults, confirmed: Confirmed) -> ServiceEvidence:
    """Return what both sides know of these ports; `confirmed` is what the server answered about each try."""
    joined = {port: _joined(seen, results.shown[port], confirmed.get(port, ()))
              for port, seen in results.observations.items()}  # fmt: skip
    tcp, udp = ({port: seen for (its, port), seen in joined.items() if its is transport} for transport in Transport)
    stale = [port for (_, port), tries in confirmed.items() if any(reply.on_disk is False for _, reply in tries)]
    return ServiceEvidence(tcp, udp, results.signalling, stale)


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
