"""Say what a finding means for the users of a meeting, and what to do about it."""

from __future__ import annotations

import math
from typing import Sequence

from ..core.finding_groups import FindingGroup, group_findings
from ..core.observation import Interceptor, Reason, Where
from ..core.plan import HTTP_PORT, HTTPS_PORT, MEDIA, Need, Transport
from ..core.ports import list_ports
from ..core.report import BLOCKED, Advice, Finding, State

_MEANING = {
    (Transport.TCP, HTTP_PORT): "Let's Encrypt cannot issue or renew the certificate.",
    (Transport.TCP, HTTPS_PORT): "Nobody can open the page or join a meeting.",
    (Transport.TCP, 7881): "Users whose network blocks UDP cannot join, as on many company networks.",
    (Transport.TCP, 1935): "Nobody can send a stream by RTMP.",
    (Transport.UDP, HTTPS_PORT): "Users behind strict firewalls cannot use the relay over UDP (TURN).",
    (Transport.UDP, 7885): "Nobody can send a stream by WHIP.",
}

_REASON = {
    Reason.BUSY: "Stop that program during the check, then check again.",
    Reason.DENIED: "Start the server with sudo: ports below 1024 need it.",
    Reason.LIMIT: "As root run `ulimit -n 65536`, then start the server again.",
    Reason.SAMPLED: "Check without --sample to test all of them.",
    Reason.RATE_LIMIT: "Check from another network, or only some of the ports: `client HOST --sample 300 --rate 50`.",
    Reason.FLOW_LIMIT: "Check from another network, behind a larger router, or only some of the ports: "
    "`client HOST --sample 300`.",
    Reason.SCAN_BLOCK: "Allow this computer in what blocked it (fail2ban, a router's flood or scan protection), or "
    "check some of the ports slowly: `client HOST --sample 100 --rate 10`.",
    Reason.PATH_LOSS: "Check again from another network, or later.",
    Reason.NO_CONTROL: "Without the server silence proves nothing: start it again and repeat the check.",
    Reason.ABORTED: "Run the check again.",
}

_MEDIA_BUSY = "A call uses its ports while it lasts: check again later, or stop that program during the check."

_TCP_LIMIT = (
    "Wait a minute, then check again; or exempt this computer from what limits connections there (`ufw limit`, a "
    "router's flood protection)."
)

# Whether the interceptor is in the client's network or in front of the server shows in a check from another network.
_INTERCEPTED = {
    Interceptor.CAPTIVE_PORTAL: "Log in to this network with a browser, or use another network, then check again. If "
    "every network shows this, it is no portal: fix the DNS record or the port forwarding that leads there.",
    Interceptor.HTTP_PROXY: "Check from another network: users behind such a proxy cannot make calls. If every network "
    "shows this, the proxy is in front of the server: remove it.",
    Interceptor.TLS_MIDDLEBOX: "Check from another network. If the port is open there, this network decrypts traffic: "
    "have its operator exempt the server. Otherwise a proxy in front of the server does: have it pass TLS unchanged.",
    Interceptor.CDN: 'Point the DNS record at the server itself (at Cloudflare: "DNS only"): a CDN does not carry '
    "WebRTC media.",
    Interceptor.OTHER_SERVICE: "Stop that program, or fix the port forwarding or the DNS record that leads to it.",
    Interceptor.FORWARDED: "Fix the port forwarding: each port must lead to the same port of the server.",
    None: "Find out what answers in the server's place: a proxy, a port forwarding, another machine?",
}

_ONLY_SMALL = (
    "Look for a tunnel or VPN with a small MTU, and for firewall rules that check the length of packets or pass only "
    "the first packets of a flow."
)
_ON_SERVER = "The server's terminal shows the commands."

# The states of UDP ports in a sample that found nothing wrong.
_SAMPLE_STATES = {State.OPEN, State.UNTESTED}


def advise(findings: Sequence[Finding], hole: int = 0, here: bool = False) -> tuple[Advice, ...]:
    """Return one piece of advice for each cause that keeps ports from being open.

    `hole` is how many blocked ports a sample would not have missed, 0 where there was no sample. `here` says that the
    advice is for the server's own terminal, where the server itself adds what blocks ports and how to open them.
    """
    # Ports outside the sample are taken to be like those in it.
    all_open = {finding.state for finding in findings if finding.transport is Transport.UDP} == _SAMPLE_STATES
    media = sum(len(finding.ports) for finding in findings if finding.purpose == MEDIA and not finding.unsampled)
    advice = []
    for group in group_findings(findings):
        texts = (_about_sample(group, hole, all_open), _meaning(group, media), _what_to_do(group, media, here))
        advice.append(Advice(group.number, " ".join(filter(None, texts))))
    return tuple(advice)


def _about_sample(group: FindingGroup, hole: int, all_open: bool) -> str:
    """Return what a sample says, and does not say, of the ports outside it."""
    if group.first.state in BLOCKED and group.sampled:
        return "Only a sample was checked: more ports may be blocked."
    if not group.first.unsampled or not all_open:
        return ""
    if not 0 < hole <= len(group):
        return "So few ports say almost nothing about the others."
    return f"If {hole:,} or more of these were blocked, 95 of 100 such samples would show it; fewer may stay hidden."


def _meaning(group: FindingGroup, media: int) -> str:
    finding = group.first
    if finding.state in (State.UNTESTED, State.UNKNOWN):
        return ""
    if finding.purpose == MEDIA:
        if len(group) == media:
            return "Audio and video fall back to TCP and work badly, or not at all."
        port = "such a port" if group.sampled else "a blocked port"
        return f"Audio and video fail at random: {_calls(len(group) / media)} {port}."
    return _MEANING.get((finding.transport, finding.ports.first), f"This does not work: {finding.purpose}.")


def _calls(share: float) -> str:
    if share <= 1 / 3:
        return f"about 1 call in {round(1 / share):,} uses"
    return f"about {math.floor(100 * share)}% of calls use"


def _what_to_do(group: FindingGroup, media: int, here: bool) -> str:
    finding = group.first
    if finding.reason is Reason.ABORTED and finding.shown:
        return "Fix that, or check from another computer."
    if finding.reason is Reason.NO_CONTROL and finding.shown:
        return "Check from another network."
    if finding.reason is Reason.RATE_LIMIT and finding.transport is Transport.TCP:
        return _TCP_LIMIT
    if finding.reason is Reason.BUSY and finding.purpose == MEDIA:
        return _probes_of_busy(group) + _MEDIA_BUSY
    if finding.reason:
        return _REASON.get(finding.reason, "")
    if finding.state is State.INTERCEPTED:
        return _INTERCEPTED[finding.interceptor]
    if finding.only_small:
        return _ONLY_SMALL
    texts = [] if here else [_open_them(finding, list_ports(group.extent, finding.transport.value))]
    may_be_client = finding.where not in (Where.RETURN_PATH, Where.SERVER_HOST)
    if may_be_client and finding.purpose == MEDIA and len(group) == media:
        texts.append("Check from another network too: this one may block UDP.")
    return " ".join(texts)


def _probes_of_busy(group: FindingGroup) -> str:
    """Return whether packets to ports in use come as far as the server; empty where that was not tested."""
    arrived = [finding.evidence.at_interface for finding in group.findings]
    if None in arrived:
        return ""
    some = sum(map(bool, arrived))
    which = "these ports" if some in (0, len(arrived)) else f"{some:,} of these {len(arrived):,} ranges"
    return f"Packets to {which} {'reached' if some else 'did not reach'} the server's network interface. "


def _open_them(finding: Finding, ports: str) -> str:
    """Return what a client can say about where to open ports."""
    if finding.where is Where.RETURN_PATH:
        return f"Allow the answers from {ports} out, in the server's firewall and the provider's."
    opening = f"{'Open' if finding.need is Need.REQUIRED else 'Better open'} {ports}"
    if finding.where is Where.BEFORE_SERVER:
        blocked = "Blocked before the server, probably by the provider's firewall"
        return f"{blocked}: {opening[0].lower()}{opening[1:]} there. {_ON_SERVER}"
    if finding.where is Where.SERVER_HOST:
        return f"{opening} in the server's own firewall. {_ON_SERVER}"
    return f"{opening} in the server's firewall and in the provider's."
