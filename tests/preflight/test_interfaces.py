"""The interfaces whose addresses LiveKit offers."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from agent.config.model import Installed
from agent.core.address import Address
from agent.preflight import evaluate
from agent.preflight.model import Machine
from agent.system.interfaces import Interface
from tests.preflight.values import (
    BRIDGE,
    ETH0,
    ETH1,
    GOOD,
    INSTALLED,
    LAN,
    NOW,
    OTHER,
    PLAN,
    PRIVATE,
    PUBLIC,
    PUBLIC6,
    codes,
    only,
    results,
)


@pytest.mark.parametrize(
    ("interfaces", "outgoing", "installed", "named"),
    [
        ((ETH0, BRIDGE), (PUBLIC,), INSTALLED, "docker0 (172.17.0.1)"),
        ((ETH0, ETH1, BRIDGE), (PUBLIC,), LAN, "eth1 (10.0.0.5), docker0 (172.17.0.1)"),
        ((ETH1, BRIDGE), (PRIVATE,), LAN, "docker0 (172.17.0.1)"),
        ((ETH1, Interface("wg0", (ipaddress.ip_address("10.8.0.1"),))), (PRIVATE,), INSTALLED, "wg0 (10.8.0.1)"),
        (
            (ETH1, Interface("eth2", (ipaddress.ip_address("192.168.1.5"),))),
            (PRIVATE,),
            LAN,
            "",
        ),  # two networks of users
        ((ETH0, Interface("eth1", (OTHER,))), (PUBLIC,), INSTALLED, ""),
        ((Interface("eth0", (PRIVATE, PUBLIC6)),), (PRIVATE, PUBLIC6), INSTALLED, ""),
        ((ETH0, BRIDGE), (), INSTALLED, ""),  # no way out: which of them is the right one?
    ],
)
def test_interfaces_that_nobody_outside_reaches(
    interfaces: tuple[Interface, ...], outgoing: tuple[Address, ...], installed: Installed, named: str
) -> None:
    notes = evaluate.check_machine(
        Machine(NOW, interfaces, outgoing_addresses=outgoing, certificates=(GOOD,)), PLAN, installed
    )
    if not named:
        assert (codes(notes), "interfaces" in notes.fine) == ([], True)
        return
    note = only(notes)
    assert (note.code, f"of {named} to" in note.what) == ("extra-interfaces", True)
    assert f"includes: [{interfaces[0].name}]`" in note.fix


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ((("eth0", "docker0"), ()), "docker0 (172.17.0.1) to"),
        ((("eth0",), ("eth0",)), ""),
        (((), ("docker0", "eth1")), ""),
        (((), ("docker0",)), "eth1 (10.0.0.5) to"),
    ],
)
def test_interfaces_that_livekit_is_told_to_use(told: tuple[tuple[str, ...], tuple[str, ...]], named: str) -> None:
    machine = Machine(NOW, (ETH0, ETH1, BRIDGE), outgoing_addresses=(PUBLIC,), certificates=(GOOD,))
    notes = evaluate.check_machine(machine, PLAN, replace(INSTALLED, interfaces=told))
    assert [f"of {named}" in note.what for note in notes.problems] == [True] * bool(named)
    picks = replace(INSTALLED, addresses_filtered=True)
    assert "interfaces (LiveKit's configuration chooses addresses itself)" in results(machine, picks)[2]
