"""A path that takes its time: the router of a network hands every packet to a program that holds it for a while."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator

from tests import forward
from tests.lab import Host, Lab, program

DEVICE = "held0"
TABLE = "100"  # of routes that lead into the device; the main one leads out of it
QUEUE = "20000"  # packets that the device keeps for the program; the usual 500 come within 10 ms here


@contextlib.contextmanager
def delayed(net: Lab, seconds_each_way: float, loss: float = 0) -> Iterator[None]:
    """What goes through the router of `lab(routed=True)` takes so long, and a share of it is lost, each way."""
    router = net.router
    assert router, "only a router can hold packets: lab(routed=True)"
    with program(router, Path(forward.__file__), DEVICE, str(seconds_each_way), str(loss)):
        _lead_through(router)
        try:
            yield
        finally:
            for rule in _rules():
                router.must("ip", *rule[:1], "rule", "delete", *rule[1:])


def _rules() -> Iterator[tuple[str, ...]]:
    """What comes from outside or inside goes into the device. What comes out of it takes the usual way."""
    for family in ("-4", "-6"):
        for interface in ("outside", "inside"):
            yield family, "iif", interface, "lookup", TABLE


def _lead_through(router: Host) -> None:
    # A packet comes out of the device with an address that belongs elsewhere, and the kernel must not mind.
    for interface in ("all", DEVICE):
        router.sysctl(f"net.ipv4.conf.{interface}.rp_filter", 0)
    router.must("ip", "link", "set", DEVICE, "txqueuelen", QUEUE, "up")
    for family in ("-4", "-6"):
        router.must("ip", family, "route", "add", "default", "dev", DEVICE, "table", TABLE)
    for rule in _rules():
        router.must("ip", *rule[:1], "rule", "add", *rule[1:])
