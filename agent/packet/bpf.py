"""The filters that the kernel runs on every packet of an interface, or of a socket, as programs of the classic BPF.

Linux' Documentation/networking/filter.rst has the instructions; the offsets beyond the packet are in linux/filter.h.
"""

from __future__ import annotations

import struct
from typing import Mapping, NamedTuple, Sequence

from ..core.plan import Transport
from ..core.ports import PortRange
from ..protocol.stun import HEADER, MAGIC_COOKIE, TAG_DIGITS, Attribute, Kind
from .ip import AUTHENTICATION, EXTENSIONS, FRAGMENT, NOT_WHOLE, PSH, RST, SYN, TCP, UDP

# linux/if_packet.h: the packet is for this host, or leaves it.
HOST, OUTGOING = 0, 4

_PACKET_TYPE = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
_LD_W, _LD_H, _LD_B = 0x20, 0x28, 0x30  # into A, from an offset
_LD_W_X, _LD_H_X, _LD_B_X = 0x40, 0x48, 0x50  # from X and an offset
# Into A from the scratch memory, and back; into X a number, or the length of an IPv4 header.
_LD_MEM, _ST, _LDX, _LDX_HEADER = 0x60, 0x02, 0x01, 0xB1
_AND, _RSH = 0x54, 0x74
_JA, _JEQ, _JGT, _JGE, _JSET = 0x05, 0x15, 0x25, 0x35, 0x45
_RET = 0x06

# As much of a packet as is read: a probe over IPv6, or the headers of TCP with all that may stand before them.
SNAP = 1500
_STUN = 8  # where it begins behind a UDP header
# Where the source and the destination begin, by the length of an address: of IP's two versions, and of nobody's.
_ADDRESSES = {4: (12, 16), 16: (8, 24), 0: (0, 0)}
_INSTRUCTION = struct.Struct("=HBBI")
INSTRUCTION_BYTES = _INSTRUCTION.size


class _Step(NamedTuple):
    """One instruction; a jump goes on at a label, or at the next instruction where it names none."""

    code: int
    value: int = 0
    yes: str = ""
    no: str = ""


def probe_filter(tag: str) -> bytes:
    """Return a filter of a UDP socket that passes what `stun.has_tag` accepts; a packet begins with its UDP header."""
    return _assemble([
        _Step(_LD_H, _STUN), _Step(_JEQ, Kind.REQUEST, "", "no"),
        _Step(_LD_W, _STUN + 4), _Step(_JEQ, MAGIC_COOKIE, "", "no"),
        *_tagged(tag, _LD_W, _STUN),
        _Step(_RET, SNAP),
        "no",
        _Step(_RET, 0),
    ])  # fmt: skip


def _tagged(tag: str, load: int, stun: int) -> list[_Step | str]:
    """Go on where the message at this offset begins with the USERNAME of a session of the tag."""
    username = struct.pack("!HH", Attribute.USERNAME, 2 * TAG_DIGITS) + tag.encode()
    return _compare(load, stun + HEADER.size, username)


def _compare(load: int, offset: int, data: bytes) -> list[_Step | str]:
    """Go on where these bytes, a multiple of four, stand at this offset."""
    return [step for at in range(0, len(data), 4) for step in (
        _Step(load, offset + at), _Step(_JEQ, int.from_bytes(data[at : at + 4], "big"), "", "no"))]  # fmt: skip


def packet_filter(ports: Mapping[Transport, Sequence[PortRange]], tag: str = "", client: bytes | None = None) -> bytes:
    """Return a filter that passes what may concern these ports, in packets that begin with their IP header.

    To them: STUN over UDP, with a tag that of its server's sessions alone; of TCP, what opens a connection or brings
    data. From them: STUN over UDP; of TCP, what accepts, refuses or brings data. With a `client`, whose packed address
    this is, of TCP all to and from it, since the pieces of what is long are not marked, and beside that only what
    opens a connection; an empty one is nobody. No fragments; IPv6 packets with extension headers all, since a program
    without loops cannot look behind them. The kernel takes 4,096 instructions; a range needs three.
    """
    out: list[_Step | str] = [_Step(_LD_B_X, 13), _Step(_JSET, SYN | RST | PSH, "", "no")]
    into: list[_Step | str] = [_Step(_LD_B_X, 13), _Step(_JSET, SYN | PSH, "", "no")]
    if client is not None:
        source, destination = _ADDRESSES[len(client)]
        out = _compare(_LD_W, destination, client) or [_Step(_JA, 0, "no")]
        into = [_Step(_LD_B_X, 13), _Step(_JSET, SYN, "tcp to"), *(_compare(_LD_W, source, client) or out)]
    steps: list[_Step | str] = [
        _Step(_LD_B, _PACKET_TYPE), _Step(_ST),
        _Step(_LD_B), _Step(_RSH, 4), _Step(_JEQ, 4, "ipv4"), _Step(_JEQ, 6, "ipv6", "no"),
        "ipv4",
        _Step(_LD_H, 6), _Step(_AND, NOT_WHOLE), _Step(_JEQ, 0, "", "no"),
        _Step(_LDX_HEADER), _Step(_LD_B, 9), _Step(_JEQ, TCP, "tcp"), _Step(_JEQ, UDP, "udp", "no"),
        "ipv6",
        _Step(_LDX, 40), _Step(_LD_B, 6), _Step(_JEQ, TCP, "tcp"), _Step(_JEQ, UDP, "udp"),
        *(_Step(_JEQ, kind, "yes") for kind in (*EXTENSIONS, FRAGMENT, AUTHENTICATION)), _Step(_JA, 0, "no"),
        "udp",
        _Step(_LD_W_X, _STUN + 4), _Step(_JEQ, MAGIC_COOKIE, "", "no"),
        _Step(_LD_MEM), _Step(_JEQ, HOST, "udp in"), _Step(_JEQ, OUTGOING, "", "no"),
        _Step(_LD_H_X, 0), _Step(_JA, 0, "udp ports"),
        "udp in",
        *(_tagged(tag, _LD_W_X, _STUN) if tag else []),
        _Step(_LD_H_X, 2), _Step(_JA, 0, "udp ports"),
        "tcp",
        _Step(_LD_MEM), _Step(_JEQ, HOST, "tcp in"), _Step(_JEQ, OUTGOING, "", "no"),
        *out, _Step(_LD_H_X, 0), _Step(_JA, 0, "tcp ports"),
        "tcp in",
        *into, "tcp to", _Step(_LD_H_X, 2), _Step(_JA, 0, "tcp ports"),
        "no",
        _Step(_RET, 0),
        "yes",
        _Step(_RET, SNAP),
    ]  # fmt: skip
    for transport, ranges in ports.items():
        steps.append(f"{transport.value} ports")
        for number, run in enumerate(ranges):
            other = f"{transport.value} {number}"
            steps += [_Step(_JGE, run.first, "", other), _Step(_JGT, run.last, other), _Step(_RET, SNAP), other]
        steps.append(_Step(_RET, 0))
    return _assemble(steps)


def _assemble(steps: Sequence[_Step | str]) -> bytes:
    instructions: list[_Step] = []
    labels: dict[str, int] = {}
    for step in steps:
        if isinstance(step, str):
            labels[step] = len(instructions)
        else:
            instructions.append(step)
    made = []
    for number, (code, value, yes, no) in enumerate(instructions, 1):
        far, near = (labels[label] - number if label else 0 for label in (yes, no))
        made.append(_INSTRUCTION.pack(code, 0, 0, far) if code == _JA else _INSTRUCTION.pack(code, far, near, value))
    return b"".join(made)
