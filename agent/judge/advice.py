"""What a finding means for the users of a meeting, and what to do about it."""

from __future__ import annotations

from typing import Sequence

from ..model.observation import Reason
from ..model.plan import HTTP_PORT, HTTPS_PORT, MEDIA, Need, Transport
from ..model.report import Advice, Finding, State, Where

_MEANING = {
    (Transport.TCP, HTTP_PORT): "Let's Encrypt cannot issue or renew the certificate.",
    (Transport.TCP, HTTPS_PORT): "Nobody can open the page or join a meeting.",
    (Transport.TCP, 7881): "Users whose network blocks UDP cannot join, Chrome's first of all.",
    (Transport.TCP, 1935): "Nobody can stream in by RTMP.",
    (Transport.UDP, HTTPS_PORT): "Users behind strict firewalls lose the relay over UDP (TURN).",
    (Transport.UDP, 7885): "Nobody can stream in by WHIP.",
}

_REASON = {
    Reason.BUSY: "Stop the program that holds the port for the time of the check, then check again.",
    Reason.DENIED: "Start the server with sudo: ports below 1024 need it.",
    Reason.LIMIT: "The server may not open enough files: run `ulimit -n 65536` as root, then start it again.",
    Reason.PATH_LOSS: "The network loses too much for a verdict: check again from another network, or later.",
    Reason.NO_CONTROL: "The server was not there any more, so silence proves nothing: start it and check again.",
    Reason.ABORTED: "The check was interrupted: run it again.",
}


def advise(findings: Sequence[Finding]) -> tuple[Advice, ...]:
    """One piece of advice for each finding that is not open."""
    ports = sum(len(one.ports) for one in findings if one.purpose == MEDIA)
    return tuple(
        Advice(number, " ".join(filter(None, (_meaning(finding, ports), _what_to_do(finding)))))
        for number, finding in enumerate(findings)
        if finding.state is not State.OPEN
    )


def _meaning(finding: Finding, media_ports: int) -> str:
    if finding.state in (State.UNTESTED, State.UNKNOWN):
        return ""
    if finding.purpose == MEDIA:
        if len(finding.ports) == media_ports:
            return "Audio and video fall back to TCP and work badly, or not at all."
        share = len(finding.ports) / media_ports
        return f"Audio and video fail at random: the server draws one of these ports {_one_in(share)}."
    return _MEANING.get((finding.transport, finding.ports.first), f"What this is for does not work: {finding.purpose}.")


def _one_in(share: float) -> str:
    return f"one time in {round(1 / share):,}" if share <= 0.5 else f"{share:.0%} of the time"


def _what_to_do(finding: Finding) -> str:
    ports = f"{finding.ports}/{finding.transport.value}"
    if finding.reason:
        return _REASON.get(finding.reason, "")
    if finding.state is State.INTERCEPTED:
        return f"Find out who answers on {ports} in the server's place: {finding.shown or 'it showed nothing'}."
    if finding.where is Where.RETURN_PATH:
        return f"The packets arrive; let the answers from {ports} out, in the server's and the provider's firewall."
    urgency = "Open" if finding.need is Need.REQUIRED else "Better open"
    return f"{urgency} {ports} in the server's firewall and in the provider's."
