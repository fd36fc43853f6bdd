"""Compare what names lead to: whether they agree, which record is wrong, and which leads to a CDN."""

from __future__ import annotations

import ipaddress
from typing import Container, Iterable, Mapping, Sequence

from ..core.address import Family, parse_address
from ..core.observation import Interceptor, Where
from ..core.report import BLOCKED, MAX_NOTES, MAX_SENTENCE, AddressReport, State

# www.cloudflare.com/ips, as of October 2026.
_CLOUDFLARE = tuple(map(ipaddress.ip_network, (
    "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "104.16.0.0/13", "104.24.0.0/14", "108.162.192.0/18",
    "131.0.72.0/22", "141.101.64.0/18", "162.158.0.0/15", "172.64.0.0/13", "173.245.48.0/20", "188.114.96.0/20",
    "190.93.240.0/20", "197.234.240.0/22", "198.41.128.0/17",
    "2400:cb00::/32", "2405:8100::/32", "2405:b500::/32", "2606:4700::/32", "2803:f800::/32", "2a06:98c0::/29",
    "2c0f:f248::/32",
)))  # fmt: skip

_RECORDS = {Family.IPV4: "A", Family.IPV6: "AAAA"}
# Errors about what answers at an address, or that nothing does; others are about this computer or the server.
_ABOUT_ADDRESS = ("no-server", "not-pnmcheck")
# These may be in the client's own network, where no record is to blame.
_MAY_BE_CLIENTS = {Interceptor.CAPTIVE_PORTAL, Interceptor.HTTP_PROXY, Interceptor.TLS_MIDDLEBOX}
_ONE_SERVER = "In plugNmeet the web name and the TURN name must lead to the same server."


def notes(
    addresses: Sequence[AddressReport], servers: Mapping[str, str], cdns: Container[str], wildcard_bind: bool
) -> tuple[str, ...]:
    """Return sentences about the names and their records, and no more than was seen.

    `servers` has the fingerprint of the server's certificate by the address that it was checked at, empty where it has
    none; `cdns` are the addresses at which a CDN answered when the client looked for the control channel;
    `wildcard_bind` says that the server listens on all addresses of its machine.
    """
    sentences = [*_differences(addresses, servers)]
    proven = wildcard_bind and any(map(is_ours, addresses))
    for address in addresses:
        if _is_checked(address) and not is_ours(address):
            sentences += _cdn(address, cdns) or (_wrong_record(address) if proven and address.names else ())
    return tuple(sentence[:MAX_SENTENCE] for sentence in sentences[:MAX_NOTES])


def is_ours(address: AddressReport) -> bool:
    """Return whether an address proved to lead to our server: by a welcome, by proof, or by packets that arrived."""
    return address.client.mapped is not None or any(
        finding.state is State.OPEN
        or finding.interceptor is Interceptor.FORWARDED
        or finding.where in (Where.SERVER_HOST, Where.RETURN_PATH)
        or finding.evidence.at_interface
        or finding.evidence.at_socket
        for finding in address.findings
    )


def _is_checked(address: AddressReport) -> bool:
    if address.error:
        return address.error.code in _ABOUT_ADDRESS
    return any(finding.state in BLOCKED for finding in address.findings)


def _differences(addresses: Sequence[AddressReport], servers: Mapping[str, str]) -> Iterable[str]:
    """Return a sentence where names do not lead to the same addresses."""
    by_name: dict[str, list[AddressReport]] = {}
    for address in addresses:
        for name in address.names:
            by_name.setdefault(name, []).append(address)
    by_addresses: dict[tuple[str, ...], list[str]] = {}
    for name, reports in by_name.items():
        by_addresses.setdefault(tuple(report.address for report in reports), []).append(name)
    if len(by_addresses) < 2:
        return
    listed = "; ".join(f"{_list(names)} to {_list(targets)}" for targets, names in by_addresses.items())
    named = [report for reports in by_name.values() for report in reports]
    answering = {servers.get(report.address, "") for report in named if is_ours(report)}
    if len(answering - {""}) > 1:
        more = f"Different servers answer there. {_ONE_SERVER}"
    elif "" not in answering and all(map(is_ours, named)):
        more = "One server answers at all of them."
    else:
        more = _ONE_SERVER
    yield f"The names lead to different addresses: {listed}. {more}"


def _cdn(address: AddressReport, cdns: Container[str]) -> Sequence[str]:
    """Return a sentence where a CDN, which carries only HTTP, answers in front of the server."""
    parsed = parse_address(address.address)
    if any(parsed in network for network in _CLOUDFLARE):
        provider = "Cloudflare"
    elif address.address in cdns or any(finding.interceptor is Interceptor.CDN for finding in address.findings):
        provider = "a CDN"
    else:
        return ()
    fix = f'point {_pronoun(address)} at the server itself (at Cloudflare: "DNS only", the grey cloud)'
    fix = fix if address.names else "check the server's own address"
    return (f"{_leads(address)} to {provider}: {fix}. WebRTC and TURN cannot pass an HTTP proxy.",)


def _wrong_record(address: AddressReport) -> Sequence[str]:
    """Return a sentence about a record that does not lead to the server, where another one does."""
    kinds = {finding.interceptor for finding in address.findings if finding.state is State.INTERCEPTED}
    if kinds & _MAY_BE_CLIENTS or any(finding.state is State.UNKNOWN for finding in address.findings):
        return ()
    fix = f"remove or correct {_pronoun(address)}"
    if kinds:
        forwarding = ", or the port forwarding there" if address.family is Family.IPV4 else ""
        return (f"{_leads(address)} to another host: {fix}{forwarding}.",)
    return (f"{_leads(address)} to where the server does not answer: {fix}, unless the address is the server's own.",)


def _leads(address: AddressReport) -> str:
    """Return the beginning of a sentence: the records that lead to an address."""
    many = len(address.names) > 1
    record = f"{_RECORDS[address.family]} record{'s' if many else ''} of {_list(address.names)},"
    subject = f"{record} {address.address}," if address.names else f"address {address.address}"
    return f"The {subject} {'lead' if many else 'leads'}"


def _pronoun(address: AddressReport) -> str:
    return "them" if len(address.names) > 1 else "it"


def _list(words: Sequence[str]) -> str:
    """Return the words as `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
