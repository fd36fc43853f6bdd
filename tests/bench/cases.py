"""The networks to check a server through, and the truth of each."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import AbstractSet, Iterator

from tests.bench import stray
from tests.delay import delayed
from tests.lab import Lab, lab, program

HOLE = range(53000, 54000)


@dataclass(frozen=True)
class Case:
    """One network. Loss is in percent of every packet each way, delay in seconds each way, the policer in datagrams a
    second on the way to the server."""

    name: str
    title: str
    hole: bool = False
    loss: int = 0
    delay: float = 0
    policer: int = 0
    ours_alone: bool = False  # scanners have nothing to say here: what is lost is closed to them

    def open_of(self, ports: range) -> AbstractSet[int]:
        """The ports that a datagram reaches, and its answer comes back."""
        return frozenset(ports).difference(HOLE if self.hole else ())


CASES = (
    Case("open", "all open"),
    Case("hole", "1,000 blocked", hole=True),
    Case("loss", "5 % lost each way", loss=5),
    Case("hole-loss", "1,000 blocked, 5 % lost each way", hole=True, loss=5),
    Case("delay", "100 ms round trip", delay=0.05),
    Case("loss-20", "20 % lost each way", loss=20, ours_alone=True),
    Case("policer", "300 a second pass", policer=300, ours_alone=True),
)


@contextlib.contextmanager
def network(case: Case) -> Iterator[Lab]:
    """A network of that kind."""
    with lab(routed=True) as net, contextlib.ExitStack() as stack:
        _shape(net, case)
        assert net.router
        stack.enter_context(program(net.router, Path(stray.__file__), net.client.ipv4))
        if case.delay:
            stack.enter_context(delayed(net, case.delay))
        yield net


def _shape(net: Lab, case: Case) -> None:
    assert net.router
    # Scanners send and receive past the kernel, which then tells the server that nobody waits for its answers; and
    # nobody waits for what is stray. That is nothing that they sent.
    net.client.rules("output", "icmp type destination-unreachable drop")
    if case.hole:
        net.server.rules("input", f"udp dport {HOLE[0]}-{HOLE[-1]} drop")
    if case.loss:
        # On the way, since scanners see what arrives at the client before the client's own rules do.
        net.router.rules("forward", f"numgen random mod 100 < {case.loss} drop")
    if case.policer:
        net.server.rules("input", f"meta l4proto udp limit rate over {case.policer}/second burst 50 packets drop")
