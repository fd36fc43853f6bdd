"""The path that takes its time does so, for every packet alike."""

from __future__ import annotations

import sys
from typing import Iterator

import pytest

from tests.delay import delayed
from tests.lab import PROGRAMS, Lab, lab, program, until

pytestmark = pytest.mark.programs

EACH_WAY = 0.04
PACKETS = 500

ASKER = PROGRAMS / "ask_echo.py"
ECHO = PROGRAMS / "echo.py"


@pytest.fixture
def net() -> Iterator[Lab]:
    with lab(routed=True) as made, program(made.server, ECHO):
        yield made


def ask(net: Lab, address: str, packets: int = PACKETS) -> tuple[list[int], list[float]]:
    """The numbers of the answers, as they came, and how long each took."""
    lines = net.client.must(sys.executable, ASKER, address, str(packets)).splitlines()
    rows = [line.split() for line in lines]
    return [int(number) for number, _ in rows], [float(seconds) for _, seconds in rows]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_every_packet_is_held_and_none_is_lost(net: Lab, family: str) -> None:
    address = getattr(net.server, family)
    with delayed(net, EACH_WAY):
        until(lambda: ask(net, address, 1)[0], f"the first answer by {family}: the neighbours have to be found")
        numbers, seconds = ask(net, address)
    assert numbers == list(range(PACKETS))
    assert min(seconds) >= 2 * EACH_WAY


def test_a_share_is_lost_each_way(net: Lab) -> None:
    with delayed(net, 0, loss=0.5):
        numbers, _ = ask(net, net.server.ipv4)
    # A quarter comes back; this far off it would be by chance less than once in 10**9 runs.
    assert 65 < len(numbers) < 190


def test_afterwards_the_path_is_as_it_was(net: Lab) -> None:
    with delayed(net, 0.5):
        pass
    _, seconds = ask(net, net.server.ipv4, 1)
    assert max(seconds) < 0.5
