"""What a finding means for the users of a meeting, and what to do about it."""

from __future__ import annotations

import math
from typing import Sequence

from ..core.observation import Interceptor, Reason, Where
from ..core.plan import HTTP_PORT, HTTPS_PORT, MEDIA, Need, Transport
from ..core.ports import list_ports
from ..core.report import BLOCKED, Advice, Finding, FindingGroup, State, group_findings

_MEANING = {
    (Transport.TCP, HTTP_PORT): "Let's Encrypt cannot issue or renew the certificate.",
    (Transport.TCP, HTTPS_PORT): "Nobody can open the page or join a meeting.",
    (Transport.TCP, 7881): "Chrome users on company networks cannot join, nor others whose network blocks UDP.",
    (Transport.TCP, 1935): "Nobody can stream in by RTMP.",
    (Transport.UDP, HTTPS_PORT): "Users behind strict firewalls lose the relay over UDP (TURN).",
    (Transport.UDP, 7885): "Nobody can stream in by WHIP.",
}

_REASON = {
    Reason.BUSY: "Stop that program for the time of the check, then check again.",
    Reason.DENIED: "Start the server with sudo: ports below 1024 need it.",
    Reason.LIMIT: "As root run `ulimit -n 65536`, then start the server again.",
    Reason.SAMPLED: "Check without --sample for all of them.",
    Reason.RATE_LIMIT: "Check from another network, or some of the ports: `client HOST --sample 300 --rate 50`.",
    Reason.FLOW_LIMIT: "Check from another network, behind a larger router, or some of the ports: "
    "`client HOST --sample 300`.",
    Reason.SCAN_BLOCK: "Have that guard (fail2ban, a router's flood or scan protection) let this computer pass, "
    "or check some of the ports slowly: `client HOST --sample 100 --rate 10`.",
    Reason.PATH_LOSS: "Check again from another network, or later.",
    Reason.NO_CONTROL: "Silence proves nothing then: start it again and repeat the check.",
    Reason.ABORTED: "Run it again.",
}

_LENT = "A call has its ports while it lasts: check again later, or stop that program for the time of the check."

_TCP_LIMIT = (
    "Wait a minute, then check again; or have what limits connections there (`ufw limit`, a router's guard) let this "
    "computer pass."
)

# Who stands in this network and who before the server, the same answer seen from elsewhere tells.
_INTERCEPTED = {
    Interceptor.CAPTIVE_PORTAL: "Log in to this network with a browser, or use another one, then check again. Where "
    "every network shows this, it is no portal: mend the DNS record or the port forwarding that leads there.",
    Interceptor.HTTP_PROXY: "Check from another network: users behind such a proxy get only what it lets through, and "
    "no calls. Where every network shows this, it stands before the server: take it out of the way.",
    Interceptor.TLS_MIDDLEBOX: "Check from another network. Where that one is open, this one reads along: have its "
    "operator except the server. Else a proxy stands before the server: have it hand on TLS as it comes.",
    Interceptor.CDN: 'Point the DNS record at the server itself (at Cloudflare: "DNS only"): a CDN does not carry '
    "WebRTC media.",
    Interceptor.OTHER_SERVICE: "Stop that program, or mend the port forwarding or the DNS record that leads to it.",
    Interceptor.FORWARDED: "Mend the port forwarding: each port has to lead to the same port of the server.",
    None: "Find out who answers there in the server's place: a proxy, a port forwarding, another machine?",
}

_LARGE = (
    "Look for a tunnel or VPN with a small MTU, and for rules that mind the length of packets or let only the first of "
    "a flow pass."
)
_TERMINAL = "The server's terminal shows the commands, and the rule as far as it is known."

# The states of UDP ports that a sample found nothing wrong with.
_FINE = {State.OPEN, State.UNTESTED}


def advise(findings: Sequence[Finding], hole: int = 0, here: bool = False) -> tuple[Advice, ...]:
    """One piece of advice for each cause that keeps ports from being open.

    `hole` is how many blocked ports a sample would not have missed, 0 where there was none. `here` says that it is for
    the server's own terminal, which has more to say of who blocks ports and how to open them.
    """
    # What a sample left out is taken to be like what it drew.
    fine = {one.state for one in findings if one.transport is Transport.UDP} == _FINE
    media = sum(len(one.ports) for one in findings if one.purpose == MEDIA and not one.unsampled)
    return tuple(
        Advice(group.number, " ".join(filter(None, texts)))
        for group in group_findings(findings)
        for texts in [(_sampled(group, hole, fine), _meaning(group, media), _what_to_do(group, media, here))]
    )


def _sampled(group: FindingGroup, hole: int, fine: bool) -> str:
    """What a sample says, and does not say, of the ports that it left out."""
    if group.first.state in BLOCKED and group.sampled:
        return "How far this reaches is not known: a sample was checked."
    if not group.first.unsampled or not fine:
        return ""
    if not 0 < hole <= len(group):
        return "So few ports tell hardly anything of the others."
    return f"If {hole:,} or more of these were blocked, 95 of 100 such samples would have shown it; fewer may hide."


def _meaning(group: FindingGroup, media: int) -> str:
    finding = group.first
    if finding.state in (State.UNTESTED, State.UNKNOWN):
        return ""
    if finding.purpose == MEDIA:
        if len(group) == media:
            return "Audio and video fall back to TCP and work badly, or not at all."
        about = "such a port about" if group.sampled else "one of these ports"
        return f"Audio and video fail at random: the server draws {about} {_one_in(len(group) / media)}."
    return _MEANING.get((finding.transport, finding.ports.first), f"What this is for does not work: {finding.purpose}.")


def _one_in(share: float) -> str:
    return f"one time in {round(1 / share):,}" if share <= 1 / 3 else f"{math.floor(100 * share)}% of the time"


def _what_to_do(group: FindingGroup, media: int, here: bool) -> str:
    finding = group.first
    if finding.reason is Reason.ABORTED and finding.shown:
        return "Mend that, or check from another computer."
    if finding.reason is Reason.NO_CONTROL and finding.shown:
        return "Check from another network."
    if finding.reason is Reason.RATE_LIMIT and finding.transport is Transport.TCP:
        return _TCP_LIMIT
    if finding.reason is Reason.BUSY and finding.purpose == MEDIA:
        return _knocked(group) + _LENT
    if finding.reason:
        return _REASON.get(finding.reason, "")
    if finding.state is State.INTERCEPTED:
        return _INTERCEPTED[finding.interceptor]
    if finding.only_small:
        return _LARGE
    far = finding.where not in (Where.RETURN_PATH, Where.SERVER_HOST)
    elsewhere = ["Check from another network too: this one may block UDP."]
    texts = [] if here else [_opens(finding, list_ports(group.extent, finding.transport.value))]
    return " ".join(texts + (elsewhere if far and finding.purpose == MEDIA and len(group) == media else []))


def _knocked(group: FindingGroup) -> str:
    """Whether packets for ports that are in use come as far as the server; empty where that was not tried."""
    came = [one.evidence.at_interface for one in group.findings]
    if None in came:
        return ""
    some = sum(map(bool, came))
    which = "them" if some in (0, len(came)) else f"{some:,} of these {len(came):,} runs"
    return f"Packets for {which} {'reached' if some else 'did not reach'} the server's network interface. "


def _opens(finding: Finding, ports: str) -> str:
    """What a client can say of where to open ports."""
    if finding.where is Where.RETURN_PATH:
        return f"The packets arrive: let the answers from {ports} out, in the server's firewall and the provider's."
    opens = f"{'Open' if finding.need is Need.REQUIRED else 'Better open'} {ports} in"
    if finding.where is Where.BEFORE_SERVER:
        return f"{opens} the provider's firewall, if it is nothing on the way: it is not the server's own. {_TERMINAL}"
    if finding.where is Where.SERVER_HOST:
        return f"{opens} the server's own firewall. {_TERMINAL}"
    return f"{opens} the server's firewall and in the provider's."
