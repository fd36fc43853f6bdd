"""What names lead to: whether they agree, which record is wrong, and where a CDN stands before the server."""

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
# Errors that say what answers at an address, or that nothing does; others say something of this computer or the server.
_TELLING = ("no-server", "not-pnmcheck")
# They may stand in the client's own network, and a record would not be to blame.
_ON_THE_WAY = {Interceptor.CAPTIVE_PORTAL, Interceptor.HTTP_PROXY, Interceptor.TLS_MIDDLEBOX}
_ONE_SERVER = "In plugNmeet the web name and the TURN name have to lead to the same server."


def notes(
    addresses: Sequence[AddressReport], servers: Mapping[str, str], cdns: Container[str], everywhere: bool
) -> tuple[str, ...]:
    """What is to be said of the names and their records, and no more than was seen.

    `servers` has the fingerprint of the server's certificate by the address that it was checked at, empty where it has
    none; `cdns` are the addresses at which a CDN answered when the control channel was looked for; `everywhere` says
    that the server listens on all addresses of its machine.
    """
    said = [*_differences(addresses, servers)]
    proven = everywhere and any(map(is_ours, addresses))
    for one in addresses:
        if _is_checked(one) and not is_ours(one):
            said += _cdn(one, cdns) or (_wrong(one) if proven and one.names else ())
    return tuple(note[:MAX_SENTENCE] for note in said[:MAX_NOTES])


def is_ours(address: AddressReport) -> bool:
    """Whether our server showed that this address leads to it: by a welcome, by proof, or since packets came there."""
    return address.client.mapped is not None or any(
        one.state is State.OPEN
        or one.interceptor is Interceptor.FORWARDED
        or one.where in (Where.SERVER_HOST, Where.RETURN_PATH)
        or one.evidence.at_interface
        or one.evidence.at_socket
        for one in address.findings
    )


def _is_checked(address: AddressReport) -> bool:
    if address.error:
        return address.error.code in _TELLING
    return any(one.state in BLOCKED for one in address.findings)


def _differences(addresses: Sequence[AddressReport], servers: Mapping[str, str]) -> Iterable[str]:
    """Names that do not lead to the same addresses."""
    led: dict[str, list[AddressReport]] = {}
    for address in addresses:
        for name in address.names:
            led.setdefault(name, []).append(address)
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, its in led.items():
        alike.setdefault(tuple(one.address for one in its), []).append(name)
    if len(alike) < 2:
        return
    listed = "; ".join(f"{_list(names)} to {_list(its)}" for its, names in alike.items())
    named = [one for its in led.values() for one in its]
    answering = {servers.get(one.address, "") for one in named if is_ours(one)}
    if len(answering - {""}) > 1:
        more = f"Different servers answer there. {_ONE_SERVER}"
    elif "" not in answering and all(map(is_ours, named)):
        more = "One server answers at all of them."
    else:
        more = _ONE_SERVER
    yield f"The names lead to different addresses: {listed}. {more}"


def _cdn(address: AddressReport, cdns: Container[str]) -> Sequence[str]:
    """Something before the server that carries HTTP alone."""
    dialled = parse_address(address.address)
    if any(dialled in network for network in _CLOUDFLARE):
        who = "Cloudflare"
    elif address.address in cdns or any(one.interceptor is Interceptor.CDN for one in address.findings):
        who = "a CDN"
    else:
        return ()
    fix = f'point {_it(address)} at the server itself (at Cloudflare: "DNS only", the grey cloud)'
    fix = fix if address.names else "check the server's own address"
    return (f"{_leads(address)} to {who}: {fix}. WebRTC and TURN cannot pass an HTTP proxy.",)


def _wrong(address: AddressReport) -> Sequence[str]:
    """A record that does not lead to the server, where another one does."""
    kinds = {one.interceptor for one in address.findings if one.state is State.INTERCEPTED}
    if kinds & _ON_THE_WAY or any(one.state is State.UNKNOWN for one in address.findings):
        return ()
    mend = f"remove or correct {_it(address)}"
    if kinds:
        forwarding = ", or the port forwarding there" if address.family is Family.IPV4 else ""
        return (f"{_leads(address)} to another host: {mend}{forwarding}.",)
    return (f"{_leads(address)} to no answer of the server: {mend}, unless the address is the server's own.",)


def _leads(address: AddressReport) -> str:
    """The records that lead to an address, as the beginning of a sentence of that."""
    many = len(address.names) > 1
    record = f"{_RECORDS[address.family]} record{'s' if many else ''} of {_list(address.names)},"
    what = f"{record} {address.address}," if address.names else f"address {address.address}"
    return f"The {what} {'lead' if many else 'leads'}"


def _it(address: AddressReport) -> str:
    return "them" if len(address.names) > 1 else "it"


def _list(words: Sequence[str]) -> str:
    """In words: `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
