"""The checks of the server itself, joined."""

from __future__ import annotations

from agent.preflight.model import Machine
from tests.preflight.values import (
    EPHEMERAL,
    EPHEMERAL_CHECK,
    ETH0,
    GOOD,
    INSTALLED,
    NOW,
    PUBLIC,
    results,
)


def test_nothing_is_known_of_a_machine_that_tells_nothing() -> None:
    assert results(Machine()) == ([], (), (EPHEMERAL_CHECK, "clock"))
    assert results(Machine(), INSTALLED) == (
        ["certificate-name"], (), (EPHEMERAL_CHECK, "clock", "interfaces"),
    )  # fmt: skip


def test_all_in_order() -> None:
    machine = Machine(
        NOW, (ETH0,), EPHEMERAL, frozenset(range(50000, 60001)), 212_992, 262_144, True, (GOOD,), (PUBLIC,)
    )
    everything = (EPHEMERAL_CHECK, "connection tracking's size", "clock", "interfaces", "certificates")
    assert results(machine, INSTALLED) == ([], everything, ())
