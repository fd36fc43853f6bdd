"""ICMP errors in words: the names of IANA's registries "ICMP Parameters" and "ICMPv6 Parameters"."""

from __future__ import annotations

_UNREACHABLE = (
    "net unreachable", "host unreachable", "protocol unreachable", "port unreachable", None, "source route failed",
    "destination network unknown", "destination host unknown", "source host isolated",
    "net administratively prohibited", "host administratively prohibited", "net unreachable for this type of service",
    "host unreachable for this type of service", "communication administratively prohibited",
    "host precedence violation", "precedence cutoff in effect",
)  # fmt: skip
_UNREACHABLE6 = (
    "no route to destination", "administratively prohibited", "beyond the scope of the source address",
    "address unreachable", "port unreachable", "source address failed a policy", "reject route",
)  # fmt: skip
# By version of IP and type: the codes' names, and how an unlisted code is called. Code 4, "fragmentation needed", asks
# for smaller packets; so do ICMPv6's type 2 and fragments that were reassembled too late. They refuse nothing.
_NAMES = {
    (4, 3): (_UNREACHABLE, "destination unreachable"),
    (4, 11): (("time to live exceeded", None), None),
    (4, 12): ((), "parameter problem"),
    (6, 1): (_UNREACHABLE6, "destination unreachable"),
    (6, 3): (("hop limit exceeded", None), None),
    (6, 4): ((), "parameter problem"),
}  # fmt: skip
_EXPIRED = ((4, 11, 0), (6, 3, 0))


def describe_refusal(version: int, kind: int, code: int) -> str | None:
    """Describe an error of IPv4 or 6 that refuses a packet: "port unreachable (type 3, code 3)"; None for others."""
    codes, other = _NAMES.get((version, kind), ((), None))
    name = codes[code] if code < len(codes) else other
    return f"{name} (type {kind}, code {code})" if name else None


def is_expired(version: int, kind: int, code: int) -> bool:
    """Return whether the error says that a packet had passed as many hops as it may."""
    return (version, kind, code) in _EXPIRED
