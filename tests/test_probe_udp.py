"""The client's UDP sockets: however many source ports a sweep asks for, few are open at a time."""

from __future__ import annotations

import random
import socket

from agent.judge.sweep import Probe, Sweep
from agent.net.connect import Target
from agent.net.probe_udp import MAX_SOCKETS, Prober


def test_old_source_ports_are_given_back() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        target = Target(socket.AF_INET, ("127.0.0.1", 0))
        prober = Prober(Sweep([port], random.Random(1), 0.02, 0.0), target, "0" * 16, b"key")
        for number in range(3 * MAX_SOCKETS):
            prober._send(Probe(number, port, number), number.to_bytes(12, "big"))
            assert len(prober._sockets) <= MAX_SOCKETS
        assert min(prober._sockets) == 2 * MAX_SOCKETS
        prober._send(Probe(3 * MAX_SOCKETS, port, 0), bytes(11) + b"\xff")  # one that was given back is opened anew
        assert 0 in prober._sockets
        prober.close()
