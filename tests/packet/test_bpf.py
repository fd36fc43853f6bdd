"""The kernel's filter, run by an interpreter of its few instructions; tests/network has the kernel's own."""

from __future__ import annotations

import struct
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import DecodeError
from agent.core.plan import Transport
from agent.core.ports import PortRange
from agent.packet import bpf
from agent.packet.ip import ACK, AUTHENTICATION, FIN, FRAGMENT, PSH, RST, SYN, TCP, decode
from agent.protocol import stun
from agent.protocol.stun import MAGIC_COOKIE
from tests.core.values import ANY
from tests.packet.test_ip import extended, ipv4, ipv6, tcp, udp

PORTS = {
    Transport.TCP: (PortRange(80, 80), PortRange(443, 443), PortRange(7881, 7881)),
    Transport.UDP: (PortRange(443, 443), PortRange(50000, 60000)),
}
PROGRAM = bpf.packet_filter(PORTS)
STUN = struct.pack("!HHI", 1, 0, MAGIC_COOKIE) + bytes(12)
HOST, OTHER_HOST, OUTGOING = bpf.HOST, 3, bpf.OUTGOING
MOST_INSTRUCTIONS = 4096  # linux/filter.h, BPF_MAXINSNS


def run(program: bytes, packet: bytes, kind: int) -> int:
    """How much of the packet passes; the kernel lets nothing pass where a program reads beyond its end."""
    steps = list(struct.iter_unpack("=HBBI", program))
    a = x = at = 0
    memory: dict[int, int] = {}
    while True:
        code, yes, no, k = steps[at]
        at += 1
        if code in (0x20, 0x28, 0x30, 0x40, 0x48, 0x50):
            if k >= 0xFFFFF000:
                a = kind
                continue
            start, size = k + (x if code & 0x40 else 0), {0x00: 4, 0x08: 2, 0x10: 1}[code & 0x18]
            if start + size > len(packet):
                return 0
            a = int.from_bytes(packet[start : start + size], "big")
        elif code == 0x60:
            a = memory.get(k, 0)
        elif code == 0x02:
            memory[k] = a
        elif code == 0x01:
            x = k
        elif code == 0xB1:
            if k >= len(packet):
                return 0
            x = 4 * (packet[k] & 0xF)
        elif code == 0x54:
            a &= k
        elif code == 0x74:
            a >>= k
        elif code == 0x05:
            at += k
        elif code == 0x06:
            return int(k)
        else:
            at += yes if {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[code] else no


@pytest.mark.parametrize(
    ("packet", "kind", "passes"),
    [
        (ipv4(udp(STUN)), HOST, True),
        (ipv4(udp(STUN, port=60000), options=bytes(40)), HOST, True),
        (ipv6(udp(STUN, port=443)), HOST, True),
        (ipv4(udp(STUN, port=49999)), HOST, False),
        (ipv4(udp(STUN, port=60001)), HOST, False),
        (ipv4(udp(bytes(20))), HOST, False),
        (ipv4(udp(STUN[:6])), HOST, False),
        (ipv4(udp(STUN)), OTHER_HOST, False),
        (ipv4(udp(STUN)), OUTGOING, False),  # it goes to such a port, elsewhere
        (ipv4(udp(STUN, port=9, source=50000)), OUTGOING, True),
        (ipv6(udp(STUN, port=9, source=443)), OUTGOING, True),
        (ipv4(udp(STUN, port=9, source=50000)), HOST, False),
        (ipv4(udp(STUN), fragment=1), HOST, False),
        (ipv4(udp(STUN), fragment=0x2000), HOST, False),
        (ipv4(udp(STUN), fragment=0x4000), HOST, True),
        (ipv4(udp(STUN), protocol=47), HOST, False),
        (ipv6(udp(STUN), following=59), HOST, False),
        (b"\x50" + bytes(60), HOST, False),
        (b"", HOST, False),
        *((extended(kind, data=udp(STUN)), HOST, True) for kind in (0, 43, 60, FRAGMENT, AUTHENTICATION)),
        (ipv4(tcp(SYN), TCP), HOST, True),
        (ipv6(tcp(SYN, port=7881), TCP), HOST, True),
        (ipv4(tcp(PSH | ACK, b"x"), TCP), HOST, True),
        (ipv4(tcp(ACK), TCP), HOST, False),
        (ipv4(tcp(RST), TCP), HOST, False),
        (ipv4(tcp(SYN, port=81), TCP), HOST, False),
        (ipv4(tcp(SYN), TCP), OUTGOING, False),
        (ipv4(tcp(SYN | ACK, port=9, source=80), TCP), OUTGOING, True),
        (ipv4(tcp(RST, port=9, source=80), TCP), OUTGOING, True),
        (ipv6(tcp(PSH | ACK, port=9, source=443), TCP), OUTGOING, True),
        (ipv4(tcp(ACK, port=9, source=80), TCP), OUTGOING, False),
        (ipv4(tcp(SYN), TCP), OTHER_HOST, False),
    ],
)
def test_what_passes_the_filter(packet: bytes, kind: int, passes: bool) -> None:
    assert run(PROGRAM, packet, kind) == (bpf.SNAP if passes else 0)


@ANY
@given(
    st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([HOST, OUTGOING]), st.integers(0, 255),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_it_agrees_with_what_is_read(port: int, source: int, kind: int, flags: int, v4: bool, over_udp: bool) -> None:
    data = udp(STUN, port, source) if over_udp else tcp(flags, b"", port, source)
    packet = (ipv4 if v4 else ipv6)(data, 17 if over_udp else TCP)
    seen = decode(packet)
    ours = seen.port if kind == HOST else seen.source_port
    wanted = over_udp or flags & (SYN | PSH | (RST if kind == OUTGOING else 0))
    passes = wanted and any(ours in run for run in PORTS[seen.transport])
    assert (run(PROGRAM, packet, kind) > 0) == bool(passes)


TAG = "deadbeef"
PROBE = stun.encode_request(stun.Request(f"{TAG}01234567", bytes(12), 50000), b"key")
LARGE = stun.encode_request(stun.Request(f"{TAG}89abcdef", bytes(12), 50000, stun.PADDING), b"other")
OTHERS = stun.encode_request(stun.Request("deadbeee01234567", bytes(12), 50000), b"key")
TAGGED = bpf.packet_filter(PORTS, TAG)


@pytest.mark.parametrize(("data", "passes"), [(PROBE, True), (LARGE, True), (OTHERS, False), (STUN, False)])
def test_with_a_tag_only_its_own_servers_probes_come_in(data: bytes, passes: bool) -> None:
    for packet in (ipv4(udp(data)), ipv4(udp(data), options=bytes(40)), ipv6(udp(data))):
        assert run(TAGGED, packet, HOST) == (bpf.SNAP if passes else 0)
    assert run(TAGGED, ipv4(udp(data, port=9, source=50000)), OUTGOING) == bpf.SNAP
    assert run(TAGGED, ipv4(tcp(SYN), TCP), HOST) == bpf.SNAP


@pytest.mark.parametrize("wrap", [ipv4, ipv6])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST])
def test_of_tcp_only_one_client_passes_and_who_opens_a_connection(wrap: Callable[..., bytes], flags: int) -> None:
    into, out = wrap(tcp(flags, b"x"), TCP), wrap(tcp(flags, b"x", port=40000, source=443), TCP)
    ends = decode(into)
    for client, his in ((ends.source, True), (bytes(len(ends.source)), False), (b"", False)):
        narrow = bpf.packet_filter(PORTS, TAG, client)
        assert bool(run(narrow, into, HOST)) is (his or bool(flags & SYN))
        assert not run(narrow, wrap(tcp(flags, b"x", port=81), TCP), HOST)
        assert not run(narrow, into, OUTGOING)
        assert run(narrow, wrap(udp(PROBE), 17) if wrap is ipv4 else wrap(udp(PROBE)), HOST) == bpf.SNAP
    for client, his in ((ends.destination, True), (bytes(len(ends.source)), False), (b"", False)):
        assert bool(run(bpf.packet_filter(PORTS, TAG, client), out, OUTGOING)) is his


@ANY
@given(
    st.sampled_from([PROBE, LARGE, OTHERS, STUN, b"", bytes(2000)]), st.integers(0, 50), st.binary(max_size=3),
    st.integers(0, 200),
)  # fmt: skip
def test_a_sockets_filter_lets_pass_what_is_tagged(data: bytes, at: int, put: bytes, cut: int) -> None:
    changed = (data[:at] + put + data[at + len(put) :])[: len(data) - cut]
    for one in (data, changed):
        passes = run(bpf.probe_filter(TAG), udp(one), HOST)
        assert passes >= len(one) + 8 if stun.has_tag(one, TAG) else passes == 0, one
    assert [stun.has_tag(one, TAG) for one in (PROBE, LARGE, OTHERS)] == [True, True, False]


@ANY
@given(st.binary(max_size=100), st.sampled_from([HOST, OUTGOING, OTHER_HOST]))
def test_any_bytes_end_the_program(data: bytes, kind: int) -> None:
    passes = run(PROGRAM, data, kind)
    try:
        seen = decode(data)
    except DecodeError:
        return
    assert passes in (0, bpf.SNAP), seen


def test_the_longest_plan_fits() -> None:
    ranges = tuple(PortRange(2 * n + 1, 2 * n + 1) for n in range(510))
    program = bpf.packet_filter(dict.fromkeys(Transport, ranges))
    assert len(program) // bpf.INSTRUCTION_BYTES <= MOST_INSTRUCTIONS
    last = ranges[-1].last
    passes = [run(program, ipv4(udp(STUN, port)), HOST) > 0 for port in (1, 2, last, last + 1)]
    assert passes == [True, False, True, False]
