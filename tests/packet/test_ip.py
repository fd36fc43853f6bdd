"""Packets as the interface shows them: every way that probes may be wrapped, and anything else."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.address import Address
from agent.core.errors import DecodeError
from agent.core.plan import Transport
from agent.packet.ip import ACK, AUTHENTICATION, FRAGMENT, SYN, TCP, UDP, Packet, decode
from tests.core.values import ANY

HERE, THERE = ipaddress.ip_address("198.51.100.1"), ipaddress.ip_address("203.0.113.2")
HERE6, THERE6 = ipaddress.ip_address("2001:db8::1"), ipaddress.ip_address("2001:db8::2")


def udp(payload: bytes = b"probe", port: int = 50000, source: int = 40000, length: int | None = None) -> bytes:
    return struct.pack("!HHHH", source, port, 8 + len(payload) if length is None else length, 0) + payload


def tcp(flags: int = SYN, payload: bytes = b"", port: int = 80, source: int = 40000, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    return struct.pack("!HHIIBBHHH", source, port, 1, 2, words << 4, flags, 0, 0, 0) + options + payload


def ipv4(data: bytes, protocol: int = UDP, options: bytes = b"", fragment: int = 0, length: int | None = None) -> bytes:
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, length or size + len(data), 7, fragment, 64, protocol, 0)
    return head + THERE.packed + HERE.packed + options + data


def ipv6(data: bytes, following: int = UDP, length: int | None = None) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(data) if length is None else length, following, 64)
    return head + THERE6.packed + HERE6.packed + data


def extended(*kinds: int, data: bytes, last: int = UDP, units: int = 0) -> bytes:
    """Extension headers of 8 bytes each, or longer, before the data."""
    for kind in reversed(kinds):
        size = {FRAGMENT: 0, AUTHENTICATION: 0}.get(kind, units)
        data, last = struct.pack("!BBHI", last, size, 0, 0) + bytes(8 * size) + data, kind
    return ipv6(data, last)


def packet(here: Address = HERE, there: Address = THERE) -> Packet:
    return Packet(Transport.UDP, there.packed, 40000, here.packed, 50000, 0, b"probe")


OVER_IPV4, OVER_IPV6 = packet(), packet(HERE6, THERE6)


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (ipv4(udp()), OVER_IPV4),
        (ipv4(udp()) + bytes(18), OVER_IPV4),  # Ethernet pads short frames
        (ipv4(udp(), options=bytes(40)), OVER_IPV4),
        (ipv4(udp(), fragment=0x4000), OVER_IPV4),  # "do not fragment"
        (ipv4(udp() + b"more"), OVER_IPV4),  # UDP says where it ends
        (ipv6(udp()), OVER_IPV6),
        (ipv6(udp()) + bytes(18), OVER_IPV6),
        (extended(0, 60, 43, data=udp()), OVER_IPV6),
        (extended(0, 60, data=udp(), units=3), OVER_IPV6),
        (extended(AUTHENTICATION, data=udp()), OVER_IPV6),
        (extended(FRAGMENT, data=udp()), OVER_IPV6),  # an atomic fragment
        (ipv4(tcp(options=bytes(8), payload=b"x"), TCP),
         Packet(Transport.TCP, THERE.packed, 40000, HERE.packed, 80, SYN, b"x", 1)),
        (ipv6(tcp(SYN | ACK), TCP), Packet(Transport.TCP, THERE6.packed, 40000, HERE6.packed, 80, SYN | ACK, b"", 1)),
        (ipv4(tcp(ACK, b"x" * 40), TCP)[:-30],
         Packet(Transport.TCP, THERE.packed, 40000, HERE.packed, 80, ACK, b"x" * 10, 1)),
    ],
)  # fmt: skip
def test_a_packet_is_read(data: bytes, seen: Packet) -> None:
    assert decode(data) == seen


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x50" + bytes(60),
        ipv4(udp())[:19],
        ipv4(udp())[:27],
        ipv4(udp(), length=19),
        b"\x44" + ipv4(udp())[1:],
        ipv4(udp(), fragment=0x2000),
        ipv4(udp(), fragment=1),
        ipv4(udp(), protocol=47),
        ipv4(udp(length=7)),
        ipv4(udp(length=99)),
        ipv4(udp(), length=30),  # the datagram goes on behind the packet's end
        ipv6(udp())[:39],
        ipv6(udp(), length=10),
        ipv6(udp(), following=59),
        ipv6(struct.pack("!BBHI", UDP, 0, 8, 0) + udp(), FRAGMENT),
        ipv6(struct.pack("!BBHI", UDP, 0, 1, 0) + udp(), FRAGMENT),
        ipv6(struct.pack("!BBHI", UDP, 255, 0, 0) + udp(), 0),
        ipv6(b"", 0),
        extended(*[0] * 8, data=udp()),
        ipv4(tcp()[:12] + b"\x40" + tcp()[13:], TCP),
        ipv4(tcp()[:12] + b"\xf0" + tcp()[13:], TCP),
        ipv4(tcp()[:13], TCP),
    ],
)
def test_what_is_no_whole_packet_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


@ANY
@given(st.binary(max_size=200) | st.binary(min_size=60, max_size=120).map(lambda tail: ipv6(tail, 0)))
def test_any_bytes_are_a_packet_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except DecodeError:
        pass
