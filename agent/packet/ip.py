"""IP packets as a network interface shows them: UDP and TCP over IPv4 (RFC 791) and IPv6 (RFC 8200)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..core.errors import DecodeError
from ..core.plan import Transport

TCP, UDP = 6, 17  # the numbers of the protocols
PROTOCOLS = {TCP: Transport.TCP, UDP: Transport.UDP}

# The flags of TCP that matter here (RFC 9293, section 3.1).
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_IPV4 = struct.Struct("!BxHxxHxBxx4s4s")
_IPV6 = struct.Struct("!IHBx16s16s")
# What follows it, its length or nothing, and of a fragment the offset and whether more follow.
_EXTENSION = struct.Struct("!BBH")
_UDP = struct.Struct("!HHHxx")
_TCP = struct.Struct("!HHIxxxxBB")

NOT_WHOLE = 0x3FFF  # of IPv4's flags and offset: more to come, or not the first
FRAGMENT = 44
# Hop-by-hop, routing, destination: each says its own length (RFC 8200, section 4); an authentication header in
# other units (RFC 4302, section 2.2).
EXTENSIONS = (0, 43, 60)
AUTHENTICATION = 51
# An honest packet has no more than one of each; a forged one must not keep us busy.
MAX_EXTENSIONS = 8


class Packet(NamedTuple):
    """One packet: its ends, addresses packed, and what it carries; `flags` and `sequence` are TCP's, 0 for UDP."""

    transport: Transport
    source: bytes
    source_port: int
    destination: bytes
    port: int
    flags: int
    payload: bytes
    sequence: int = 0


def decode(data: bytes) -> Packet:
    """Read a packet from its IP header on; DecodeError for anything but UDP and TCP with whole headers.

    What stands behind the packet's own length is padding. Fragments are nobody's probe: those fit one packet. The end
    of a long TCP segment may be missing, that of a UDP datagram not.
    """
    try:
        version = data[0] >> 4 if data else 0
        if version == 4:
            return _decode_ipv4(data)
        if version == 6:
            return _decode_ipv6(data)
    except struct.error:
        raise DecodeError("a packet cut short") from None
    raise DecodeError("not an IP packet")


def _decode_ipv4(data: bytes) -> Packet:
    start, length, fragment, protocol, source, destination = _IPV4.unpack_from(data)
    begin = 4 * (start & 0xF)
    if not _IPV4.size <= begin <= length:
        raise DecodeError("not the lengths of an IPv4 packet")
    if fragment & NOT_WHOLE:
        raise DecodeError("a fragment")
    return _decode_transport(protocol, source, destination, data[begin:length])


def _decode_ipv6(data: bytes) -> Packet:
    _, length, following, source, destination = _IPV6.unpack_from(data)
    begin, end = _IPV6.size, _IPV6.size + length
    for _ in range(MAX_EXTENSIONS):
        if following in PROTOCOLS:
            return _decode_transport(following, source, destination, data[begin:end])
        kind = following
        following, size, fragment = _EXTENSION.unpack_from(data[:end], begin)
        if kind in EXTENSIONS:
            begin += 8 * (size + 1)
        elif kind == AUTHENTICATION:
            begin += 4 * (size + 2)
        elif kind == FRAGMENT and not fragment & 0xFFF9:  # a whole packet that has the header all the same (RFC 6946)
            begin += 8
        else:
            break
    raise DecodeError("no UDP and no TCP")


def _decode_transport(protocol: int, source: bytes, destination: bytes, data: bytes) -> Packet:
    transport = PROTOCOLS.get(protocol)
    if transport is Transport.UDP:
        source_port, port, length = _UDP.unpack_from(data)
        if not _UDP.size <= length <= len(data):
            raise DecodeError("not the length of a UDP datagram")
        return Packet(transport, source, source_port, destination, port, 0, data[_UDP.size : length])
    if transport is Transport.TCP:
        source_port, port, sequence, offset, flags = _TCP.unpack_from(data)
        begin = 4 * (offset >> 4)
        if not 20 <= begin <= len(data):
            raise DecodeError("not the length of a TCP header")
        return Packet(transport, source, source_port, destination, port, flags, data[begin:], sequence)
    raise DecodeError("no UDP and no TCP")
