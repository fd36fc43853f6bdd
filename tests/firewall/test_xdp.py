"""XDP programs at the interfaces that `ip` lists."""

from __future__ import annotations

import pytest

from agent.firewall import xdp
from agent.firewall.xdp import read_xdp
from agent.system.interfaces import Interface


@pytest.mark.parametrize(
    ("interfaces", "named"),
    [
        ((Interface("lo", ()), Interface("eth0", (), xdp=True)), ["An XDP program at eth0 se"]),
        ((Interface("a-name-of-20-letters", (), xdp=True),), ["An XDP program at a-name-"]),
        ((), []),
        (None, []),
    ],
)
def test_an_xdp_program_is_named(
    interfaces: tuple[Interface, ...] | None, named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xdp, "read_interfaces", lambda: (interfaces, ""))
    assert [sentence[:25] for sentence in read_xdp()] == named
